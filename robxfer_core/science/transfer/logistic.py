"""Multinomial logistic regression by Newton's method: what a linear head tends to, without a learning rate.

Minimised over W [r, K] and b [K], in float64, is

    mean over images of cross-entropy(x @ W + b, y)  +  l2 / 2 * |W|^2

in the principal axes of x, where the Hessian's block of class k is near to the diagonal c_k * variance + l2, with c_k
the mean of p_k (1 - p_k): with that as preconditioner a Newton step takes few conjugate gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .linear_heads import moments

TOLERANCE = 1e-8
"""Converged: half the Newton decrement, which is about the loss's distance to its minimum (Boyd and Vandenberghe 2004,
section 9.5.1), is at most this fraction of the loss."""
NEWTON_STEPS = 100
CG_STEPS = 300
RANK = 1e-10
"""Principal axes of less variance than this fraction of the largest are left out."""
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""The l2 tried by `asymptote`, from the strongest on."""


@dataclass(frozen=True)
class Axes:
    """Features [n, r] in their principal axes, found once for all penalties."""

    mean: Tensor
    """[r]"""
    rotation: Tensor
    """[r, q], orthonormal columns, q the rank."""
    variance: Tensor
    """[q]"""
    x: Tensor
    """[n, q + 1] float64: the features placed in the axes, and a column of ones whose weights are the bias."""

    def place(self, x: Tensor) -> Tensor:
        """Features [m, r] in the axes: [m, q + 1]."""
        placed = (x.double() - self.mean) @ self.rotation
        return torch.cat((placed, placed.new_ones(len(x), 1)), 1)


@dataclass(frozen=True)
class Solution:
    """Weights of the regression, with how well they solve it."""

    weights: Tensor
    """[q + 1, K] float64, for features placed in the axes; the last row is the bias."""
    loss: float
    """The objective, penalty included."""
    converged: bool
    """False: the steps ran out before the loss was within the tolerance."""


def axes(x: Tensor) -> Axes:
    """The principal axes of features [n, r]."""
    x = x.double()
    mean = x.mean(0)
    variance, rotation = torch.linalg.eigh((x - mean).mT @ (x - mean) / len(x))
    kept = variance > RANK * variance[-1]
    found = Axes(mean, rotation[:, kept], variance[kept], x)
    return Axes(mean, found.rotation, found.variance, found.place(x))


def solve(
    at: Axes, y: Tensor, classes: int, l2: float, start: Solution | None = None, tolerance: float = TOLERANCE
) -> Solution:
    """Minimise the objective for labels y [n] int64 in [0, K); `start` warms it up, if from equal axes.

    l2 > 0. Deterministic.
    """
    x, n = at.x, len(at.x)
    one = at.variance.new_ones(1)
    penalty = torch.cat((l2 * torch.ones_like(at.variance), 0 * one))[:, None]
    variance = torch.cat((at.variance, one))[:, None]
    target = torch.nn.functional.one_hot(y, classes).double()

    def look(weights: Tensor) -> tuple[float, Tensor]:
        """The objective and the probabilities [n, K]."""
        log_p = torch.log_softmax(x @ weights, 1)
        return float((penalty * weights.square()).sum() / 2 - (log_p * target).sum() / n), log_p.exp_()

    def gradient_at(weights: Tensor, p: Tensor) -> Tensor:
        return x.mT @ (p - target) / n + penalty * weights

    weights = x.new_zeros(x.shape[1], classes) if start is None else start.weights
    loss, p = look(weights)
    gradient = gradient_at(weights, p)
    converged = False
    for _ in range(NEWTON_STEPS):
        scale = penalty + variance * (p * (1 - p)).mean(0).clamp_min(1e-12)
        step = _newton_step(x, p, penalty, gradient, scale)
        decrement = -float((step * gradient).sum())
        converged = decrement <= 2 * tolerance * loss
        length = 1.0
        while (looked := look(weights + length * step))[0] > loss - 1e-4 * length * decrement and length > 1e-9:
            length /= 2
        if looked[0] > loss:  # float64 sees no lower loss any more
            break
        weights, (loss, p) = weights + length * step, looked
        gradient = gradient_at(weights, p)
        if converged:
            break
    return Solution(weights, loss, converged)


def _newton_step(x: Tensor, p: Tensor, penalty: Tensor, gradient: Tensor, scale: Tensor) -> Tensor:
    """Solve Hessian @ step = -gradient roughly, by preconditioned conjugate gradients.

    Near enough when a step adds a hundredth of what all have: the objective's model is then within a few percent of
    its minimum, which Newton's next step makes good.
    """
    step, residual = torch.zeros_like(gradient), -gradient
    scaled = residual / scale
    direction, energy = scaled, float((residual * scaled).sum())
    gained = 0.0
    for _ in range(CG_STEPS):
        change = x @ direction
        curved = p * (change - (p * change).sum(1, keepdim=True))
        product = x.mT @ curved / len(x) + penalty * direction
        curvature = float((direction * product).sum())
        if not curvature > 0:  # a shift of all classes alike, by rounding
            break
        length = energy / curvature
        step = step + length * direction
        residual = residual - length * product
        gained += length * energy
        scaled = residual / scale
        before, energy = energy, float((residual * scaled).sum())
        if length * before < 0.01 * gained:
            break
        direction = scaled + (energy / before) * direction
    return step


@dataclass(frozen=True)
class SolvedHead:
    """The regression with the penalty chosen on validation images, solved on all training images."""

    l2: float
    """In units of the features' mean variance."""
    validation: float
    """Accuracy on the validation images with that penalty, of the regression that had not seen them."""
    correct: Tensor
    """[m] bool: which test images are right."""
    converged: bool


def asymptote(
    x: Tensor,
    y: Tensor,
    fit: Tensor,
    held: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    classes: int,
    standardised: bool,
    between: Callable[[], None] = lambda: None,
) -> SolvedHead:
    """What a linear head tends to on features x [n, r]: the penalty is chosen by fitting on x[fit], scored on x[held].

    Raw features are divided by one number, the root of their mean variance, so that one grid of penalties suits every
    network; standardised ones each by their own deviation. Where penalties tie, the strongest wins. `between` is called
    after each penalty's solution.
    """
    seen, unseen = _scaled(x[fit], standardised, x[fit]), _scaled(x[fit], standardised, x[held])
    at = axes(seen)
    solution: Solution | None = None
    scores: dict[float, float] = {}
    for l2 in PENALTIES:
        # Rougher than the final solve: it need only tell the penalties apart.
        solution = solve(at, y[fit], classes, l2, solution, tolerance=1e-4)
        predicted = (at.place(unseen) @ solution.weights).argmax(1)
        scores[l2] = float((predicted == y[held]).double().mean())
        between()
    best = max(PENALTIES, key=scores.__getitem__)
    at = axes(_scaled(x, standardised, x))
    solution = solve(at, y, classes, best)
    predicted = (at.place(_scaled(x, standardised, test_x)) @ solution.weights).argmax(1)
    return SolvedHead(best, scores[best], predicted == test_y, solution.converged)


def _scaled(seen: Tensor, standardised: bool, x: Tensor) -> Tensor:
    """x centred and scaled by what was seen."""
    mean, inverse = moments(seen)
    if not standardised:
        spread = seen.double().var(0, correction=0).mean().sqrt()
        inverse = torch.where(spread > 0, 1 / spread, 0.0)
    return (x.double() - mean) * inverse
