"""P_E by the source's eps, a panel for each task, between the high-pass network's and chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robxfer_core.reports.plotting import STYLE, WIDTH, palette

GREY, RED = "#737373", "#b3261e"
COLUMNS = 2


def draw(tasks: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]]) -> Figure:
    """Takes `tasks` and `verdicts` of report.json. Bars are intervals; dots behind them are seeds."""
    columns = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH if columns > 1 else 4.2, 2.3 * rows + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(tasks) :]:
            axes.set_axis_off()
        for axes, task, verdict in zip(grid.flat, tasks, verdicts, strict=False):
            _panel(axes, task)
            word = str(verdict["verdict"]).replace("_", " ")
            axes.set_title(f"{task['label']}: {word}", loc="left", parse_math=False)
        for axes in grid[:, 0]:
            axes.set_ylabel("P_E (lower: better found)", parse_math=False)
        for axes in grid[-1]:
            axes.set_xlabel("source trained at eps")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is done; both files show the same
    return figure


def _panel(axes: Axes, task: Mapping[str, Any]) -> None:
    levels = task["levels"]
    places = np.arange(len(levels))
    colours = palette(len(levels))
    mean = [row["p_e"]["mean"] for row in levels]
    axes.plot(places, mean, color="#31688e", linewidth=0.8, zorder=2)
    for place, row, colour in zip(places, levels, colours, strict=True):
        axes.plot([place] * len(row["by_seed"]), row["by_seed"], ".", color=colour, alpha=0.35, markersize=4)
        band = row["p_e"]
        known = band["low"] is not None
        error = [[band["mean"] - band["low"]], [band["high"] - band["mean"]]] if known else None
        name: Any = {"label": "linear detector on the source's features"} if place == 0 else {}
        axes.errorbar(place, band["mean"], yerr=error, fmt="o", color=colour, markersize=4, capsize=2.5, **name)
    lines = (("reference", "high-pass network", RED, "-"), ("random_init", "random network's features", GREY, "--"))
    for name, label, colour, style in lines:
        band = task[name]
        if band is None:
            continue
        axes.axhline(band["mean"], color=colour, ls=style, linewidth=1.1, label=label)
        if band["low"] is not None:
            axes.axhspan(band["low"], band["high"], color=colour, alpha=0.1, linewidth=0)
    axes.axhline(0.5, color="black", ls=":", linewidth=0.8, label="chance")
    axes.set_xticks(places, [f"{row['eps']:g}" for row in levels])
    axes.set_ylim(0, 0.56)
    axes.set_axisbelow(True)
