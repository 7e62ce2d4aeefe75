"""Training batches: which images, in which order, cropped and flipped how. All of it follows from seeds alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.spec.fields import Augment

from . import noise
from .data.artifact import to_unit
from .seeds import derive


def split_stratified(y: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Places (int64, ascending) of the images to keep and of those to hold out: of each class round(fraction * n)."""
    held = torch.zeros(len(y), dtype=torch.bool)
    for label in y.unique().tolist():
        places = (y == label).nonzero().flatten()
        shuffled = places[_permutation(len(places), derive(seed, label))]
        held[shuffled[: round(fraction * len(places))]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def epoch_batches(places: Tensor, batch_size: int, seed: int) -> list[Tensor]:
    """The places in a random order, cut into batches; the last may be smaller.

    A last batch of one image is left out: batch norm has no variance there.
    """
    batches = list(places[_permutation(len(places), seed)].split(batch_size))
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


def augment(x: Tensor, how: Augment, seeds: Tensor) -> Tensor:
    """Each image [N, C, H, W] padded with zeros, cut at random and mirrored or not, by its seed (int64 [N])."""
    if not how.crop and not how.flip:
        return x
    n, channels, height, width = x.shape
    draws = noise.uniform(seeds, 3)
    down, right = (draws[:, :2] * (2 * how.crop + 1)).long().unbind(1)
    rows = down[:, None] + torch.arange(height, device=x.device)
    columns = right[:, None] + torch.arange(width, device=x.device)
    if how.flip:
        columns = torch.where(draws[:, 2:] < 0.5, columns.flip(1), columns)
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[:, None, None]
    return F.pad(x, [how.crop] * 4)[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
