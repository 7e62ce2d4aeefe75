"""Figure 4b: learning curves on the target by how the sources were made."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robxfer_core.reports.plotting import STYLE, WIDTH

from .content import CurveGroup, Line
from .naming import NAMES

LOOKS: dict[str, tuple[str, Any]] = {  # colours that differ in lightness too, and dashes
    "standard": ("#1b1b1b", "-"),
    "robust": ("#0b6e4f", "-"),
    "nonrobust": ("#d1742f", "-"),
    "adversarial": ("#4a63b8", (0, (5, 1.5))),
    "random_init": ("#8a8a8a", (0, (1.5, 1.5))),
}


def draw_figure(curves: Sequence[CurveGroup], target: str) -> Figure:
    """Learning curves: on raw features to the left, on standardised ones to the right.

    A line is the mean over sources, its band the t interval over them.

    Args:
        curves: The curves of the report.
        target: The data set transferred to.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
        for axes, group in zip(grid, curves, strict=True):
            _panel(axes, group.lines)
            axes.set_title("standardised features" if group.standardised else "raw features", loc="left")
            axes.set_xlabel("epoch")
        grid[0].set_ylabel(f"{target}: test accuracy (%)", parse_math=False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            title="sources",
            title_fontsize=8,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            handlelength=1.8,
            columnspacing=1.4,
        )
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is done; both files show the same
    return figure


def _panel(axes: Axes, lines: Sequence[Line]) -> None:
    for line in lines:
        colour, dashes = LOOKS[line.name]
        epochs = np.arange(1, len(line.mean) + 1)
        mark = {"marker": "o", "markersize": 3} if len(epochs) == 1 else {}
        axes.plot(epochs, 100 * np.array(line.mean), color=colour, ls=dashes, label=NAMES[line.name], **mark)
        if line.low is not None:
            low, high = (np.clip(100 * np.array(end), 0, 100) for end in (line.low, line.high))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.margins(x=0.02)
    axes.set_axisbelow(True)
