"""report.html: the report as one page that needs nothing else. The template engine escapes every text from data."""

from collections.abc import Mapping
from typing import Any

from robxfer_core.reports import formatting as words
from robxfer_core.reports.page.blocks import inline_svg
from robxfer_core.reports.page.render import style_element, template_environment

from .figure import FLOORS, ROWS


def page(summary: Mapping[str, Any], figure3: bytes, standardised: bytes | None, controls: bytes | None) -> str:
    """The page of a report.json, with its figures as SVG."""
    templates = template_environment(__package__ or "")
    floor = FLOORS[summary["regime"]]
    templates.filters |= {
        "eps": lambda eps: floor if eps is None else words.eps_text(eps),
        "percent": words.percent,
        "accuracy": lambda band: words.accuracy(band) if band else "-",
        "points": lambda band: words.points(band) if band else "-",
        "number": lambda band: words.number(band) if band else "-",
        "plain": lambda value: "-" if value is None else f"{value:.3g}",
        "p": lambda p: "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "rank": lambda value: "-" if value is None else f"{value:+.2f}",
        "listed": words.listed,
        "variant": lambda variant: ROWS.get(variant, variant),
    }
    return templates.get_template("report.html").render(
        report=summary,
        floor=floor,
        style=style_element(),
        figure3=inline_svg(figure3),
        standardised=inline_svg(standardised) if standardised else None,
        controls=inline_svg(controls) if controls else None,
        family={row["arch"] for row in summary["sources"]["levels"]},
    )
