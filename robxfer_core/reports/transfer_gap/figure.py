"""Figure 3: learning curves by robustness of the source, as a grid of targets and variants."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from robxfer_core.reports.plotting import STYLE, WIDTH, palette

from .content import ArmSummary, Chance, Line, PanelVerdict

ROWS = {
    "standard": "standard",
    "antirobust": "antirobust",
    "robust_generator": "robust generator",
    "noise": "noise",
    "relabel_only": "relabelled only",
}
FIGURE3, CONTROLS = ("standard", "antirobust"), ("robust_generator", "noise", "relabel_only")
GREY, DASHED = "#737373", (0, (3, 1.5))  # random networks
FLOORS = {"fixed_feature": "random network", "full_network": "from scratch"}
"""What the `random_init` arm is called: its networks are frozen, or trained like the others."""
VERDICT_COLOUR = {"helps": "#0b6e4f", "hinders": "#b3261e", "mixed": "#7a4a00"}


def draw_figure(
    arms: Sequence[ArmSummary],
    verdicts: Sequence[PanelVerdict],
    variants: Sequence[str] = FIGURE3,
    *,
    standardised: bool = False,
    floor: str = FLOORS["fixed_feature"],
) -> Figure | None:
    """The grid of the report's arms: targets across, variants down, one scale a target.

    A line is the mean over seeds at one level, its band the t interval over seeds. The dashed grey line is that of the
    networks at their random start.

    Args:
        arms: The panels of the report.
        verdicts: Their verdicts, which are printed above them.
        variants: The variants to draw.
        standardised: Whether to draw the curves on standardised features.
        floor: What the networks at their random start are called.

    Returns:
        The figure; None where no arm is of these variants and has curves on these features.
    """
    wanted = [arm for arm in arms if arm.variant in variants and _shown(arm, standardised)]
    if not wanted:
        return None
    targets = list(dict.fromkeys(arm.target for arm in wanted))
    rows = [variant for variant in variants if any(arm.variant == variant for arm in wanted)]
    words = {(v.target, v.variant): v.verdict for v in verdicts}
    levels = sorted({row.eps for arm in wanted for row in arm.levels})
    colours = dict(zip(levels, palette(len(levels)), strict=True))
    columns = len(targets)
    wide = 3.6 if columns == 1 else max(WIDTH, 1.7 * columns)
    tall = 1.75 if columns > 2 else 2.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(wide, tall * len(rows) + 0.65), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), columns, squeeze=False, sharex="col", sharey="col")
        at = {(arm.target, arm.variant): arm for arm in wanted}
        for i, variant in enumerate(rows):
            for j, target in enumerate(targets):
                axes, arm = grid[i, j], at.get((target, variant))
                if arm is None:
                    axes.set_axis_off()
                    continue
                _panel(axes, _shown(arm, standardised), arm.chance, colours, floor)
                _title(axes, target if i == 0 else "", words.get((target, variant), ""), columns)
                axes.tick_params(labelbottom=i == len(rows) - 1)
            grid[i, 0].set_ylabel(f"{ROWS[variant]}\ntest accuracy (%)")
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        _legend(figure, grid, levels, colours, floor)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is done; both files show the same
    return figure


def _shown(arm: ArmSummary, standardised: bool) -> list[Line]:
    """The lines of an arm on the whole training split."""
    whole = (c for c in arm.curves if c.n == arm.n_train and c.standardised == standardised)
    return next((curve.lines for curve in whole), [])


def _panel(
    axes: Axes,
    lines: Sequence[Line],
    chance: Chance | None,
    colours: Mapping[float, str],
    floor: str,
) -> None:
    for line in lines:
        random = line.eps is None
        colour = GREY if line.eps is None else colours[line.eps]
        epochs = np.arange(1, len(line.mean) + 1)
        mark = {"marker": "o", "markersize": 3} if len(epochs) == 1 else {}
        style: Any = {"ls": DASHED, "label": floor} if random else {}
        axes.plot(epochs, 100 * np.array(line.mean), color=colour, **style, **mark)
        if line.low is not None:
            low, high = (np.clip(100 * np.array(end), 0, 100) for end in (line.low, line.high))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.12 if random else 0.2, linewidth=0)
    if chance:
        axes.axhline(100 * chance.expected, color="black", linewidth=0.7, ls=":")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.02)
    axes.set_axisbelow(True)


def _title(axes: Axes, target: str, verdict: str, columns: int) -> None:
    """The verdict above the panel and, in the top row, the target above it. Texts from data are never read as math."""
    colour = VERDICT_COLOUR.get(verdict, "#555555")
    text = f"verdict: {verdict.replace('_', ' ')}" if verdict else ""
    axes.set_title(text, loc="left", fontsize=7, fontstyle="italic", color=colour, pad=3)
    if target:
        shown = textwrap.shorten(target, max(12, 84 // columns), placeholder="...")
        axes.annotate(
            shown or target[: 84 // columns],
            (0, 1),
            xytext=(0, 14),
            xycoords="axes fraction",
            textcoords="offset points",
            fontweight="bold",
            parse_math=False,
        )


def _legend(figure: Figure, grid: Any, levels: Sequence[float], colours: Mapping[float, str], floor: str) -> None:
    handles = [Line2D([], [], color=colours[eps], label=f"{eps:g}") for eps in levels]
    if any(line.get_label() == floor for axes in grid.flat for line in axes.lines):
        handles.append(Line2D([], [], color=GREY, ls=DASHED, label=floor))
    figure.legend(
        handles=handles,
        title="source trained at eps",
        title_fontsize=8,
        loc="outside lower center",
        ncols=min(len(handles), 8),
        frameon=False,
        handlelength=1.8,
        columnspacing=1.4,
    )
