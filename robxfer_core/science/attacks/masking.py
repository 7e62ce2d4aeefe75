"""Signs that an attack is broken and its accuracy too high (Athalye et al. 2018, section 3.1; Carlini et al. 2019)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.jobs.evaluate import MaskingWarning
from robxfer_core.science.models import Network
from robxfer_core.science.support import noise
from robxfer_core.science.support.precision import autocast
from robxfer_core.spec.fields import Attack, Precision, ThreatModel

from .apgd import apgd
from .ascent import Height, ascend
from .pgd import evaluating, fgsm
from .threat import project, steepest

PROBES = 32
"""Images, of those classified right, that the probes look at."""
FEWEST = 8
"""With fewer there is nothing to tell."""
LOSS_STEPS = 10
"""Most gradient steps of the probe of the loss."""
DRAWS = 10
"""Points on the ball's surface that random search tries for each image."""
UNBOUNDED_STEPS = 30
TOLERATED = 0.05
"""Share of the probes that may behave so by accident."""


def accuracy_rises(levels: Sequence[float], right: Sequence[Tensor]) -> list[MaskingWarning]:
    """A doubt for each step up in eps at which accuracy rises by more than noise: there the attack is too weak.

    Noise is that of the images whose outcome changed: of n that did, gains and losses differ by 2 sqrt(n) or less in
    about 95 of 100 cases if neither is likelier (McNemar's test).
    """
    found: list[MaskingWarning] = []
    for below, above, before, after in zip(levels, levels[1:], right, right[1:], strict=False):
        if _outnumber(after & ~before, before & ~after):
            found.append(
                _warning(
                    "accuracy_rises",
                    f"accuracy rises from {_share(before):.4f} at eps {below:g} to {_share(after):.4f} at eps "
                    f"{above:g}: the attack is too weak there (more steps, another step size, random starts), or "
                    "gradients are masked",
                )
            )
    return found


def accuracy_flat(levels: Sequence[float], right: Sequence[Tensor]) -> list[MaskingWarning]:
    """A doubt where no level of several, the largest at least twice the least above 0, costs a single image."""
    attacked = [eps for eps in levels if eps > 0]
    if len(attacked) < 2 or attacked[-1] < 2 * attacked[0] or int(right[0].sum()) < FEWEST:
        return []
    if any(bool((right[0] & ~after).any()) for after in right[1:]):
        return []
    text = f"accuracy does not fall with eps: up to {attacked[-1]:g} no image that is classified right was fooled"
    return [_warning("accuracy_flat", f"{text}; either every eps is too small to tell, or the attack does not work")]


def probe(
    network: Network,
    x: Tensor,
    y: Tensor,
    survived: Tensor,
    threat: ThreatModel,
    attack: Attack,
    *,
    seeds: Tensor,
    precision: Precision = "fp32",
) -> list[MaskingWarning]:
    """What a few images tell of an attack in a threat model of eps above 0; none where there are too few.

    `x` [n, C, H, W] in [0,1] and `y` are images that are classified right, `survived` bool [n] whether they still were
    after the attacks that are looked at, `seeds` int64 [n] theirs; all on the network's device. `attack` gives the
    steps along which the loss ought to rise.
    """
    if len(x) < FEWEST or threat.eps == 0:
        return []
    found: list[MaskingWarning] = []
    with evaluating(network), torch.no_grad(), autocast(x.device, precision):

        def right(images: Tensor) -> Tensor:
            return network(images).argmax(1) == y

        dead, rose = _gradients(network, x, y, threat, attack)
        if _share(dead) > TOLERATED:
            text = f"the loss has no gradient at {_count(dead)} of {len(x)} images: gradients are masked"
            found.append(_warning("zero_gradients", f"{text}, and gradient attacks do not see the model"))
        if _share(rose) < 0.5:
            text = f"the loss rises along the attack's steps for only {_count(rose)} of {len(x)} images"
            found.append(_warning("loss_flat", f"{text}: the step size does not suit, or gradients are masked"))

        held = right(fgsm(network, x, y, threat, threat.eps))
        alone, missed = survived & ~held, ~survived & held
        if _outnumber(alone, missed):
            text = (
                f"a single step fools {_count(alone)} of {len(x)} images that the attack at eps {threat.eps:g} does not"
            )
            found.append(_warning("single_step_wins", f"{text}: steps go astray, or gradients are masked"))

        by_chance = torch.zeros_like(survived)
        for draw in range(DRAWS):
            away = noise.normal(seeds, x[0].numel(), draw).view(x.shape).to(x.dtype)
            by_chance |= ~right(project(threat, x + threat.eps * steepest(threat.norm, away), x))
        if _share(by_chance & survived) > TOLERATED:
            text = f"random points of the ball fool {_count(by_chance & survived)} of {len(x)} images that"
            found.append(_warning("noise_wins", f"{text} the attack at eps {threat.eps:g} does not: it is broken"))

        whole = ThreatModel(norm=threat.norm, eps=1.0 if threat.norm == "linf" else math.sqrt(x[0].numel()))
        kept = right(apgd(network, x, y, whole, UNBOUNDED_STEPS, "ce", seeds=seeds))
        if _share(kept) > TOLERATED:
            text = f"with no bound on the perturbation {_count(kept)} of {len(x)} images are still classified right"
            found.append(_warning("unbounded_survives", f"{text}: gradients do not lead out of the class"))
    return found


def _gradients(network: Network, x: Tensor, y: Tensor, threat: ThreatModel, attack: Attack) -> tuple[Tensor, Tensor]:
    """bool [n]: the gradient is 0 at the image; the loss is larger after some of the attack's steps than before."""
    heights: list[Tensor] = []
    gradients: list[Tensor] = []

    def keep(_: Tensor, height: Height, gradient: Tensor | None) -> None:
        heights.append(height.value)
        if gradient is not None and not gradients:
            gradients.append(gradient)

    ascend(
        x,
        lambda images: Height(F.cross_entropy(network(images).float(), y, reduction="none")),
        lambda moved: project(threat, moved, x),
        norm=threat.norm,
        steps=min(attack.steps, LOSS_STEPS),
        step_size=attack.step(threat.eps),
        visit=keep,
    )
    return gradients[0].flatten(1).eq(0).all(1), heights[-1] > heights[0]


def _warning(code: str, text: str) -> MaskingWarning:
    return MaskingWarning(code=code, text=text)


def _outnumber(gained: Tensor, lost: Tensor) -> bool:
    """By more than noise (McNemar's test)."""
    return _count(gained) - _count(lost) > 2 * math.sqrt(_count(gained) + _count(lost))


def _count(flags: Tensor) -> int:
    return int(flags.sum())


def _share(flags: Tensor) -> float:
    return _count(flags) / max(len(flags), 1)
