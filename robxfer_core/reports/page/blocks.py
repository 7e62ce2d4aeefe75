"""The blocks of a report's page, from top to bottom. Every text from data is escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup


@dataclass(frozen=True)
class Heading:
    """A heading above the blocks that follow."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Headline:
    """The study's answer, in a sentence."""

    kind: ClassVar[str] = "headline"
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """A table. Cells are printed as they are, None as a dash."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure with its caption."""

    kind: ClassVar[str] = "picture"
    picture: Markup
    """Of `inline_svg` or `embedded_png`."""
    caption: str


Block = Heading | Headline | Text | Table | Picture


def inline_svg(svg: bytes) -> Markup:
    """An SVG document as an HTML element. matplotlib has escaped the texts in it."""
    text = svg.decode()
    return Markup(text[text.index("<svg") :])


def embedded_png(png: bytes, alt: str) -> Markup:
    """A PNG as an HTML element that carries it.

    Args:
        png: The file.
        alt: What it shows, for those who do not see it.
    """
    data = base64.b64encode(png).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, data)
