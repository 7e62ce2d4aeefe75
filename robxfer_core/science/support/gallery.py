"""Rows of pictures from tensors, and the example images of a constructed data set."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from robxfer_core.reports.pictures import Row, grid
from robxfer_core.science.support.pixels import to_unit

EXAMPLES = "examples.png"
SHOWN = 8
"""Images of a set that are shown."""
FACTORS = tuple(digit * 10**power for power in range(4) for digit in (1, 2, 5))


def picture_row(title: str, images: Tensor, captions: Sequence[str] = ()) -> Row:
    """A row of a grid, of images [n, C, H, W] in [0,1] on the CPU."""
    return Row(title, images.numpy(), captions)


def write_examples(
    folder: Path, before: Tensor, after: Tensor, labels_before: Tensor, labels_after: Tensor, classes: Sequence[str]
) -> None:
    """Leave `examples.png` in a folder: some images before, after, their difference magnified, and both labels.

    before, after  images [n, C, H, W] of equal shape as stored (uint8, or floats in [0,1]); the first SHOWN are drawn
    labels_before, labels_after  int64 [n], places in `classes`
    """
    before, after = (to_unit(images[:SHOWN].cpu()) for images in (before, after))
    difference, factor = magnified(after - before)
    named = [[classes[int(label)] for label in labels[:SHOWN]] for labels in (labels_before, labels_after)]
    rows = [
        picture_row("before", before, named[0]),
        picture_row("after", after, named[1]),
        picture_row(f"difference\ntimes {factor}", difference),
    ]
    (folder / EXAMPLES).write_bytes(grid(rows))


def magnified(difference: Tensor) -> tuple[Tensor, int]:
    """Differences in [-1,1] as pictures, grey where there is none, and what they were multiplied by.

    The factor is the largest of 1, 2, 5, 10, ... 5000 that brings 99.5 % of the values inside [-.5, .5], so that a
    single pixel does not decide it (all of them where fewer are moved); what is left outside is clamped.
    """
    sizes = difference.abs().flatten().float()[: 2**24]  # more values quantile does not take
    reach = float(torch.quantile(sizes, 0.995)) or float(sizes.max())
    factor = max((factor for factor in FACTORS if factor * reach <= 0.5), default=1) if reach > 0 else 1
    return (0.5 + factor * difference).clamp(0, 1), factor
