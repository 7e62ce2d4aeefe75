"""Auto-PGD (Croce & Hein 2020, algorithm 1): projected ascent with momentum that halves its own steps."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from robxfer_core.science.support import noise
from robxfer_core.science.support.noise import drawn_seeds

from .losses import Loss, cross_entropy, dlr, targeted_dlr
from .pgd import Best, checked_batch, evaluating
from .threat import ThreatModel, distance, project, steepest

LossName = Literal["ce", "dlr"]
LOSSES: dict[LossName, Loss] = {"ce": cross_entropy, "dlr": dlr}
MOMENTUM = 0.75
RHO = 0.75
"""Share of the steps since the last checkpoint that must have raised the loss, or the step size is halved."""


def apgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    steps: int = 100,
    loss: LossName = "dlr",
    targeted: bool = False,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    *,
    seeds: Tensor | None = None,
) -> Tensor:
    """Auto-PGD with AutoAttack's schedule (Croce & Hein 2020, algorithm 1).

    Iterates that succeed beat those that fail, then the larger loss decides; for the targeted cross-entropy, the
    smaller. The device is not waited for between steps.

    Args:
        model: Maps images [N, C, H, W] in [0,1] to logits [N, K]. It is run in eval mode and without gradients of its
            weights, and left as it was.
        x: Images, float [N, C, H, W] in [0,1].
        y: Classes to leave or, if `targeted`, to reach, int64 [N].
        threat: Norm and radius of the ball around x.
        steps: Gradient steps of a run. The start and the point after the last step count as iterates.
        loss: `ce`, the cross-entropy, or `dlr`, the difference of logits ratio. Targeted DLR compares y with the class
            that x has or, where that is y, with the next likely one.
        targeted: Whether y are the classes to reach.
        restarts: Runs, each from its own random start on the ball's surface.
        generator: Gives each image one seed, which alone decides its starts, as in `pgd`.
        seeds: The images' seeds, int64 [N], in place of a generator.

    Returns:
        Each sample's best iterate, of x's shape, in the ball and in [0,1]; x itself where eps is 0.

    Raises:
        ValueError: The loss is unknown, images are not floats in [0,1], or labels do not match them.
        FloatingPointError: The model gives NaN. The message names the samples.
    """
    x = checked_batch(x, y)
    if loss not in LOSSES:
        raise ValueError(f"loss: got {loss!r}; takes {' or '.join(LOSSES)}")
    if threat.eps == 0 or len(x) == 0:
        return x
    if seeds is None:
        seeds = drawn_seeds(generator, len(x), x.device)
    goal = _reached(model, x, y, loss) if targeted else _left(LOSSES[loss], y)
    return _climb(model, x, threat, steps, goal, range(restarts), seeds).checked().x


def apgd_targeted(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    steps: int = 100,
    targets: int = 9,
    restarts: int = 1,
    *,
    seeds: Tensor,
) -> Tensor:
    """AutoAttack's APGD-T: targeted DLR towards each of the `targets` other classes that x's logits rank highest.

    y are the classes to leave. One class after the other, each on the images that are still classified right (the
    device is waited for between two); with K classes at most K - 1. Other arguments, result and errors as of `apgd`.
    """
    x = checked_batch(x, y)
    if threat.eps == 0 or len(x) == 0:
        return x
    with evaluating(model), torch.no_grad():
        others = model(x).float().scatter(1, y[:, None], -torch.inf)
    ranked = others.topk(min(targets, others.shape[1] - 1), dim=1).indices
    moved, left = x.clone(), torch.arange(len(x), device=x.device)
    for number, target in enumerate(ranked.unbind(1)):

        def towards(logits: Tensor, labels: Tensor, target: Tensor = target[left]) -> Tensor:
            return targeted_dlr(logits, labels, target)

        runs = range(number * restarts, (number + 1) * restarts)
        best = _climb(model, x[left], threat, steps, _left(towards, y[left]), runs, seeds[left]).checked()
        moved[left] = best.x
        left = left[~best.success]
        if not len(left):
            break
    return moved


def checkpoints(steps: int) -> Iterator[int]:
    """Steps after which the step size is reconsidered (Croce & Hein 2020, section 4): .22 of all, then ever sooner."""
    at, length = 0, max(int(0.22 * steps), 1)
    while (at := at + length) <= steps:
        yield at
        length = max(length - max(int(0.03 * steps), 1), int(0.06 * steps), 1)


Goal = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From logits to which images succeed, bool [N], and to what is climbed, [N]."""


def _left(loss: Loss, y: Tensor) -> Goal:
    return lambda logits: (logits.detach().argmax(1) != y, loss(logits, y))


def _reached(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, loss: LossName) -> Goal:
    if loss == "ce":
        return lambda logits: (logits.detach().argmax(1) == y, -cross_entropy(logits, y))
    with evaluating(model), torch.no_grad():
        had = model(x).float().scatter(1, y[:, None], -torch.inf).argmax(1)
    return lambda logits: (logits.detach().argmax(1) == y, targeted_dlr(logits, had, y))


def _climb(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    threat: ThreatModel,
    steps: int,
    goal: Goal,
    runs: range,
    seeds: Tensor,
) -> Best:
    """The best iterate of all runs; a run's number is the stream of its noise."""

    def look(at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = at.detach().requires_grad_()
            success, value = goal(model(leaf).float())
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return success, value.detach(), gradient

    best = Best.none(x)
    with evaluating(model):
        for number in runs:
            best = _ascend(look, x, threat, steps, _start(threat, x, seeds, number), best)
    return best


def _start(threat: ThreatModel, x: Tensor, seeds: Tensor, stream: int) -> Tensor:
    size = x[0].numel()
    if threat.norm == "linf":
        drawn = noise.uniform(seeds, size, stream).mul_(2).sub_(1)
    else:
        drawn = noise.normal(seeds, size, stream)
    drawn = drawn * (threat.eps / distance(threat.norm, drawn)[:, None])
    return project(threat, x + drawn.view(x.shape).to(x.dtype), x)


def _ascend(
    look: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    x: Tensor,
    threat: ThreatModel,
    steps: int,
    start: Tensor,
    best: Best,
) -> Best:
    """One run. `look` gives an image's success, loss and gradient."""

    def each(values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.dim() - 1))

    now = before = start
    success, value, gradient = look(now)
    best = best.or_better(now, success, value)
    # The point of the largest loss, from which to go on with shorter steps; it need not be the best, which is wrong.
    top, top_value, top_gradient = now, value, gradient
    size = torch.full_like(value, 2 * threat.eps)
    rises, seen, halved = torch.zeros_like(value), value, torch.ones_like(success)
    due, last = set(checkpoints(steps)), 0
    for step in range(1, steps + 1):
        aim = project(threat, now + each(size) * steepest(threat.norm, gradient), x)
        share = MOMENTUM if step > 1 else 1.0
        now, before = project(threat, now + share * (aim - now) + (1 - share) * (now - before), x), now
        previous = value
        success, value, gradient = look(now)
        best = best.or_better(now, success, value)
        rises = rises + (value > previous)
        better = value > top_value
        top, top_gradient = torch.where(each(better), now, top), torch.where(each(better), gradient, top_gradient)
        top_value = torch.where(better, value, top_value)
        if step in due:
            # Conditions 1 and 2 of section 3.2; not below, but at most, as in the authors' code.
            halved = (rises <= RHO * (step - last)) | (~halved & (top_value <= seen))
            size = torch.where(halved, size / 2, size)
            now, gradient = torch.where(each(halved), top, now), torch.where(each(halved), top_gradient, gradient)
            rises, seen, last = torch.zeros_like(rises), top_value, step
    return best
