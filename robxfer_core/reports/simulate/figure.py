"""The figure of simulations: a panel for each linear one (excess risk by eps or by what is swept), two for a
multi-class one (log-log, by n1 and by n2, with the slopes of the bounds)."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from robxfer_core.reports.plotting import STYLE, WIDTH, palette

from .words import SWEPT

Simulation = dict[str, Any]
LINES = 8
"""Most lines of a panel; further combinations are in the tables alone."""
GREY = "#737373"
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
LABEL = {"rank": "r", "tasks": "tasks", "snr": "SNR", "diversity": "diversity", "n1": "n1", "n2": "n2", "eps": "eps"}


def draw(simulations: Sequence[Simulation]) -> Figure:
    """The grid of panels, two across."""
    panels = [(each, over) for each in simulations for over in _panels(each)]
    columns = min(2, len(panels))
    down = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if columns == 2 else 3.6, 2.5 * down), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, columns, squeeze=False)
        for axes, panel in zip(grid.flat, [*panels, *[None] * (down * columns - len(panels))], strict=True):
            if panel is None:
                axes.set_axis_off()
                continue
            simulation, over = panel
            axes.set_title(simulation["title"], loc="left", parse_math=False)
            axes.set_axisbelow(True)
            if simulation["setting"]["name"] == "linear":
                _linear(axes, simulation, over)
            else:
                _slope(axes, simulation, over)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _panels(simulation: Simulation) -> list[str]:
    setting = simulation["setting"]
    if setting["name"] == "multiclass":
        return ["n1", "n2"]
    if len(setting["eps"]) > 1:
        return ["eps"]
    return [max(SWEPT, key=lambda name: len(setting[name]))]


def _linear(axes: Axes, simulation: Simulation, over: str) -> None:
    setting = simulation["setting"]
    varied = [name for name in (*SWEPT, "eps") if name != over and len(setting[name]) > 1]
    lines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for point in simulation["points"]:
        lines.setdefault(tuple(point[name] for name in varied), []).append(point)
    shown = list(lines.items())[:LINES]
    for (at, points), colour in zip(shown, palette(len(shown)), strict=True):
        points = sorted(points, key=lambda point: point[over])
        x = [point[over] for point in points]
        label = ", ".join(f"{LABEL[name]} {value:g}" for name, value in zip(varied, at, strict=True))
        _band(axes, x, [point["excess"] for point in points], colour, label)
        axes.plot(x, [point["expected"] for point in points], "o", mfc="none", mec=colour, ms=4, mew=0.8)
        axes.plot(x, [point["population"] for point in points], ":", color=colour, linewidth=1)
        if len(shown) == 1:
            axes.plot(x, [point["oracle"] for point in points], color=GREY, linewidth=0.8)
    if over != "eps":
        _sizes(axes, sorted(setting[over]))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{setting['norm']} eps of the source tasks" if over == "eps" else LABEL[over])
    axes.set_ylabel("excess risk")
    if varied:
        axes.legend(frameon=False, fontsize=7)


def _slope(axes: Axes, simulation: Simulation, over: str) -> None:
    levels, other = sorted(simulation["setting"]["eps"]), "n2" if over == "n1" else "n1"
    largest = max(simulation["setting"][other])
    part = "representation" if over == "n1" else "head"
    x = sorted(simulation["setting"][over])
    at = {(p["eps"], p[over]): p for p in simulation["points"] if p[other] == largest}
    for eps, colour in zip(levels, palette(len(levels)), strict=True):
        points = [at[eps, n] for n in x]
        told = {row["of"]: row["slope"] for row in simulation["slopes"] if row["over"] == over and row["eps"] == eps}
        several = len(levels) > 1
        name = f"eps {eps:g}{_told(told, 'excess')}" if several else f"excess risk{_told(told, 'excess')}"
        _band(axes, x, [point["excess"] for point in points], colour, name)
        label = None if several else f"{part}'s part{_told(told, part)}"
        axes.plot(x, [point[part]["mean"] for point in points], "--", color=colour, linewidth=1, label=label)
    first = [at[levels[0], n] for n in x]
    if over == "n2" and first[0]["head_asymptotic"] is not None:
        axes.plot(x, [point["head_asymptotic"] for point in first], ":", color="black", linewidth=1)
    start = 1.6 * max(at[eps, x[0]]["excess"]["mean"] for eps in levels)
    for fall, bound in ((1.0, "-1 (Du)"), (0.5, "-1/2 (Deng)")):
        line = start * (np.array(x) / x[0]) ** -fall
        axes.plot(x, line, color=GREY, linewidth=0.7)
        axes.annotate(bound, (x[-1], line[-1]), xytext=(2, 0), textcoords="offset points", fontsize=6, color=GREY)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())
    _sizes(axes, x)
    axes.set_xlabel(f"{over}, samples of the {'source' if over == 'n1' else 'target'} ({other} {largest})")
    axes.set_ylabel("excess risk")
    axes.margins(x=0.12)
    axes.legend(frameon=False, fontsize=6.5, loc="lower left", ncols=1 if len(levels) < 4 else 2)


def _sizes(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with a tick at each value."""
    axes.set_xscale("log")
    axes.set_xticks(values)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_locator(NullLocator())


def _band(axes: Axes, x: Sequence[float], bands: Sequence[dict[str, Any]], colour: str, label: str) -> None:
    axes.plot(x, [band["mean"] for band in bands], color=colour, label=label)
    low, high = ([band[end] for band in bands] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _told(slopes: dict[str, Any], name: str) -> str:
    band = slopes.get(name)
    return "" if band is None else f": slope {band['mean']:.2f}"
