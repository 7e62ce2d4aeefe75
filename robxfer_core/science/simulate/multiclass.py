"""The paper's own model (section 2.1): y = argmax(W_t R*(x) + b_t + noise), a source task t = 1 and a target t = 2.

phi and W1 are fitted on the source, phi is frozen, W2 is fitted on the target. All in float64 on the CPU.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from robxfer_core.jobs.simulate import Multiclass
from robxfer_core.science.attacks.threat import steepest
from robxfer_core.science.support.seeds import derive

MEASURES = ("excess", "representation", "head")
"""What a row holds: the excess risk; that of the best head on phi^, which n2 has no part in; and the rest."""
GUMBEL_DEVIATION = math.pi / math.sqrt(6)
PRIOR = 3.0
"""Heads are fitted with |W|^2 / (2 n (PRIOR scale)^2) added to the mean cross-entropy, n the samples: it keeps the fit
finite where classes are separable, as the bounds' |W| <= const does, and fades as fast as the excess risk."""
ITERATIONS = 1000
ROUNDS, STEPS, RATE = 10, 200, 0.05
"""Of an adversarial fit: at most so many rounds, Adam's steps in each, and the rate that each begins with."""
SETTLED = 1e-5
"""An adversarial fit is done when a round lowers its loss by less than this."""
FLAT = 1e-4
"""A smooth fit is done where no entry of the gradient is larger: the loss is a mean, whose logits are of order 1."""
STARTS = {"linear": 1, "mlp": 2}
"""Random starts of a source fit, of which the lowest loss is kept: neither is convex in phi, and mlp is the worse."""

Loss = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class MulticlassAxes:
    """One combination of the swept lists, n2 apart."""

    eps: float
    n1: int


@dataclass(frozen=True)
class Task:
    """W [r, K] and b [K] over a representation."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """[n, K]."""
        return features @ self.weight + self.bias


@dataclass(frozen=True)
class Fit:
    """Where a fit ended, its loss there, and whether that is known to be a minimum."""

    loss: float
    weights: tuple[Tensor, ...]
    converged: bool


@dataclass(frozen=True)
class World:
    """R* as the weights of `representation`, and both tasks on it."""

    representation: tuple[Tensor, ...]
    source: Task
    target: Task


def points(setting: Multiclass) -> Iterator[MulticlassAxes]:
    """Every combination but for n2, whose heads share a representation."""
    for eps in setting.eps:
        for n1 in setting.n1:
            yield MulticlassAxes(eps, n1)


def represent(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """R(x) [n, r] of inputs [n, d]: one matrix [d, r], or [d, h], [h] and [h, r] with tanh between."""
    if len(weights) == 1:
        return x @ weights[0]
    first, shift, second = weights
    return torch.tanh(x @ first + shift) @ second


def world(setting: Multiclass, seed: int) -> World:
    """Draw R* (coordinates of variance 1) and both tasks: logits of standard deviation `scale`, b_t ~ N(0, 1/4)."""
    rng = np.random.default_rng(seed)
    d, r, h = setting.dimension, setting.rank, setting.hidden
    if setting.representation == "linear":
        drawn = (_tensor(np.linalg.qr(rng.standard_normal((d, r)))[0]),)
    else:
        first, shift = rng.standard_normal((d, h)) * (1.5 / math.sqrt(d)), rng.standard_normal(h) / 2
        second = rng.standard_normal((h, r))
        seen = np.tanh(rng.standard_normal((20_000, d)) @ first + shift) @ second
        drawn = tuple(map(_tensor, (first, shift, second / seen.std(0))))
    return World(drawn, _task(rng, setting, setting.source_classes), _task(rng, setting, setting.target_classes))


def sample(setting: Multiclass, of: World, task: Task, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """x [n, d] and y [n] of a task. A smaller sample of the same seed is the start of a larger one."""
    x, noise = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    inputs, classes = _tensor(x.standard_normal((n, setting.dimension))), task.bias.numel()
    if setting.noise == "gumbel":
        shocks = noise.gumbel(size=(n, classes))
    else:
        shocks = GUMBEL_DEVIATION * noise.standard_normal((n, classes))
    return inputs, (task.logits(represent(of.representation, inputs)) + _tensor(shocks)).argmax(1)


def excess(setting: Multiclass, of: World, x: Tensor, y: Tensor, logits: Tensor) -> float:
    """Mean of L(logits) - L(W2* R* + b2*) over samples of the target.

    Under Gumbel noise the labels' law is known, and the mean over y is taken exactly: the Kullback-Leibler divergence.
    """
    true = of.target.logits(represent(of.representation, x))
    if setting.noise == "gumbel":
        return float(kl_div(log_softmax(logits, 1), log_softmax(true, 1), reduction="batchmean", log_target=True))
    return float(cross_entropy(logits, y) - cross_entropy(true, y))


def source_loss(setting: Multiclass, x: Tensor, y: Tensor, eps: float) -> Loss:
    """Cross-entropy of y given x [n, d], and the prior, of weights (those of `represent`, W1 [r, K], b1 [K]).

    eps > 0: at the loss-raising perturbation found by PGD, through which no gradient flows (Madry et al. 2018).
    """

    def loss(given: Sequence[Tensor]) -> Tensor:
        *phi, weight, bias = given
        moved = x + attack(lambda at: represent(phi, at) @ weight + bias, setting, x, y, eps)
        fit = cross_entropy(represent(phi, moved) @ weight + bias, y)
        decay = sum((each.square().sum() for each in (*phi, weight)), start=x.new_zeros(()))
        return fit + decay / (2 * len(x) * (PRIOR * setting.scale) ** 2)

    return loss


def fit_source(setting: Multiclass, x: Tensor, y: Tensor, eps: float, seed: int) -> Fit:
    """phi^, W1 and b1 that minimise `source_loss`: the lowest of the starts' fits."""
    classes, r, d = setting.source_classes, setting.rank, setting.dimension
    loss = source_loss(setting, x, y, eps)
    found: list[Fit] = []
    for start in range(STARTS[setting.representation]):
        rng = np.random.default_rng(derive(seed, "start", start))
        shapes = [(d, r)] if setting.representation == "linear" else [(d, setting.hidden), (setting.hidden, r)]
        phi = [_tensor(rng.standard_normal(shape) / math.sqrt(shape[0])) for shape in shapes]
        if len(phi) == 2:
            phi.insert(1, x.new_zeros(setting.hidden))
        head = [_tensor(rng.standard_normal((r, classes)) / math.sqrt(r)), x.new_zeros(classes)]
        fit = minimise(loss, [*phi, *head])
        found.append(settle(loss, fit) if eps > 0 else fit)
    return min(found, key=lambda each: each.loss)


def fit_head(setting: Multiclass, features: Tensor, labels: Tensor) -> Task:
    """W^ and b^ on frozen features [n, r]: convex. labels: classes [n], or their probabilities [n, K]."""
    centre, spread = features.mean(0), features.std(0)
    placed = (features - centre) / spread

    def loss(given: Sequence[Tensor]) -> Tensor:
        weight, bias = given
        decay = weight.square().sum() / (2 * len(placed) * (PRIOR * setting.scale) ** 2)
        return cross_entropy(placed @ weight + bias, labels) + decay

    zeros = features.new_zeros
    classes = setting.target_classes
    weight, bias = minimise(loss, [zeros(features.shape[1], classes), zeros(classes)]).weights
    weight = weight / spread[:, None]
    return Task(weight, bias - centre @ weight)


def attack(model: Callable[[Tensor], Tensor], setting: Multiclass, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """delta [n, d] in the ball of radius eps that raises the cross-entropy: PGD from 0, without a box."""
    delta = torch.zeros_like(x)
    for _ in range(setting.attack_steps if eps > 0 else 0):
        leaf = delta.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(cross_entropy(model(x + leaf), y, reduction="sum"), leaf)
        delta = delta + 2.5 * eps / setting.attack_steps * steepest(setting.norm, gradient)
        if setting.norm == "linf":
            delta = delta.clamp(-eps, eps)
        else:
            delta = delta * (eps / delta.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1)
    return delta.detach()


def simulate(setting: Multiclass, point: MulticlassAxes, repeat: int, seed: int) -> list[dict[str, Any]]:
    """One repeat at a point: a row of MEASURES for each n2. All points of a repeat share its world and its samples."""
    of = world(setting, derive(seed, "world", repeat))
    x1, y1 = sample(setting, of, of.source, point.n1, derive(seed, "source", repeat))
    source = fit_source(setting, x1, y1, point.eps, derive(seed, "fit", repeat))
    phi = source.weights[:-2]
    test, labels = sample(setting, of, of.target, setting.test, derive(seed, "test", repeat))
    seen = represent(phi, test)
    law = of.target.logits(represent(of.representation, test)).softmax(1) if setting.noise == "gumbel" else labels
    best = excess(setting, of, test, labels, fit_head(setting, seen, law).logits(seen))
    rows: list[dict[str, Any]] = []
    x2, y2 = sample(setting, of, of.target, max(setting.n2), derive(seed, "target", repeat))
    for n2 in setting.n2:
        head = fit_head(setting, represent(phi, x2[:n2]), y2[:n2])
        risk = excess(setting, of, test, labels, head.logits(seen))
        rows.append({"n2": n2, "excess": risk, "representation": best, "head": risk - best})
        rows[-1]["converged"] = source.converged
    return rows


def minimise(loss: Loss, start: Sequence[Tensor]) -> Fit:
    """L-BFGS from a start. Deterministic."""
    shapes = [each.shape for each in start]
    sizes = [each.numel() for each in start]

    def parts(flat: Tensor) -> tuple[Tensor, ...]:
        return tuple(piece.view(shape) for piece, shape in zip(flat.split(sizes), shapes, strict=True))

    def look(at: Any) -> tuple[float, Any]:
        flat = torch.from_numpy(at).requires_grad_()
        value = loss(parts(flat))
        (gradient,) = torch.autograd.grad(value, flat)
        return float(value.detach()), gradient.numpy()

    first = torch.cat([each.flatten() for each in start]).numpy()
    options = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "ftol": 1e-12, "gtol": 1e-7}
    done = optimize.minimize(look, first, jac=True, method="L-BFGS-B", options=options)
    # Not done.success: a line search that finds nothing lower, to rounding, ends "abnormally" at the minimum.
    return Fit(float(done.fun), parts(torch.from_numpy(done.x)), bool(np.abs(done.jac).max() < FLAT))


def settle(loss: Loss, fit: Fit) -> Fit:
    """Go on from a fit whose loss has kinks, where L-BFGS stops short of a minimum. Deterministic.

    An adversarial loss has one wherever the worst perturbation jumps. Rounds of Adam at a rate that falls to 0, until
    one lowers the loss by less than SETTLED; one that raises it is not taken.
    """
    for _ in range(ROUNDS):
        weights = descend(loss, fit.weights, STEPS, RATE)
        value = float(loss(weights))
        gained = fit.loss - value
        if gained > 0:
            fit = Fit(value, weights, converged=False)
        if gained < SETTLED:
            return replace(fit, converged=True)
    return replace(fit, converged=False)


def descend(loss: Loss, start: Sequence[Tensor], steps: int, rate: float) -> tuple[Tensor, ...]:
    """Where so many steps of Adam lead, the rate falling linearly to 0."""
    weights = [each.detach().clone().requires_grad_() for each in start]
    adam = torch.optim.Adam(weights, lr=rate)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        for each, gradient in zip(weights, torch.autograd.grad(loss(weights), weights), strict=True):
            each.grad = gradient
        adam.step()
    return tuple(each.detach() for each in weights)


def _task(rng: np.random.Generator, setting: Multiclass, classes: int) -> Task:
    weight = rng.standard_normal((setting.rank, classes))
    weight *= setting.scale / np.linalg.norm(weight, axis=0)
    return Task(_tensor(weight), _tensor(rng.standard_normal(classes) / 2))


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
