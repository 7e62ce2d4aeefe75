"""What a training sees of its data set: batches in an order that a seed decides, and the pixels' moments."""

import torch
from torch import Tensor

from robxfer_core.science.support.pixels import to_unit


def epoch_batches(places: Tensor, batch_size: int, seed: int, *, paired: bool = False) -> list[Tensor]:
    """The places in a random order, cut into batches; the last may be smaller.

    A last batch of one image is left out: batch norm has no variance there. `paired`: places come two by two, a cover
    and its stego, and stay together. Apart, a detector hardly starts to learn: images differ more than their messages
    do (so Ye et al. 2017, whose batches are covers beside their stegos).
    """
    width = 2 if paired else 1
    order = torch.randperm(len(places) // width, generator=torch.Generator().manual_seed(seed))
    batches = list(places.view(-1, width)[order].flatten().split(batch_size))
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
