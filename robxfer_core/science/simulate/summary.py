"""What the repeats of a simulation come to: means with intervals, paired differences, slopes, closed forms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robxfer_core.jobs.simulate import Linear, Multiclass
from robxfer_core.reports.stats import bounds, over_seeds

from . import linear, multiclass
from .theory import deng, du, slope

Row = dict[str, Any]
Floats = NDArray[np.float64]
AXES = ("eps", "n1", "n2")
BOUNDS = {"du": -1.0, "deng": -0.5}
"""Slopes that the bounds of Du et al. 2021 and of Deng et al. 2021 have on their own, in n1 as in n2."""


def summarise(setting: Linear | Multiclass, rows: Sequence[Row], alpha: float) -> dict[str, Any]:
    """`points` (and, of multiclass, `slopes`) of a result.json; bands are t intervals at 1 - alpha over repeats."""
    if isinstance(setting, Linear):
        return {"points": _linear(setting, rows, alpha)}
    return {"points": _multiclass(setting, rows, alpha), "slopes": _slopes(setting, rows, alpha)}


def _linear(setting: Linear, rows: Sequence[Row], alpha: float) -> list[Row]:
    told: list[Row] = []
    base = min(setting.eps)
    groups = _grouped(rows, (*linear.LinearAxes.__annotations__, "eps"))
    for point in linear.points(setting):
        start = groups[(*vars(point).values(), base)]["excess"]
        for eps in setting.eps:
            at = groups[(*vars(point).values(), eps)]
            difference = over_seeds(at["excess"] - start)
            told.append(
                {
                    **vars(point),
                    "eps": eps,
                    "excess": bounds(over_seeds(at["excess"]), alpha),
                    "deviation": float(at["excess"].std(ddof=1)),
                    # To the smallest eps, of the same draws; simultaneous over the other levels.
                    "difference": bounds(difference, alpha, len(setting.eps) - 1) if eps != base else None,
                    **{name: float(at[name].mean()) for name in ("expected", "population", "subspace", "surviving")},
                    "surviving_expected": linear.survivors(setting, point, eps),
                    "short": float((at["surviving"] < point.rank).mean()),
                    "oracle": linear.oracle(point.rank, point.n2),
                }
            )
    return told


def _multiclass(setting: Multiclass, rows: Sequence[Row], alpha: float) -> list[Row]:
    free = (setting.target_classes - 1) * (setting.rank + 1)
    told: list[Row] = []
    for (eps, n1, n2), at in _grouped(rows, AXES).items():
        bands = {name: bounds(over_seeds(at[name]), alpha) for name in multiclass.MEASURES}
        # Of a well-specified likelihood with p free parameters the excess risk tends to p / 2n.
        asymptotic = free / (2 * n2) if setting.noise == "gumbel" else None
        told.append({"eps": eps, "n1": n1, "n2": n2, **bands, "head_asymptotic": asymptotic})
        told[-1]["converged"] = float(at["converged"].mean())  # the share of repeats whose source fit did
    return told


def _slopes(setting: Multiclass, rows: Sequence[Row], alpha: float) -> list[Row]:
    """Log-log slopes: of the whole excess risk, the other n at its largest, and of the part due to each n."""
    n1, n2 = max(setting.n1), max(setting.n2)
    groups = _grouped(rows, AXES)
    told: list[Row] = []
    for eps in setting.eps:
        for over, measure in (("n1", "excess"), ("n1", "representation"), ("n2", "excess"), ("n2", "head")):
            sizes = sorted(setting.n1 if over == "n1" else setting.n2)
            if len(sizes) < 2:
                continue
            at = [{"n1": n, "n2": n2} if over == "n1" else {"n1": n1, "n2": n} for n in sizes]
            values = np.stack([groups[eps, each["n1"], each["n2"]][measure] for each in at], axis=-1)
            sides = {
                "du": slope(sizes, np.array([du(setting.dimension, setting.rank, **each) for each in at])),
                "deng": slope(sizes, np.array([deng(setting.dimension, setting.rank, **each) for each in at])),
            }
            found = _slope(sizes, values, sides if measure == "excess" else BOUNDS, alpha)
            told.append({"eps": eps, "over": over, "of": measure, **found})
    return told


def _slope(sizes: Sequence[int], values: Floats, sides: dict[str, Any], alpha: float) -> Row:
    """Of values[repeat, size]: the mean over repeats of the slope of log value; which bound's it is nearer."""
    sides = {name: float(value) for name, value in sides.items()}
    if (values <= 0).any():  # a log of what is not positive: possible where the model is misspecified
        return {"slope": None, "bounds": sides, "nearer": None, "apart": False}
    band = bounds(over_seeds(slope(sizes, values)), alpha)
    distance = {name: abs(band["mean"] - value) for name, value in sides.items()}
    halfway = sum(sides.values()) / len(sides)
    return {
        "slope": band,
        "bounds": sides,
        "nearer": min(distance, key=lambda name: distance[name]),
        # Whether the interval lies wholly on the nearer one's side.
        "apart": not band["low"] <= halfway <= band["high"],
    }


def _grouped(rows: Sequence[Row], axes: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Floats]]:
    """The repeats' values by point, in the order of the rows: {point: {measure: [repeat]}}."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in axes), []).append(row)
    return {
        at: {name: np.array([row[name] for row in group]) for name in group[0] if name not in (*axes, "repeat")}
        for at, group in groups.items()
    }
