"""What a training sees of its data set: batches in an order that a seed decides, and the pixels' moments."""

import torch
from torch import Tensor

from .data.artifact import to_unit


def epoch_batches(places: Tensor, batch_size: int, seed: int) -> list[Tensor]:
    """The places in a random order, cut into batches; the last may be smaller.

    A last batch of one image is left out: batch norm has no variance there.
    """
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    batches = list(places[order].split(batch_size))
    return batches if len(batches[-1]) > 1 else batches[:-1]


def channel_moments(x: Tensor, places: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over some of the images, in [0,1] pixels.

    A constant channel gets a deviation of 1/255, a step of its pixels.
    """
    total = torch.zeros(2, x.shape[1], dtype=torch.float64)
    for part in places.split(1024):
        unit = to_unit(x[part]).double()
        total += torch.stack([unit.sum((0, 2, 3)), unit.square().sum((0, 2, 3))])
    mean, square = total / (len(places) * x.shape[2] * x.shape[3])
    std = (square - mean.square()).clamp_min(0).sqrt()
    return mean.tolist(), std.clamp_min(1 / 255).tolist()
