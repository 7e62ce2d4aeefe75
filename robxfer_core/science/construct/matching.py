"""Representation matching: images moved until a network represents them as it does others.

Engstrom et al. 2019 (inversion: step 1, up to 10,000 steps); Ilyas et al. 2019, section 3.1 (step .1, 1,000 steps).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robxfer_core.science.attacks.ascent import Height, ascend
from robxfer_core.science.attacks.pgd import checked_images, evaluating
from robxfer_core.science.attacks.threat import distance
from robxfer_core.science.models import Network


class Match(NamedTuple):
    """How far a matching is: all that it goes on from."""

    x: Tensor
    """[n, C, H, W], each image's best iterate so far: that whose representation is nearest to its target."""
    start: Tensor
    """float [n], the relative distance |R(x) - t|_2 / |t|_2 at the start..."""
    end: Tensor
    """...and at `x`."""
    last: Tensor
    """[n, C, H, W], the last iterate, from which the next step is taken."""
    broken: Tensor
    """bool [n]: the distance of an iterate was NaN."""


def match(network: Network, start: Tensor, target: Tensor, *, steps: int, step_size: float) -> Match:
    """Move each image until its representation is near its target, by normalised l2 gradient steps on the distance.

    network    in eval mode meanwhile, left as it was, without gradients
    start      images [n, C, H, W] in [0,1] to begin at; there is no ball around them, iterates are clamped to [0,1]
    target     float [n, r], the representations to reach
    steps      gradient steps; the start and the point after the last step count as iterates too
    step_size  l2 length of a step, in pixel units

    Of the iterates the best is kept and not the last: a step's length never falls, so that the last one swings around
    the minimum by about a step, and a result would hang on where it happened to stop. What becomes of an image does
    not depend on its batch. Raises ValueError for images that are no floats in [0,1] or targets that do not fit them,
    FloatingPointError, naming the samples, where the network gives NaN. The device is waited for once before and once
    after the steps, never between them.
    """
    return advance(network, begin(network, start, target), target, steps=steps, step_size=step_size)


def begin(network: Network, start: Tensor, target: Tensor) -> Match:
    """A matching before its first step. Errors as those of `match`."""
    start = checked_images(start)
    if target.ndim != 2 or len(target) != len(start):
        raise ValueError(f"targets must be [{len(start)}, r], got {list(target.shape)}")
    with evaluating(network), torch.no_grad():
        far = relative_distance(network, start, target)
    return _checked(Match(start, far, far, start, far.isnan()))


def advance(network: Network, state: Match, target: Tensor, *, steps: int, step_size: float) -> Match:
    """Go on by so many steps. Taken in pieces or at once, the same steps end at the same images, bit for bit."""
    if steps == 0 or len(state.x) == 0:
        return state

    def keep(images: Tensor, height: Height, _: Tensor | None) -> None:
        nonlocal state
        state = _nearer(state, images, -height.value)

    with evaluating(network):
        last = ascend(
            state.last,
            lambda images: Height(-relative_distance(network, images, target)),
            lambda moved: moved.clamp(0, 1),
            norm="l2",
            steps=steps,
            step_size=step_size,
            visit=keep,
        )
    return _checked(state._replace(last=last))


def relative_distance(network: Network, x: Tensor, target: Tensor) -> Tensor:
    """|R(x) - t|_2 / |t|_2, float [n]; where a target is 0 the distance itself."""
    length = distance("l2", target.float())
    return distance("l2", network.represent(x).float() - target) / torch.where(length > 0, length, 1.0)


def _nearer(state: Match, x: Tensor, far: Tensor) -> Match:
    better = far < state.end  # of equals the earlier stays
    return Match(
        torch.where(better.view(-1, 1, 1, 1), x, state.x),
        state.start,
        torch.where(better, far, state.end),
        x,
        state.broken | far.isnan(),
    )


def _checked(state: Match) -> Match:
    if state.broken.any():
        samples = state.broken.nonzero().flatten().tolist()
        raise FloatingPointError(
            f"the network's representation of {len(samples)} of {len(state.x)} samples of a batch, or its target, "
            f"is NaN: {samples[:20]}"
        )
    return state
