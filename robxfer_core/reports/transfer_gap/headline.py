"""The headline of a transfer-gap study: does accuracy follow robustness differently where the signal is not robust?"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robxfer_core.reports.formatting import points
from robxfer_core.reports.stats import Estimate, bounds, crossed, image_variance, over_seeds, slope_weights

from .collect import Panel

UNIT = "accuracy per unit of eps"


def headline(panels: Sequence[Panel], sound: Sequence[Panel], alpha: float) -> dict[str, Any]:
    """The slope of accuracy on eps on antirobust sets minus that on the standard ones, by target and over them.

    Only targets whose two panels are sound take part; `left_out` names the others. By target the slope is a contrast of
    each test image's outcomes (both variants have the same images), so `stats.crossed` gives its error; the intervals
    are simultaneous over the targets (Bonferroni). Over targets, which share the source models but no images, seeds are
    paired and the image parts add.
    """
    rows, contrasts, left_out = [], [], []
    at = {(panel.target, panel.variant): panel for panel in sound}
    for target in dict.fromkeys(panel.target for panel in panels if panel.variant == "antirobust"):
        standard, antirobust = at.get((target, "standard")), at.get((target, "antirobust"))
        if standard is None or antirobust is None:
            left_out.append({"target": target, "reason": "a standard or an antirobust arm is missing or unusable"})
        elif (standard.eps, standard.seeds, standard.n_test) != (antirobust.eps, antirobust.seeds, antirobust.n_test):
            left_out.append({"target": target, "reason": "its two arms differ in levels, seeds or test images"})
        else:
            slopes = [_slopes(panel) for panel in (standard, antirobust)]
            contrasts.append(slopes[1] - slopes[0])
            rows.append({"target": target, "standard": slopes[0], "antirobust": slopes[1]})
    targets = []
    for row, contrast in zip(rows, contrasts, strict=True):
        named = {name: float(row[name].mean()) for name in ("standard", "antirobust")}
        band = bounds(crossed(contrast), alpha, len(rows))
        targets.append({"target": row["target"], **named, "difference": band["mean"], **_ends(band)})
    overall = bounds(_over_targets(contrasts), alpha) if len({len(c) for c in contrasts}) == 1 else None
    return {
        "unit": UNIT,
        "difference": overall["mean"] if overall else None,
        **(_ends(overall) if overall else {"low": None, "high": None}),
        "targets": targets,
        "left_out": left_out,
        "text": _text(overall, len(targets)),
    }


def _slopes(panel: Panel) -> np.ndarray:
    """[seed, image]: each image's part of the slope of accuracy on eps."""
    return np.tensordot(slope_weights(panel.eps), panel.curves().last.astype(np.float64), 1)


def _over_targets(contrasts: Sequence[np.ndarray]) -> Estimate:
    by_seed = over_seeds(np.mean([contrast.mean(-1) for contrast in contrasts], axis=0))
    images = sum(float(image_variance(contrast)) for contrast in contrasts) / len(contrasts) ** 2
    return Estimate(by_seed.mean, np.asarray(math.hypot(by_seed.error, math.sqrt(images))), by_seed.df)


def _ends(band: dict[str, Any]) -> dict[str, Any]:
    return {"low": band["low"], "high": band["high"]}


def _text(band: dict[str, Any] | None, targets: int) -> str:
    if band is None:
        return "no target has a sound standard and antirobust arm to compare"
    over = "" if targets == 1 else f", mean over {targets} targets"
    return f"antirobust slope minus standard slope: {points(band)} points of accuracy per unit of eps{over}"
