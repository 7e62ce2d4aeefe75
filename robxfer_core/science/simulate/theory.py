"""Upper bounds on the excess risk of representation transfer, up to their constants, and the slopes they have."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DELTA = 0.05
"""The bounds hold with probability 1 - DELTA."""


def du(dimension: int, rank: int, n1: int, n2: int) -> float:
    """(G^2 + log 1/delta)/n1 + (r + log 1/delta)/n2 (Du et al. 2021, few-shot learning via the representation).

    G^2, the squared Gaussian width of the representations, is taken as d r, that of linear ones.
    """
    return (dimension * rank + math.log(1 / DELTA)) / n1 + (rank + math.log(1 / DELTA)) / n2


def deng(dimension: int, rank: int, n1: int, n2: int) -> float:
    """sqrt((r + log n1)/n2) + sqrt(r^2 d/n1) (Deng et al. 2021)."""
    return math.sqrt((rank + math.log(n1)) / n2) + math.sqrt(rank**2 * dimension / n1)


def slope(sizes: Sequence[int], values: Floats) -> Floats:
    """Least-squares slope of log values[..., size] on log size."""
    x = np.log(np.asarray(sizes, dtype=np.float64))
    x = x - x.mean()
    return np.log(values) @ x / (x @ x)
