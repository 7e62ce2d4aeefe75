"""Multiple comparisons with the best (Hsu 1981, Edwards and Hsu 1983): which levels can be the best one.

Level i is called not the best where some level j beats it by more than d_i standard errors of their difference. If b is
the best level, no true difference mu_j - mu_b is above 0, so b is wrongly left out only where

    max over j of  (mean_j - mean_b - (mu_j - mu_b)) / se_bj

exceeds d_b, its 1 - alpha quantile: levels that are not the best cost no confidence, which is Hsu's point. On that same
event each level loses to the best at most what `Best.loss` says, for all levels at once (Hsu's constrained intervals).

The quantile is that of a bootstrap crossed over seeds and test images (both resampled, each seed keeping its images and
each image its seeds), which tells how the differences hang together. Its spread is not trusted: of five seeds it is too
narrow. Differences are divided by their standard deviation among the draws, and by the root of a chi-square of S - 1
degrees of freedom over S - 1, so that each of them alone is Student's t; what they are compared with is the standard
error of `stats.crossed`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robxfer_core.reports.stats import Estimate, Floats, crossed

DRAWS = 2000


@dataclass(frozen=True)
class Best:
    """Which levels can be the best, [level]."""

    kept: NDArray[np.bool_]
    """The confidence set: it holds the best level with the confidence asked for, and is never empty."""
    loss: Floats
    """The accuracy that each level loses to the best at most, for all levels at once; 0 for one alone in the set."""
    critical: Floats
    """d_i, in standard errors."""


def difference(values: ArrayLike) -> Estimate:
    """The mean of values[..., seed, image] with its error: `crossed`, or over images alone where there is one seed."""
    x = np.asarray(values, dtype=np.float64)
    seeds, images = x.shape[-2:]
    if seeds > 1 or images < 2:
        return crossed(x)
    return Estimate(x.mean((-2, -1)), x[..., 0, :].std(-1, ddof=1) / np.sqrt(images), images - 1)


def with_the_best(correct: ArrayLike, alpha: float, seed: int = 0, draws: int = DRAWS) -> Best:
    """The confidence set of correct[level, seed, image], outcomes of every level on the same images; larger is better.

    With one seed the bootstrap is over images alone. Deterministic: `seed` draws it. Raises ValueError for fewer than 2
    levels, or one seed and one image, which have no spread.
    """
    x = np.asarray(correct, dtype=np.float64)
    levels, seeds, images = x.shape
    if levels < 2 or seeds * images < 2:
        raise ValueError(f"{levels} levels, {seeds} seeds, {images} images; takes 2 levels and 2 outcomes of each")
    found = difference(x[None] - x[:, None])  # [i, j]: what j is above i
    resampled = _bootstrap(x, np.random.default_rng(seed), draws)
    shift = resampled[:, None, :] - resampled[:, :, None] - found.mean
    spread = np.sqrt(np.square(shift).mean(0))
    scaled = np.divide(shift, spread, out=np.zeros_like(shift), where=spread > 0)
    # A chi-square for each difference: their errors are estimated one by one, and one for all would leave out that of
    # many differences some error comes out small (simulated: 91 % of six equal levels covered, in place of 95).
    chi = np.random.default_rng([seed, 1]).chisquare(found.df, scaled.shape) / found.df
    scaled /= np.sqrt(chi)
    scaled[:, range(levels), range(levels)] = -np.inf
    critical = np.quantile(scaled.max(2), 1 - alpha, axis=0)
    kept = np.asarray((found.mean <= critical[:, None] * found.error).all(1))
    # What i loses if j is the best: on Hsu's event it holds for j = b, which is in the set.
    loss = found.mean + critical[None, :] * found.error
    loss[:, ~kept] = 0.0
    loss[range(levels), range(levels)] = 0.0
    return Best(kept, np.maximum(loss.max(1), 0.0), critical)


def _bootstrap(x: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Mean accuracies [draw, level] with seeds and images each drawn with replacement."""
    levels, seeds, images = x.shape
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    of_images = rng.multinomial(images, np.full(images, 1 / images), draws) / images
    by_seed = (of_images @ x.reshape(levels * seeds, images).T).reshape(draws, levels, seeds)
    return (by_seed * of_seeds[:, None, :]).sum(-1)
