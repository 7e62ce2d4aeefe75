"""How far a component of the representation can be moved inside a ball: projected gradient ascent, batched over
images, components and directions at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from robxfer_core.science.attacks.ascent import Height, ascend
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.attacks.threat import ThreatModel, draw, project
from robxfer_core.science.models import Network
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.precision import autocast
from robxfer_core.spec.fields import Attack, Precision


def reach(
    network: Network,
    x: Tensor,
    component: Tensor,
    direction: Tensor,
    *,
    norm: str,
    eps: Sequence[float],
    attack: Attack,
    seeds: Tensor,
    precision: Precision = "fp32",
) -> Tensor:
    """The largest direction * R(x + delta)[component] that PGD meets with |delta| <= eps, inside the box [0,1].

    This is a lower bound of the maximum. The value at x itself counts.

    Args:
        network: The network whose representation R is searched.
        x: Images, float [n, C, H, W] in [0,1].
        component: Component of R that is searched for each image, int64 [n].
        direction: +1 or -1 for each image, [n].
        norm: Norm of the ball, `l2` or `linf`.
        eps: Radii, ascending, in pixel units. The search at one begins at the best point of the one before, which lies
            in its ball, so the result never falls with eps.
        attack: Steps, step size and restarts. Restarts after the first begin at random.
        seeds: int64 [n]. They alone decide the random starts.
        precision: Precision of the forward pass.

    Returns:
        Float [len(eps), n].

    Raises:
        FloatingPointError: The network gives NaN.
    """

    def objective(images: Tensor) -> Height:
        with autocast(x.device, precision):
            representation = network.represent(images)
        return Height(direction * representation.float().gather(1, component[:, None])[:, 0])

    best, highest = x, torch.full((len(x),), -torch.inf, device=x.device)
    broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    met: list[Tensor] = []

    def keep(images: Tensor, height: Height, _: Tensor | None) -> None:
        nonlocal best, highest, broken
        better = height.value > highest
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), images, best)
        highest, broken = torch.where(better, height.value, highest), broken | height.value.isnan()

    with evaluating(network):
        for level, radius in enumerate(eps):
            threat = ThreatModel.model_construct(norm=norm, eps=radius)
            for restart in range(attack.restarts):
                start = best
                if attack.random_start or restart > 0:
                    stream = level * attack.restarts + restart
                    start = project(threat, x + draw(threat, x, seeds, stream), x)
                ascend(
                    start,
                    objective,
                    lambda moved, threat=threat: project(threat, moved, x),
                    norm=norm,
                    steps=attack.steps,
                    step_size=attack.step(radius),
                    visit=keep,
                )
            met.append(highest)
    if broken.any():
        raise FloatingPointError(f"the network gives NaN for {int(broken.sum())} of {len(x)} images of a batch")
    return torch.stack(met)


def values_and_slopes(
    network: Network, x: Tensor, component: Tensor, *, norm: str, precision: Precision = "fp32"
) -> tuple[Tensor, Tensor]:
    """R(x)[component] and the dual norm of its gradient by the pixels, [n] each.

    The dual of l2 is l2, that of linf is l1: eps times it is the most that a linear function moves by.
    """
    with evaluating(network), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        with autocast(x.device, precision):
            found = network.represent(leaf)
        value = found.float().gather(1, component[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), torch.linalg.vector_norm(gradient.flatten(1), 2 if norm == "l2" else 1, dim=1)


def pair_seeds(seed: int, places: Tensor, component: Tensor, upwards: Tensor) -> Tensor:
    """A seed for each (image's place, component, direction): int64 [n]."""
    return image_seeds(seed, (places * 2**20 + component) * 2 + upwards.long())
