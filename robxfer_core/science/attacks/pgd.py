"""Adversarial examples: the strongest point that projected gradient ascent meets inside a threat model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robxfer_core.science.support.noise import drawn_seeds

from .ascent import Height, ascend
from .threat import ThreatModel, draw, project

BOX_TOLERANCE = 1e-6
"""Float error by which inputs may leave [0,1] before it is taken for a mistake of scale."""


@contextmanager
def evaluating(model: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Eval mode within; after it each module has its own mode back, whatever happened. Plain functions are left be."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        if isinstance(model, nn.Module):
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


class Best(NamedTuple):
    """Each sample's strongest iterate so far."""

    x: Tensor
    success: Tensor
    """bool [N]: misclassified, or, targeted, classified as the target."""
    objective: Tensor
    """float [N]: what is climbed: the cross-entropy, or, targeted, minus that of the target."""
    broken: Tensor
    """bool [N]: an iterate's objective was NaN."""

    def or_better(self, x: Tensor, success: Tensor, objective: Tensor) -> "Best":
        """Success beats failure, then the objective decides; of equals the earlier stays."""
        better = (success & ~self.success) | ((success == self.success) & (objective > self.objective))
        return Best(
            torch.where(better.view(-1, *[1] * (x.dim() - 1)), x, self.x),
            self.success | success,
            torch.where(better, objective, self.objective),
            self.broken | objective.isnan(),
        )

    @classmethod
    def none(cls, x: Tensor) -> "Best":
        """Of no iterate yet: any is better."""
        false = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return cls(x, false, torch.full((len(x),), -torch.inf, device=x.device), false)

    def checked(self) -> "Best":
        """Itself. Waits for the device; raises FloatingPointError, naming the samples, where an objective was NaN."""
        if self.broken.any():
            samples = self.broken.nonzero().flatten().tolist()
            raise FloatingPointError(
                f"the model gives NaN for {len(samples)} of {len(self.x)} samples of a batch: {samples[:20]}"
            )
        return self


def pgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    steps: int = 20,
    step_size: float = 0.1,
    targeted: bool = False,
    random_start: bool = False,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    *,
    seeds: Tensor | None = None,
) -> Tensor:
    """Projected gradient ascent on the cross-entropy (Madry et al. 2018).

    Of the iterates of a sample, those that succeed beat those that fail. Among equals, the larger loss decides; for a
    targeted attack, the smaller loss at the target. The device is waited for once before and once after the steps.

    Args:
        model: Maps images [N, C, H, W] in [0,1] to logits [N, K]. It is run in eval mode and without gradients of its
            weights, and left as it was.
        x: Images, float [N, C, H, W] in [0,1].
        y: Classes to leave or, if `targeted`, to reach, int64 [N].
        threat: Norm and radius of the ball around x.
        steps: Gradient steps. The start and the point after the last step count as iterates.
        step_size: Length of a step in the threat's norm, in pixel units.
        targeted: Whether y are the classes to reach.
        random_start: Begin uniformly in the ball, clamped to the box, instead of at x.
        restarts: Runs. A sample keeps its best iterate of all; every run after the first begins at random.
        generator: A CPU generator that gives each image one seed, which alone decides its noise. Carried through a data
            set in order, it gives the same image the same noise at every batch size. None is torch's global one.
        seeds: The images' seeds, int64 [N] (`noise.image_seeds`), in place of a generator.

    Returns:
        Each sample's best iterate, of x's shape, in the ball and in [0,1]; x itself where eps is 0.

    Raises:
        ValueError: Images are not floats in [0,1], or labels do not match them.
        FloatingPointError: The model gives NaN. The message names the samples.
    """
    x = checked_batch(x, y)
    if threat.eps == 0 or len(x) == 0:
        return x
    if seeds is None and (random_start or restarts > 1):
        seeds = drawn_seeds(generator, len(x), x.device)

    def objective(images: Tensor) -> Height:
        logits = model(images).float()
        loss = F.cross_entropy(logits, y, reduction="none")
        hit = logits.detach().argmax(1) == y
        return Height(-loss, hit) if targeted else Height(loss, ~hit)

    best = Best.none(x)

    def keep(images: Tensor, height: Height, _: Tensor | None) -> None:
        nonlocal best
        assert height.success is not None
        best = best.or_better(images, height.success, height.value)

    with evaluating(model):
        for restart in range(restarts):
            start = x
            if seeds is not None and (random_start or restart > 0):
                start = project(threat, x + draw(threat, x, seeds, restart), x)
            ascend(
                start,
                objective,
                lambda moved: project(threat, moved, x),
                norm=threat.norm,
                steps=steps,
                step_size=step_size,
                visit=keep,
            )
    return best.checked().x


def fgsm(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    step_size: float,
    *,
    seeds: Tensor | None = None,
) -> Tensor:
    """One step up the cross-entropy (Goodfellow et al. 2015), its end whatever it is: as single-step training does it.

    Begins at x or, with `seeds` (int64 [N]), uniformly in the ball (Wong et al. 2020). The model is run once, in eval
    mode; the device is not waited for. Images are floats in [0,1], as those returned, which lie in the ball too.
    """
    if len(x) == 0:
        return x
    start = x if seeds is None else project(threat, x + draw(threat, x, seeds), x)
    with evaluating(model):
        return ascend(
            start,
            lambda images: Height(F.cross_entropy(model(images).float(), y, reduction="sum")),
            lambda moved: project(threat, moved, x),
            norm=threat.norm,
            steps=1,
            step_size=step_size,
        )


def checked_batch(x: Tensor, y: Tensor) -> Tensor:
    """The images as `checked_images` gives them, beside labels that fit them."""
    if y.shape != x.shape[:1] or y.dtype != torch.int64:
        raise ValueError(f"labels must be int64 of shape {tuple(x.shape[:1])}, got {y.dtype} of shape {tuple(y.shape)}")
    return checked_images(x)


def checked_images(x: Tensor) -> Tensor:
    """The images, detached and clamped to [0,1] where float error took them out of it. Raises ValueError for others."""
    if not x.is_floating_point():
        raise ValueError(f"images must be floats in [0,1], got {x.dtype}")
    x = x.detach()
    if x.numel():
        low, high = (float(bound) for bound in torch.stack(x.aminmax()).tolist())
        if not (low >= -BOX_TOLERANCE and high <= 1 + BOX_TOLERANCE):
            raise ValueError(f"images must lie in [0,1], got values from {low:g} to {high:g}")
    return x.clamp(0, 1)
