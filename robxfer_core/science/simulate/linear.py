"""Linear representations learnt from many tasks, standard and adversarially (Deng et al. 2021): x = y B a_t + eta.

The loss -y <w, x> is linear in w, so a task's fit depends on its samples only through mu_t = mean of y x, which is
N(B a_t, I/n1) exactly: it is drawn itself, and not the samples. The same holds for the target's head on the span of
B^, whose statistic, the mean of y B^'x, is N(B^'B a, I_r/n2).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from robxfer_core.jobs.simulate import Linear
from robxfer_core.science.support.seeds import derive

Floats = NDArray[np.float64]
MEASURES = ("excess", "expected", "population", "subspace", "surviving")
"""What a row holds: the excess risk; its mean over target samples, in closed form; that at n1 = n2 = infinity;
|(I - B^B^')B|_2; and the source tasks whose w_t is not 0."""


@dataclass(frozen=True)
class LinearAxes:
    """One combination of the swept lists, eps apart."""

    rank: int
    tasks: int
    snr: float
    diversity: float
    n1: int
    n2: int


def points(setting: Linear) -> Iterator[LinearAxes]:
    """Every combination but for eps, whose levels share their draws."""
    for values in product(setting.rank, setting.tasks, setting.snr, setting.diversity, setting.n1, setting.n2):
        yield LinearAxes(*values)


def trained(mu: Floats, norm: str, eps: float) -> Floats:
    """The w [d, T], |w_t| <= 1, that minimise -<w, mu_t> + eps |w|_dual, for statistics mu [d, T].

    That is the mean over samples of the loss at the worst perturbation in the ball. l2: mu/|mu| where |mu| > eps, else
    0. linf: mu soft-thresholded by eps, normalised; 0 where nothing is left. eps 0: mu/|mu| (Deng et al. 2021).
    """
    survives = np.linalg.norm(mu, axis=0) > eps * (1 + 1e-12)  # a norm that equals eps but for rounding does not
    left = mu * survives if norm == "l2" else np.sign(mu) * np.maximum(np.abs(mu) - eps, 0)
    lengths = np.linalg.norm(left, axis=0)
    return left / np.where(lengths > 0, lengths, 1)


def span(w: Floats, rank: int, spare: Floats) -> Floats:
    """B^ [d, rank]: the top left singular vectors of w [d, T].

    Where fewer tasks than `rank` have a w_t other than 0, the data say nothing of the other directions: they are those
    of `spare` [d, rank], made orthogonal.
    """
    alive = w[:, np.linalg.norm(w, axis=0) > 0]
    if not alive.shape[1]:
        return np.linalg.qr(spare)[0]
    found = np.linalg.svd(alive, full_matrices=False)[0][:, :rank]
    return np.linalg.qr(np.hstack((found, spare))[:, :rank])[0] if found.shape[1] < rank else found


def mean_alignment(length: float, rank: int, n2: float) -> float:
    """E[<g/|g|, m>] for g ~ N(m, I_rank/n2), |m| = length: what a head of n2 samples keeps of a signal of that length.

    length * sqrt(k/2) * Gamma((r+1)/2) / Gamma(r/2+1) * 1F1(1/2; r/2+1; -k/2), k = n2 * length^2: the mean resultant of
    the projected normal distribution.
    """
    k = n2 * length**2
    if math.isinf(k) or k > 1e4:  # 1F1 loses digits there; the next term is of order 1/k^2
        return length * (1 - (rank - 1) / (2 * k))
    ratio = math.exp(special.gammaln((rank + 1) / 2) - special.gammaln(rank / 2 + 1))
    return float(length * math.sqrt(k / 2) * ratio * special.hyp1f1(0.5, rank / 2 + 1, -k / 2))


def oracle(rank: int, n2: int) -> float:
    """Mean excess risk of a head on the true representation, in closed form (|a| = 1)."""
    return 1 - mean_alignment(1, rank, n2)


def survivors(setting: Linear, point: LinearAxes, eps: float) -> float | None:
    """The expected number of tasks with |mu_t| > eps, l2, in closed form: n1 |mu_t|^2 is noncentral chi-squared."""
    if setting.norm != "l2":
        return None
    groups = [(point.tasks, point.snr), *([(setting.weak.count, setting.weak.snr)] if setting.weak else [])]
    return float(
        sum(
            count
            * (stats.ncx2.sf(point.n1 * eps**2, setting.dimension, point.n1 * snr**2) if snr else
               stats.chi2.sf(point.n1 * eps**2, setting.dimension))
            for count, snr in groups
        )
    )  # fmt: skip


def simulate(setting: Linear, point: LinearAxes, repeat: int, seed: int) -> list[dict[str, Any]]:
    """One repeat at a point: a row of MEASURES for each eps, all from the same draws."""
    rng = np.random.default_rng(derive(seed, "linear", repeat))
    d, r = setting.dimension, point.rank
    basis = _basis(rng, d, r, setting.support)
    signal = _signal(rng, setting, point)
    target = rng.standard_normal(r)
    target /= np.linalg.norm(target)
    noise, spare = rng.standard_normal(r) / math.sqrt(point.n2), rng.standard_normal((d, r))
    mu = basis @ signal
    sampled = mu + rng.standard_normal(mu.shape) / math.sqrt(point.n1)
    rows: list[dict[str, Any]] = []
    for eps in setting.eps:
        w = trained(sampled, setting.norm, eps)
        kept = span(w, r, spare).T @ basis
        aligned = kept @ target
        length = float(np.linalg.norm(aligned))
        exact = span(trained(mu, setting.norm, eps), r, spare).T @ basis @ target
        head = aligned + noise
        rows.append(
            {
                "eps": eps,
                "excess": float(1 - head @ aligned / np.linalg.norm(head)),
                "expected": 1 - mean_alignment(length, r, point.n2),
                "population": max(0.0, float(1 - np.linalg.norm(exact))),
                "subspace": _lost(kept),
                "surviving": int((np.linalg.norm(w, axis=0) > 0).sum()),
            }
        )
    return rows


def _basis(rng: np.random.Generator, d: int, r: int, support: int | None) -> Floats:
    """B [d, r]: orthonormal columns, uniform among those that lie in `support` random coordinates."""
    k = support or d
    basis = np.zeros((d, r))
    basis[rng.permutation(d)[:k]] = np.linalg.qr(rng.standard_normal((k, r)))[0]
    return basis


def _signal(rng: np.random.Generator, setting: Linear, point: LinearAxes) -> Floats:
    """a_t of all source tasks, [r, T]."""
    counts, ratios = [point.tasks], [point.snr]
    if setting.weak:
        counts.append(setting.weak.count)
        ratios.append(setting.weak.snr)
    spread = np.geomspace(1, point.diversity, point.rank)
    signal = spread[:, None] * rng.standard_normal((point.rank, sum(counts)))
    return signal * (np.repeat(ratios, counts) / np.linalg.norm(signal, axis=0))


def _lost(kept: Floats) -> float:
    """|(I - B^B^')B|_2 from B^'B: the sine of the largest angle between the two spans."""
    least = float(np.linalg.svd(kept, compute_uv=False)[-1])
    return math.sqrt(max(0.0, 1 - least**2))
