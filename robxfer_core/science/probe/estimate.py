"""Usefulness from numbers: rho and gamma of every component and class, and their intervals.

A feature is a component f of the representation and a class c, with y = +1 for images of c and -1 for the rest, both
weighted equally: E[y f] is half the mean over c plus half the mean over the rest of -f. With |y| = 1 and f of variance
1, rho is the correlation of f and y, in [-1, 1]. Shifts of f cancel, so only its sign and scale have to be known.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Standard:
    """What turns a component into a feature of a class; arrays [K, C]."""

    sign: Floats
    """+1 or -1: the way in which the component speaks for the class."""
    scale: Floats
    """Standard deviation with both classes weighted equally; NaN where the component is constant."""


class Moments(NamedTuple):
    """Of each class and of all images outside it: counts [K, 1], means and (population) variances [K, C]."""

    n: Floats
    n_rest: Floats
    mean: Floats
    mean_rest: Floats
    var: Floats
    var_rest: Floats


class UsefulnessStatistic(NamedTuple):
    """Arrays [K, C]; NaN where a class has fewer than 2 images or the component is constant."""

    value: Floats
    error: Floats
    """Standard error."""
    df: Floats
    """Welch's degrees of freedom."""

    def bounds(self, comparisons: int = 1) -> tuple[Floats, Floats]:
        """Intervals at LEVEL, together for so many comparisons (Bonferroni)."""
        far = student.ppf(1 - (1 - LEVEL) / (2 * comparisons), self.df) * self.error
        return self.value - far, self.value + far


def moments(f: Floats, y: NDArray[np.int64], classes: int) -> Moments:
    """Of values f [n, C], less their mean over all images, of images of classes y [n]."""
    f = f - f.mean(0)  # the squares of values far from 0 would cost digits
    member = np.eye(classes)[y].T
    n = member.sum(1, keepdims=True)
    sums, squares = member @ f, member @ (f * f)
    rest, rest_sums, rest_squares = len(y) - n, f.sum(0) - sums, (f * f).sum(0) - squares
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, mean_rest = sums / n, rest_sums / rest
        var, var_rest = squares / n - mean**2, rest_squares / rest - mean_rest**2
    return Moments(n, rest, mean, mean_rest, np.maximum(var, 0), np.maximum(var_rest, 0))


def standardise(f: Floats, y: NDArray[np.int64], classes: int) -> Standard:
    """Sign and scale of each component for each class, from values f [n, C] of images of classes y [n].

    Raises ValueError where a class has no image.
    """
    found = moments(f, y, classes)
    if (found.n == 0).any():
        lacking = np.flatnonzero(found.n[:, 0] == 0).tolist()
        raise ValueError(f"classes {lacking[:10]} have no image to standardise on; takes some of every class")
    gap = found.mean - found.mean_rest
    scale = np.sqrt((found.var + found.var_rest) / 2 + (gap / 2) ** 2)
    alive = scale > 1e-7 * np.abs(f).max(0)  # float32's rounding apart, a constant
    return Standard(np.where(gap >= 0, 1.0, -1.0), np.where(alive, scale, np.nan))


def usefulness(low: Floats, high: Floats, y: NDArray[np.int64], standard: Standard) -> UsefulnessStatistic:
    """E[inf y f] of every feature [K, C], where each image's component can be anywhere from low to high [n, C].

    With low = high = f it is rho. An image of the class loses most at low where the sign is +1, at high where it is -1;
    one of the rest the other way round. The scale counts as known.
    """
    classes = len(standard.sign)
    down, up = moments(low, y, classes), moments(-high, y, classes)
    shift = (low.mean(0) - high.mean(0)) / 2  # the means that `moments` took away
    plus = standard.sign > 0
    value = np.where(plus, down.mean + up.mean_rest, up.mean + down.mean_rest) / 2 + shift
    var = np.where(plus, down.var, up.var) / (down.n - 1).clip(1)
    var_rest = np.where(plus, up.var_rest, down.var_rest) / (down.n_rest - 1).clip(1)
    enough = (down.n >= 2) & (down.n_rest >= 2) & np.isfinite(standard.scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = var**2 / (down.n - 1) + var_rest**2 / (down.n_rest - 1)
        df = np.where(parts > 0, (var + var_rest) ** 2 / parts, 1.0)
        error = np.sqrt(var + var_rest) / 2 / standard.scale
        value = value / standard.scale
    return UsefulnessStatistic(*(np.where(enough, part, np.nan) for part in (value, error, np.maximum(df, 1.0))))


def mean_usefulness(
    f: Floats, y: NDArray[np.int64], standard: Standard, chosen: NDArray[np.bool_]
) -> tuple[float, float]:
    """Mean rho of the chosen features [K, C] and its standard error; (NaN, NaN) where none is chosen or measurable.

    The mean is one weighted sum over images, so its error is that of a stratified draw, whatever features share.
    """
    counts = np.bincount(y, minlength=len(chosen)).astype(float)
    able = chosen & np.isfinite(standard.scale) & (counts >= 2)[:, None] & (len(y) - counts >= 2)[:, None]
    if not able.any():
        return float("nan"), float("nan")
    weight = np.where(able, standard.sign / standard.scale, 0.0) / (2 * able.sum())
    own = weight / np.maximum(counts, 1)[:, None]
    other = weight / np.maximum(len(y) - counts, 1)[:, None]
    # Of an image of class l: its own class's weight, less every other class's.
    part = ((f - f.mean(0)) * (own - (other.sum(0) - other))[y]).sum(1)
    variance = sum(counts[k] * part[y == k].var(ddof=1) for k in range(len(counts)) if counts[k] >= 2)
    return float(part.sum()), float(np.sqrt(variance))
