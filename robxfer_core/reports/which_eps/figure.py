"""Accuracy by robustness level, a panel for each amount, with the confidence set marked."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from robxfer_core.reports.plotting import STYLE

from .summary import amount_text

SET, OUT, USUAL, GREY = "#31688e", "#9a9a9a", "#b3261e", "#737373"


def draw(amounts: Sequence[Mapping[str, Any]], norm: str) -> Figure:
    """Takes `amounts` of report.json. Levels stand at equal distances; bars are intervals of each accuracy alone."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.6, 2.6 * len(amounts) + 0.4), 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(amounts), squeeze=False)[0]
        for axes, amount in zip(panels, amounts, strict=True):
            _panel(axes, amount)
            axes.set_xlabel(f"source trained at {norm} eps")
        panels[0].set_ylabel("test accuracy (%)")
        _legend(figure, amounts)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _panel(axes: Axes, amount: Mapping[str, Any]) -> None:
    for at, row in enumerate(amount["levels"]):
        colour = SET if row["in_set"] else OUT
        mean, face = 100 * row["accuracy"]["mean"], colour if row["in_set"] else "white"
        if row["accuracy"]["low"] is not None:
            ends = [np.clip(100 * row["accuracy"][end], 0, 100) for end in ("low", "high")]
            axes.plot([at, at], ends, color=colour, linewidth=1.2, zorder=2)
        axes.plot(at, mean, "o", color=colour, markerfacecolor=face, markersize=6, zorder=3)
        if row["eps"] == amount["chosen"]:
            axes.plot(at, mean, "o", color="black", markerfacecolor="none", markersize=10, zorder=4)
    if amount["random_init"]:
        axes.axhline(100 * amount["random_init"]["mean"], color=GREY, linewidth=0.9, ls=(0, (3, 1.5)), zorder=1)
    axes.set_xticks(range(len(amount["levels"])), [f"{row['eps']:g}" for row in amount["levels"]])
    for label, row in zip(axes.get_xticklabels(), amount["levels"], strict=True):
        if row["usual"]:
            label.set_color(USUAL)
            label.set_fontweight("bold")
    axes.set_title(f"{amount_text(amount['images_per_class'])} ({amount['n_train']})", loc="left")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_axisbelow(True)
    axes.margins(x=0.12)


def _legend(figure: Figure, amounts: Sequence[Mapping[str, Any]]) -> None:
    handles = [
        Line2D([], [], color=SET, marker="o", ls="", label="in the confidence set"),
        Line2D([], [], color=OUT, marker="o", markerfacecolor="white", ls="", label="not in it"),
        Line2D([], [], color="black", marker="o", markerfacecolor="none", markersize=10, ls="", label="chosen"),
    ]
    if any(row["usual"] for row in amounts[0]["levels"]):
        handles.append(Line2D([], [], color=USUAL, marker="$0$", ls="", label="usual choice"))
    if any(amount["random_init"] for amount in amounts):
        handles.append(Line2D([], [], color=GREY, ls=(0, (3, 1.5)), label="random network"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, columnspacing=1.2)
