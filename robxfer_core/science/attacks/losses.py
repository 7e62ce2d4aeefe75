"""What attacks climb, from logits [N, K] and labels int64 [N] to one value an image, [N]."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]

DLR_CLASSES = 3
"""Classes that the DLR loss needs; with fewer it is the margin."""
TARGETED_DLR_CLASSES = 4
_FLOOR = 1e-12  # of the scale, as in the authors' code


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{i != y} z_i - z_y, above 0 where the image is misclassified."""
    others = logits.scatter(1, y[:, None], -float("inf"))
    return others.amax(1) - _at(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020, eq. 6): the margin over z_(1) - z_(3), logits by size.

    Neither a shift of all logits nor a scale changes it, so confidence cannot make its gradient vanish. With two
    classes, where it is not defined, the margin.
    """
    if logits.shape[1] < DLR_CLASSES:
        return margin(logits, y)
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + _FLOOR)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce & Hein 2020, eq. 7), for a class t (int64 [N]) other than y.

    With three classes or fewer, where it is not defined, z_t - z_y.
    """
    gained = _at(logits, target) - _at(logits, y)
    if logits.shape[1] < TARGETED_DLR_CLASSES:
        return gained
    top = logits.topk(4, dim=1).values
    return gained / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + _FLOOR)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
