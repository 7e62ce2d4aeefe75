"""report.html of a study as a column of blocks: one page that needs nothing else. Every text from data is escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Headline:
    """The study's answer, in a sentence."""

    kind: ClassVar[str] = "headline"
    text: str


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """Cells are printed as they are; None as a dash."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    kind: ClassVar[str] = "picture"
    picture: Markup
    """Of `inline` or `embedded`."""
    caption: str


Block = Heading | Headline | Text | Table | Picture


def page(title: str, blocks: Sequence[Block]) -> str:
    """The page."""
    return environment(__package__ or "").get_template("page.html").render(title=title, blocks=blocks, style=style())


def environment(package: str) -> Environment:
    """Templates of a package's folder: every text from data is escaped, and a name that is not there is an error."""
    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def style() -> Markup:
    """The look of every report's page, as a <style> element."""
    return Markup((files(__package__ or "") / "style.html").read_text())


def inline(svg: bytes) -> Markup:
    """An SVG document as an element; matplotlib has escaped the texts in it."""
    text = svg.decode()
    return Markup(text[text.index("<svg") :])


def embedded(png: bytes, alt: str) -> Markup:
    """A PNG as an element that carries it."""
    data = base64.b64encode(png).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, data)
