"""Grids of small pictures as PNG.

Drawn with Pillow alone, since many jobs leave one and a plotting library would cost each of them a second. Equal
pictures give equal bytes.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.floating[Any]]

TILE = 96
"""Side of a picture, about, in pixels of the grid: small images are enlarged by a whole factor, large ones shrunk."""
TEXT = 13
GAP = 6


@dataclass(frozen=True)
class Row:
    """One row of a grid."""

    title: str
    """Before the pictures, on as many lines as it has."""
    images: Floats
    """[n, C, H, W] in [0,1], C 1 or 3."""
    captions: Sequence[str] = ()
    """Under the pictures, one each; none: no line for them."""


def to_unit(images: NDArray[Any]) -> Floats:
    """Images as stored (uint8, or floats in [0,1]) as float32 in [0,1]."""
    unit = images.astype(np.float32)
    return unit / np.float32(255) if images.dtype == np.uint8 else unit


def grid(rows: Sequence[Row], header: Sequence[str] = ()) -> bytes:
    """Draw rows of pictures.

    Args:
        rows: The rows, from the top.
        header: A line above each column; none: no header.

    Returns:
        The bytes of a PNG.
    """
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


def picture(image: Floats, side: int) -> Image.Image:
    """Draw an image as a square: it is enlarged pixel by pixel, and shrunk by averaging.

    Args:
        image: [C, H, W] in [0,1], C 1 or 3.
        side: Side of the square, in pixels.
    """
    array = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
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
