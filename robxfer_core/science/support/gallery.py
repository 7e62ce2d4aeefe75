"""Grids of small pictures as PNG: what a constructed data set did to its images, and what a visualisation found.

Drawn with Pillow alone, since many jobs leave one and a plotting library would cost each of them a second. Equal
pictures give equal bytes.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robxfer_core.science.support.pixels import to_unit

EXAMPLES = "examples.png"
SHOWN = 8
"""Images of a set that are shown."""
TILE = 96
"""Side of a picture, about, in pixels of the grid: small images are enlarged by a whole factor, large ones shrunk."""
TEXT = 13
GAP = 6
FACTORS = tuple(digit * 10**power for power in range(4) for digit in (1, 2, 5))


@dataclass(frozen=True)
class Row:
    """One row of a grid."""

    title: str
    """Before the pictures, on as many lines as it has."""
    images: Tensor
    """[n, C, H, W] in [0,1], C 1 or 3."""
    captions: Sequence[str] = ()
    """Under the pictures, one each; none: no line for them."""


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
        Row("before", before, named[0]),
        Row("after", after, named[1]),
        Row(f"difference\ntimes {factor}", difference),
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


def grid(rows: Sequence[Row], header: Sequence[str] = ()) -> bytes:
    """Rows of pictures as the bytes of a PNG. `header`: a line above each column."""
    font = ImageFont.load_default(TEXT)
    side = rows[0].images.shape[-1]
    tile = max(1, TILE // side) * side if side <= TILE else TILE + TILE // 3
    line = TEXT + 4
    titles = [row.title.split("\n") for row in rows]
    left = GAP + round(max(font.getlength(text) for title in titles for text in title)) + 2 * GAP
    columns = max(len(row.images) for row in rows)
    heights = [max(tile + (line if row.captions else 0), line * len(row.title.split("\n"))) + GAP for row in rows]
    top = GAP + (line if header else 0)
    canvas = Image.new("RGB", (left + columns * (tile + GAP), top + sum(heights)), "white")
    draw = ImageDraw.Draw(canvas)

    def write(text: str, at: int, y: int) -> None:
        draw.text((left + at * (tile + GAP), y), _fitting(text, tile + GAP - 2, font), "#333333", font)

    for at, text in enumerate(header):
        write(text, at, GAP)
    for row, height, title in zip(rows, heights, titles, strict=True):
        for number, text in enumerate(title):
            draw.text((GAP, top + number * line), text, "black", font)
        for at, image in enumerate(row.images):
            canvas.paste(picture(image, tile), (left + at * (tile + GAP), top))
        for at, text in enumerate(row.captions):
            write(text, at, top + tile + 1)
        top += height
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def picture(image: Tensor, side: int) -> Image.Image:
    """An image [C, H, W] in [0,1] as a square of this side: enlarged pixel by pixel, shrunk by averaging."""
    array = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    array = np.repeat(array, 3, 0) if len(array) == 1 else array
    how = Image.Resampling.NEAREST if side >= array.shape[-1] else Image.Resampling.BOX
    return Image.fromarray(np.ascontiguousarray(array.transpose(1, 2, 0))).resize((side, side), how)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut where it is too long for so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
