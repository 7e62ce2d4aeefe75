"""The headline of a transfer-gap study: does accuracy follow robustness differently where the signal is not robust?"""

import math
from collections.abc import Sequence

import numpy as np

from robxfer_core.jobs.results import Interval
from robxfer_core.reports.formatting import points
from robxfer_core.reports.stats import Estimate, crossed, image_variance, mean_interval, over_seeds, slope_weights

from .collect import Panel
from .content import LeftOut, SlopeContrast, TargetSlopes

UNIT = "accuracy per unit of eps"


def slope_contrast(panels: Sequence[Panel], sound: Sequence[Panel], alpha: float) -> SlopeContrast:
    """The slope of accuracy on eps on antirobust sets minus that on the standard ones, by target and over them.

    Only targets whose two panels are sound take part; `left_out` names the others. By target the slope is a contrast of
    each test image's outcomes (both variants have the same images), so `stats.crossed` gives its error; the intervals
    are simultaneous over the targets (Bonferroni). Over targets, which share the source models but no images, seeds are
    paired and the image parts add.

    Args:
        panels: All panels.
        sound: Those that are not unusable.
        alpha: 1 - the confidence.
    """
    slopes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    left_out = []
    at = {(panel.target, panel.variant): panel for panel in sound}
    for target in dict.fromkeys(panel.target for panel in panels if panel.variant == "antirobust"):
        standard, antirobust = at.get((target, "standard")), at.get((target, "antirobust"))
        if standard is None or antirobust is None:
            left_out.append(LeftOut(target=target, reason="a standard or an antirobust arm is missing or unusable"))
        elif (standard.eps, standard.seeds, standard.n_test) != (antirobust.eps, antirobust.seeds, antirobust.n_test):
            left_out.append(LeftOut(target=target, reason="its two arms differ in levels, seeds or test images"))
        else:
            slopes[target] = _slopes(standard), _slopes(antirobust)
    targets, contrasts = [], []
    for target, (standard, antirobust) in slopes.items():
        contrasts.append(antirobust - standard)
        interval = mean_interval(crossed(contrasts[-1]), alpha, len(slopes))
        targets.append(
            TargetSlopes(
                target=target,
                standard=float(standard.mean()),
                antirobust=float(antirobust.mean()),
                difference=interval.mean,
                low=interval.low,
                high=interval.high,
            )
        )
    is_comparable = len({len(contrast) for contrast in contrasts}) == 1
    overall = mean_interval(_over_targets(contrasts), alpha) if is_comparable else None
    return SlopeContrast(
        text=_text(overall, len(targets)),
        difference=overall.mean if overall else None,
        low=overall.low if overall else None,
        high=overall.high if overall else None,
        unit=UNIT,
        targets=targets,
        left_out=left_out,
    )


def _slopes(panel: Panel) -> np.ndarray:
    """[seed, image]: each image's part of the slope of accuracy on eps."""
    return np.tensordot(slope_weights(panel.eps), panel.curves().last.astype(np.float64), 1)


def _over_targets(contrasts: Sequence[np.ndarray]) -> Estimate:
    by_seed = over_seeds(np.mean([contrast.mean(-1) for contrast in contrasts], axis=0))
    images = sum(float(image_variance(contrast)) for contrast in contrasts) / len(contrasts) ** 2
    return Estimate(by_seed.mean, np.asarray(math.hypot(by_seed.error, math.sqrt(images))), by_seed.df)


def _text(contrast: Interval | None, targets: int) -> str:
    if contrast is None:
        return "no target has a sound standard and antirobust arm to compare"
    over = "" if targets == 1 else f", mean over {targets} targets"
    return f"antirobust slope minus standard slope: {points(contrast)} points of accuracy per unit of eps{over}"
