"""Estimates, intervals and tests of a transfer study: pure functions of arrays, batched over leading axes."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from robxfer_core.jobs.results import Interval

Floats = NDArray[np.float64]
EXACT_LEVELS = 8  # 8! = 40,320 orders of the levels are enumerated; above it they are drawn
DRAWS = 20_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and shared test images, with its standard error; arrays of any (equal) shape.

    df is that of Student's t: seeds - 1; 0 where there is one seed, and then `error` is NaN.
    """

    mean: Floats
    error: Floats
    df: int

    def interval(self, alpha: float, comparisons: int = 1) -> tuple[Floats, Floats]:
        """Two-sided 1 - alpha interval, simultaneous over so many comparisons (Bonferroni); NaN where df is 0.

        Bonferroni and not a studentised maximum: differences to a common eps 0 have unequal variances and correlations
        that a handful of seeds cannot estimate, and it needs neither. Its price at 3 differences and 4 degrees of
        freedom is a quantile of 3.96 where independence would allow 3.94.
        """
        half = critical(self.df, alpha, comparisons) * self.error
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> Floats:
        """One-sided p of the hypothesis that the true value is at most `bound`."""
        gap = self.mean - bound
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.error > 0, gap / self.error, np.where(gap > 0, np.inf, -np.inf))
        return np.asarray(stats.t.sf(t, self.df) if self.df else np.ones_like(t))

    def p_below(self, bound: float) -> Floats:
        """One-sided p of the hypothesis that the true value is at least `bound`."""
        return Estimate(-self.mean, self.error, self.df).p_above(-bound)


def critical(df: int, alpha: float, comparisons: int = 1) -> float:
    """The t that an interval reaches to either side: 1 - alpha / (2 comparisons) quantile; NaN for df 0."""
    return float(stats.t.ppf(1 - alpha / (2 * comparisons), df)) if df else math.nan


def crossed(values: ArrayLike) -> Estimate:
    """Mean of values[..., seed, image] where every seed saw the same images, and its standard error.

    Model: value = mean + A[seed] + B[image] + R[seed, image]; seeds and images are both draws. Then
    Var(mean) = Var(A)/S + Var(B)/n + Var(R)/(S n). The variance of the S seed means, over S, estimates the first and
    the last term together, and misses the second: seeds share the images, so B is the same in all of them. The variance
    of the n image means, over n, estimates the second and again the last. So the image part is

        var_i(mean_s value) / n  -  MS(R) / (S n),   MS(R) the residual mean square of the two-way layout,

    never below 0. Where the variance is between images, Student's t with S - 1 degrees of freedom has fewer than the
    data: conservative. Without images (n = 1) it is the t estimate over seeds.
    """
    x = np.asarray(values, dtype=np.float64)
    seeds = x.shape[-2]
    mean = x.mean((-2, -1))
    if seeds < 2:
        return Estimate(mean, np.full_like(mean, np.nan), 0)
    variance = x.mean(-1).var(-1, ddof=1) / seeds + image_variance(x)
    variance = np.where(variance < 1e-24, 0.0, variance)  # rounding of equal values is no variance
    return Estimate(mean, np.sqrt(variance), seeds - 1)


def image_variance(values: ArrayLike) -> Floats:
    """Var(B)/n of `crossed`: what the shared images add to the variance of the mean of values[..., seed, image]."""
    x = np.asarray(values, dtype=np.float64)
    seeds, images = x.shape[-2:]
    if seeds < 2 or images < 2:
        return np.zeros(x.shape[:-2])
    mean = x.mean((-2, -1))
    total = np.square(x).sum((-2, -1)) - seeds * images * mean**2
    of_seeds = images * np.square(x.mean(-1) - mean[..., None]).sum(-1)
    of_images = seeds * np.square(x.mean(-2) - mean[..., None]).sum(-1)
    residual = np.maximum(total - of_seeds - of_images, 0) / ((seeds - 1) * (images - 1))
    return np.maximum(of_images / (seeds * (images - 1)) / images - residual / (seeds * images), 0)


def over_seeds(values: ArrayLike) -> Estimate:
    """Mean of values[..., seed] with the standard error over seeds alone."""
    return crossed(np.asarray(values, dtype=np.float64)[..., None])


def mean_interval(estimate: Estimate, alpha: float, comparisons: int = 1) -> Interval:
    """A scalar estimate with its interval, which has no ends with one seed.

    Args:
        estimate: The estimate; its arrays have no axes.
        alpha: 1 - the confidence.
        comparisons: How many intervals hold at once (Bonferroni).
    """
    return Interval.model_validate(bounds(estimate, alpha, comparisons))


def bounds(estimate: Estimate, alpha: float, comparisons: int = 1) -> dict[str, Any]:
    """A scalar estimate as JSON; low and high are null with one seed."""
    low, high = estimate.interval(alpha, comparisons)
    known = bool(estimate.df)
    return {
        "mean": float(estimate.mean),
        "low": float(low) if known else None,
        "high": float(high) if known else None,
    }


def differences(correct: ArrayLike) -> Estimate:
    """d(e) = acc(e) - acc(first level) of correct[..., level, seed, image], for all levels but the first."""
    x = np.asarray(correct, dtype=np.float64)
    return crossed(x[..., 1:, :, :] - x[..., :1, :, :])


def slope_weights(eps: ArrayLike) -> Floats:
    """w with sum(w * accuracy) the least-squares slope of accuracy on eps: accuracy per unit of eps.

    eps and not the level's number: a slope keeps its meaning when a level is added. Trend tests use the order alone.
    """
    levels = np.asarray(eps, dtype=np.float64)
    centred = levels - levels.mean()
    return centred / np.square(centred).sum()


def holm(p: ArrayLike) -> Floats:
    """Holm's adjusted p values: reject where they are at most alpha and the familywise error is at most alpha."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def holm_levels(p: ArrayLike, alpha: float) -> Floats:
    """The alpha at which Holm's procedure looks at each hypothesis.

    alpha / (those left) at each step; all that are left when one is not rejected share alpha equally. A hypothesis is
    rejected exactly where p is at most its level, so intervals at that level and Holm's test say the same.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    levels = np.empty_like(p)
    left = len(p)
    for index in order:
        levels[index] = alpha / left
        if p[index] <= levels[index] and left > 1:
            left -= 1
    return levels


@dataclass(frozen=True)
class Trend:
    """Page's L, with the p of a rise and of a fall over the levels; None where there are too few to permute."""

    statistic: float
    p_increasing: float | None
    p_decreasing: float | None
    method: str


def page_trend_test(accuracy: ArrayLike, seed: int = 0) -> Trend:
    """Page's L of accuracy[seed, level] and its permutation test within seeds (Page 1963), midranks for ties.

    Exact by convolution over seeds up to 8 levels, else from 20,000 draws with the given seed (the data's own order
    counted among them). One seed has only its own orders: below 6 levels there is no p.
    """
    twice = np.rint(2 * stats.rankdata(np.asarray(accuracy, dtype=np.float64), axis=-1)).astype(np.int64)
    seeds, levels = twice.shape
    weights = np.arange(1, levels + 1)
    observed = int((twice * weights).sum())
    if levels < 2 or (seeds == 1 and levels < 6):
        return Trend(observed / 2, None, None, "none: too few levels for one seed")
    if levels <= EXACT_LEVELS:
        orders = np.array(list(itertools.permutations(weights)))
        law = np.ones(1)
        for row in twice:
            sums, counts = np.unique(orders @ row, return_counts=True)
            mass = np.zeros(sums[-1] + 1)
            mass[sums] = counts / len(orders)
            law = np.convolve(law, mass)
        up, down = law[observed:].sum(), law[: observed + 1].sum()
        method = "exact"
    else:
        draws = np.random.default_rng(seed)
        sums = sum(draws.permuted(np.tile(row, (DRAWS, 1)), axis=1) @ weights for row in twice)
        up = (1 + np.count_nonzero(sums >= observed)) / (DRAWS + 1)
        down = (1 + np.count_nonzero(sums <= observed)) / (DRAWS + 1)
        method = f"{DRAWS} permutations"
    return Trend(observed / 2, min(1.0, float(up)), min(1.0, float(down)), method)


def rank_correlations(eps: ArrayLike, accuracy: ArrayLike) -> dict[str, float | None]:
    """Spearman's rho and Kendall's tau-b of accuracy[seed, level] with eps: the mean of the within-seed values.

    Descriptive. None where no seed's accuracies differ.
    """

    def mean(correlation: Any) -> float | None:
        rows = [row for row in np.asarray(accuracy, dtype=np.float64) if np.ptp(row) > 0]
        return float(np.mean([correlation(np.asarray(eps), row).statistic for row in rows])) if rows else None

    return {"spearman": mean(stats.spearmanr), "kendall": mean(stats.kendalltau)}


def detectable(estimate: Estimate, alpha: float, margin: float, power: float = 0.8) -> float | None:
    """The difference that would have been shown with this power, at the largest error among the estimate's levels.

    margin + (t[1 - alpha / (2 levels)] + t[power]) * error: `planning.power.detectable_effect` with the errors seen.
    """
    if not estimate.df or not estimate.error.size:
        return None
    reach = critical(estimate.df, alpha, estimate.error.size) + float(stats.t.ppf(power, estimate.df))
    return margin + reach * float(estimate.error.max())
