"""Figure 1: pictures of components by eps and architecture, and the two measures against eps."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robxfer_core.reports.pictures import picture, to_unit
from robxfer_core.reports.plotting import STYLE, WIDTH, palette

from .collect import Family

ROWS = 6
"""Components of each architecture that are shown."""
COLUMNS = 5
"""Levels that are shown: where there are more, evenly spaced ones with the first and the last."""
GAP = 4
"""White between pictures, in pixels of a cell."""
GREY = "#737373"
BANDS_FROM = 3
"""Seeds from which on the interval over trainings is drawn; of two it would leave the axes."""


def pictures(families: Sequence[Family]) -> Figure:
    """For each architecture a block: components down, levels across; in each cell the picture and the 9 real images
    on which that network's component is largest. Of the first seed; under it the two measures.
    """
    eps = shown_levels(families)
    blocks = [_cells(family, eps) for family in families]
    rows = sum(len(block) for block in blocks)
    left, right, top, gap = 0.62, 0.04, 0.42, 0.08
    wide = min((WIDTH - left - right - gap * (len(eps) - 1)) / len(eps), 2.1)
    tall, under, between = wide / 2, 0.16, 0.24
    total = top + rows * (tall + under) + between * len(families)
    size = (left + right + len(eps) * (wide + gap) - gap, total)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)

        def write(text: str, x: float, y: float, **style: Any) -> None:
            figure.text(x / size[0], 1 - y / size[1], text, parse_math=False, **style)

        for j, level in enumerate(eps):
            write(f"eps {level:g}", left + j * (wide + gap), 0.2, fontweight="bold")
        y = 0.22
        for family, block in zip(families, blocks, strict=True):
            y += between
            write(family.label, 0.04, y - 0.06, fontweight="bold")
            for number, cells in block:
                write(f"R({number})", 0.04, y + tall / 2, va="center", fontsize=7)
                for j, (cell, told) in enumerate(cells):
                    x = left + j * (wide + gap)
                    axes = figure.add_axes((x / size[0], 1 - (y + tall) / size[1], wide / size[0], tall / size[1]))
                    axes.set_axis_off()
                    axes.imshow(cell, interpolation="none", aspect="auto")
                    write(told, x, y + tall + 0.02, va="top", fontsize=5.5, color=GREY)
                y += tall + under
    return figure


def shown_levels(families: Sequence[Family]) -> list[float]:
    """The levels of figure 1, at most COLUMNS."""
    eps = sorted({level for family in families for level in family.eps})
    return [eps[round(at)] for at in np.linspace(0, len(eps) - 1, min(len(eps), COLUMNS))]


def _cells(family: Family, eps: Sequence[float]) -> list[tuple[int, list[tuple[np.ndarray, str]]]]:
    """[(component, [(cell, what is told under it)] by level)] of the family's first seed."""
    columns = []
    for level in eps:
        pictures = family.pictures.get((level, family.seeds[0]))
        if pictures is None:  # the family lacks the level
            columns.append([(np.full((2, 4, 3), 255, np.uint8), "")] * ROWS)
            continue
        arrays = pictures.arrays()
        told = [
            f"slope {row['slope']:.1f}, " + (f"AUROC {row['auroc']:.2f}" if row["alive"] else "no image activates it")
            for row in pictures.result["components"]
        ]
        cells = [_cell(found, top) for found, top in zip(arrays["found"][:ROWS], arrays["top"][:ROWS], strict=True)]
        columns.append(list(zip(cells, told, strict=False)))
    first = family.pictures[family.eps[0], family.seeds[0]].result["components"]
    return [
        (int(row["component"]), [column[at] for column in columns])
        for at, row in enumerate(first[: min(map(len, columns))])
    ]


def _cell(found: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The picture, and beside it the 9 real images as a square of the same size: uint8 [s, 2 s + GAP, 3]."""
    side = 3 * (32 + GAP) if found.shape[-1] <= 64 else 3 * (64 + GAP)
    large = np.asarray(picture(to_unit(found), side))
    cell = np.full((side, 2 * side + GAP, 3), 255, np.uint8)
    cell[:, :side] = large
    small = side // 3 - GAP
    for number, image in enumerate(to_unit(top)):
        y, x = (at * (small + GAP) + GAP // 2 for at in divmod(number, 3))
        cell[y : y + small, side + GAP + x : side + GAP + x + small] = np.asarray(picture(image, small))
    return cell


def measures(arms: Sequence[Mapping[str, Any]]) -> Figure:
    """AUROC and spectral slope against eps, from `architectures` of report.json: a point the mean over networks and
    components, its thick bar the interval over components, its thin one that over trainings.
    """
    colours = palette(len(arms))
    eps = sorted({level["eps"] for arm in arms for level in arm["levels"]})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2)
        for axes, name in zip(panels, ("auroc", "slope"), strict=True):
            for number, (arm, colour) in enumerate(zip(arms, colours, strict=True)):
                _line(axes, arm, name, eps, (number - (len(arms) - 1) / 2) * 0.12, colour)
            axes.set_xticks(range(len(eps)), [f"{level:g}" for level in eps])
            axes.set_xlabel("trained at eps")
            axes.set_axisbelow(True)
            axes.margins(x=0.08)
        panels[0].axhline(0.5, color=GREY, lw=0.8, ls=":")
        panels[0].set_ylabel("AUROC of the judge")
        panels[0].set_title("meaning: nearer the top-9 images than others (.5: chance)", loc="left", fontsize=7)
        panels[1].set_ylabel("spectral slope")
        panels[1].set_title("smoothness: lower is smoother (0: white noise)", loc="left", fontsize=7)
        panels[1].axhline(float(np.mean([arm["slope_real"] for arm in arms])), color=GREY, lw=0.8, ls="--")
        handles = [
            Line2D([], [], color=c, marker="o", ms=4, label=arm["label"]) for arm, c in zip(arms, colours, strict=True)
        ]
        handles.append(Line2D([], [], color=GREY, ls="--", lw=0.8, label="real images (slope)"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5), frameon=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _line(axes: Axes, arm: Mapping[str, Any], name: str, eps: Sequence[float], shift: float, colour: str) -> None:
    levels = [level for level in arm["levels"] if level[name] is not None]
    at = [eps.index(level["eps"]) + shift for level in levels]
    axes.plot(at, [level[name]["mean"] for level in levels], color=colour, lw=0.9, marker="o", ms=4)
    for x, level in zip(at, levels, strict=True):
        if level[name]["low"] is not None:
            axes.vlines(x, level[name]["low"], level[name]["high"], color=colour, lw=2.2, alpha=0.55)
        trainings = level[f"{name}_trainings"]
        if trainings is not None and len(arm["seeds"]) >= BANDS_FROM:
            axes.vlines(x, trainings["low"], trainings["high"], color=colour, lw=0.8)
