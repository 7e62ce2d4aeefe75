"""The one gradient ascent on pixels: steps of fixed length up an objective, each followed by a constraint.

PGD, single steps, TRADES, the gradient-masking checks, searches along components, representation matching and
visualisation are this loop with objectives and constraints of their own.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .threat import steepest


class Height(NamedTuple):
    """What an objective says of images."""

    value: Tensor
    """float [N], what is climbed; or its sum over the images, where nobody looks at single ones."""
    success: Tensor | None = None
    """bool [N]: the image has reached what it was moved for; None where the objective has no such notion."""


Objective = Callable[[Tensor], Height]
"""From images [N, C, H, W] to their heights."""
Visit = Callable[[Tensor, Height, Tensor | None], None]
"""Is shown each iterate [N, C, H, W], its height, and the gradient there; None at the last point."""


def ascend(
    start: Tensor,
    objective: Objective,
    constrain: Callable[[Tensor], Tensor],
    *,
    norm: str,
    steps: int,
    step_size: float,
    visit: Visit | None = None,
) -> Tensor:
    """Climb an objective by normalised gradient steps.

    An image's path does not depend on the other images of the batch. The device is not waited for.

    Args:
        start: Images [N, C, H, W] to begin at.
        objective: What is climbed. It decides in which mode and precision a network is run.
        constrain: Brings moved images back to where they may be, such as `threat.project`.
        norm: Norm in which a step has its length, `l2` or `linf`.
        steps: Number of steps.
        step_size: Length of a step, in pixel units.
        visit: Is shown the start, each further iterate and the point after the last step. Without it the last point
            is not evaluated.

    Returns:
        The point after the last step.
    """
    x = start
    for _ in range(steps):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            height = objective(leaf)
            # Summed, not averaged: an image's gradient must not depend on the batch it is in.
            (gradient,) = torch.autograd.grad(height.value.sum(), leaf)
        if visit is not None:
            visit(leaf.detach(), Height(height.value.detach(), height.success), gradient)
        x = constrain(leaf.detach() + step_size * steepest(norm, gradient))
    if visit is not None:
        with torch.no_grad():
            visit(x, objective(x), None)
    return x
