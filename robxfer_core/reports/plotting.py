"""How every figure looks, and how it becomes bytes: equal figures give equal files."""

import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

WIDTH = 7.0  # inches: a page's text width; all sizes below are points at that width
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "robxfer",
}


def palette(levels: int) -> list[str]:
    """Colours from the first level (dark) to the last, all legible on white: viridis without its pale end."""
    return [to_hex(mpl.colormaps["viridis"](at)) for at in np.linspace(0.0, 0.7, max(levels, 2))][:levels]


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as files."""

    png: bytes
    """200 dots an inch."""
    svg: bytes
    """Text as text, no date."""


def render_figure(figure: Figure) -> RenderedFigure:
    """The figure as a PNG and as an SVG."""
    return RenderedFigure(png(figure), svg(figure))


def png(figure: Figure) -> bytes:
    """200 dots an inch; the same figure gives the same bytes."""
    with mpl.rc_context(STYLE):
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()


def svg(figure: Figure) -> bytes:
    """Text as text, no date; the same figure gives the same bytes."""
    with mpl.rc_context(STYLE):
        out = io.BytesIO()
        FigureCanvasSVG(figure).print_figure(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
