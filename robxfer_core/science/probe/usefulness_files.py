"""usefulness.parquet and the figure of rho against gamma."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pyarrow import parquet

from robxfer_core.reports.plotting import STYLE, WIDTH, png, svg

from .estimate import Floats, Standard
from .summary import GROUPS, FeatureStatistics, MeasuredSet, features, groups

COLOURS = dict(zip(GROUPS, ("#1b5e8c", "#c65a11", "#b5b5b5"), strict=True))
WORDS = dict(zip(GROUPS, ("robustly useful on D", "useful, not robust on D", "not useful on D"), strict=True))


def write_files(
    folder: Path,
    sets: list[MeasuredSet],
    standard: Standard,
    components: NDArray[np.int64],
    levels: list[float],
    norm: str,
) -> None:
    """Leave usefulness.parquet and figure_usefulness.png and .svg."""
    found = [features(part, standard, levels) for part in sets]
    tables = [
        _table(index, part, of, standard, components, levels, level)
        for index, (part, of) in enumerate(zip(sets, found, strict=True))
        for level in range(len(levels))
    ]
    parquet.write_table(pa.concat_tables(tables), folder / "usefulness.parquet")
    figure = draw(sets, found, levels, norm)
    (folder / "figure_usefulness.png").write_bytes(png(figure))
    (folder / "figure_usefulness.svg").write_bytes(svg(figure))


def _table(
    index: int,
    part: MeasuredSet,
    found: FeatureStatistics,
    standard: Standard,
    components: NDArray[np.int64],
    levels: list[float],
    level: int,
) -> pa.Table:
    """A row for each feature, at one eps: rho and gamma with 95 % intervals of their own, what a linear function of the
    same slope would have for gamma, their ratio (where rho > 0 beyond its interval), the largest eps with gamma > 0."""
    classes, count = standard.sign.shape
    rho, gamma = found.rho, found.gamma[level]
    bounds = dict(zip(("rho_low", "rho_high"), rho.bounds(), strict=True))
    bounds |= dict(zip(("gamma_low", "gamma_high"), gamma.bounds(), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(bounds["rho_low"] > 0, gamma.value / rho.value, np.nan)
    numbers = {
        "rho": rho.value,
        "gamma": gamma.value,
        **bounds,
        "ratio": ratio,
        "first_order": found.first_order[level],
        "largest_eps": found.largest_eps(levels),
    }
    rows = classes * count
    return pa.table(
        {
            "set": pa.array([index] * rows, pa.int32()),  # 0: D
            "data": [part.name] * rows,
            "variant": [part.variant] * rows,
            "key": [part.key] * rows,
            "component": np.tile(components, classes),
            "class": np.repeat(np.arange(classes), count),
            "sign": pa.array(standard.sign.flatten().astype(np.int8)),
            "eps": [levels[level]] * rows,
            **{name: _nullable(values) for name, values in numbers.items()},
        }
    )


def _nullable(values: Floats) -> pa.Array:
    flat = values.flatten()
    return pa.array(flat, mask=np.isnan(flat))


def draw(sets: list[MeasuredSet], found: list[FeatureStatistics], levels: list[float], norm: str) -> Figure:
    """gamma against rho, a point a feature: sets across, the smallest and the largest eps down, coloured by what the
    feature is on D at that eps."""
    shown = sorted({0, len(levels) - 1})
    with mpl.rc_context(STYLE):
        size = (max(3.6, min(WIDTH, 2.3 * len(sets))), 2.1 * len(shown) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(shown), len(sets), squeeze=False, sharex=True, sharey="row")
        for i, level in enumerate(shown):
            members = groups(found[0], level)
            for j, (part, of) in enumerate(zip(sets, found, strict=True)):
                axes = grid[i, j]
                for name in reversed(GROUPS):
                    x, y = of.rho.value[members[name]], of.gamma[level].value[members[name]]
                    axes.scatter(x, y, s=5, color=COLOURS[name], alpha=0.6, linewidths=0, rasterized=True)
                axes.axhline(0, color="#333333", linewidth=0.6)
                axes.axvline(0, color="#333333", linewidth=0.6)
                if i == 0:
                    axes.set_title(f"{part.name}\n{part.variant}")
                if i == len(shown) - 1:
                    axes.set_xlabel("usefulness rho")
            grid[i, 0].set_ylabel(f"robust usefulness gamma\n{norm} eps {levels[level]:g}")
        marks = [Line2D([], [], marker="o", linestyle="", markersize=4, color=COLOURS[name]) for name in GROUPS]
        figure.legend(marks, [WORDS[name] for name in GROUPS], loc="outside lower center", ncols=3, frameon=False)
    return figure
