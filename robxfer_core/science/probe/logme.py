"""LogME: the evidence of a linear model on features, at its best prior and noise (You et al. 2021, section 4)."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robxfer_core.jobs.features import FeaturesResult
from robxfer_core.jobs.probe import LogmeResult, Probe
from robxfer_core.jobs.run import Inputs, Run

Floats = NDArray[np.float64]
ROUNDS = 1000
TOLERANCE = 1e-8
"""Relative change of t = alpha / beta at which the fixed point is taken for reached."""


class Evidence(NamedTuple):
    """Of one target: the log evidence per image at these alpha (prior precision) and beta (noise precision)."""

    value: float
    alpha: float
    beta: float
    converged: bool


def logme(spec: Probe, inputs: Inputs, run: Run) -> LogmeResult:
    """LogME of the training split's features: the mean over classes, each against the rest, of the log evidence."""
    found = inputs.one("features").path
    about = FeaturesResult.read(found)
    x: Floats = np.load(found / "train_x.npy", allow_pickle=False).astype(np.float64)
    y = np.load(found / "train_y.npy", allow_pickle=False)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    present = np.unique(y)
    evidences: list[Evidence] = []
    for label in present:  # a class without images has no evidence
        evidences.append(evidence(u, s, x.shape[1], (y == label).astype(np.float64)))
        run.progress(len(evidences), len(present), "classes")
    values = [each.value for each in evidences]
    return LogmeResult(
        measure="logme",
        logme=float(np.mean(values)),
        classes={str(label): round(value, 6) for label, value in zip(present, values, strict=True)},
        converged=all(each.converged for each in evidences),
        n=len(y),
        length=x.shape[1],
        data=about.data,
        model=about.model,
    )


def evidence(u: Floats, s: Floats, length: int, y: Floats) -> Evidence:
    """The largest log evidence per image of y [N] = X w + noise, w ~ N(0, I/alpha), noise ~ N(0, I/beta).

    u [N, k], s [k]: the singular vectors and values of X [N, length], k = min(N, length). alpha and beta by MacKay's
    fixed point. With fewer images than components log det(alpha + beta X'X) has length - k more terms, ln alpha each.
    Raises ValueError where X is 0.
    """
    count, sigma = len(y), s * s
    x2 = (u.T @ y) ** 2
    # What lies outside the features' span; rounding could leave it below 0.
    res0 = max(float(y @ y - x2.sum()), 0.0) if count > len(s) else 0.0
    largest = float(sigma.max(initial=0.0))
    if largest == 0:
        raise ValueError("features: all of them are 0, which explains nothing")
    t, converged = 1.0, False
    alpha = beta = 1.0

    def norms(t: float) -> tuple[float, float]:
        m2 = float((sigma * x2 / (t + sigma) ** 2).sum())
        return m2, float((x2 * (t / (t + sigma)) ** 2).sum()) + res0

    for _ in range(ROUNDS):
        m2, res2 = norms(t)
        gamma = float((sigma / (sigma + t)).sum())
        alpha, beta = gamma / max(m2, 1e-300), (count - gamma) / max(res2, 1e-300)
        before, t = t, min(max(alpha / beta, 1e-12 * largest), 1e12 * largest)
        if abs(t - before) <= TOLERANCE * before:
            converged = True
            break
    alpha = t * beta  # where t was held: the fit is perfect, or nothing is explained
    m2, res2 = norms(t)
    logdet = float(np.log(alpha + beta * sigma).sum()) + (length - len(s)) * math.log(alpha)
    value = length * math.log(alpha) + count * math.log(beta) - logdet - beta * res2 - alpha * m2
    return Evidence((value - count * math.log(2 * math.pi)) / (2 * count), alpha, beta, converged)
