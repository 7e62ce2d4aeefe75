"""The training step of each method: what is attacked, and with which loss the weights are moved."""

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.jobs.train import Train
from robxfer_core.science.attacks.ascent import Height, ascend
from robxfer_core.science.attacks.pgd import evaluating, fgsm, pgd
from robxfer_core.science.attacks.threat import into_ball, project, steepest
from robxfer_core.science.models import Network
from robxfer_core.science.support.noise import normal
from robxfer_core.science.support.precision import autocast
from robxfer_core.spec.fields import Attack, ThreatModel

from .state import TrainingState

TRADES_START = 0.001
"""Standard deviation of the noise that TRADES' attack begins with: at x itself the KL divergence has no gradient."""


def carries_perturbation(spec: Train) -> bool:
    """Whether a perturbation goes over from each step to the next."""
    return spec.method == "free" and spec.threat.eps > 0


def single_step_size(spec: Train, eps: float) -> float:
    """Length of the step of `free` (Shafahi et al. 2019, algorithm 1) and `fast` (Wong et al. 2020, section 4)."""
    if spec.attack.step_size is not None:
        return spec.attack.step_size * (eps / spec.threat.eps)
    return eps * {"free": 1.0, "fast": 1.25}.get(spec.method, 1.0)


def scheduled(spec: Train, done: float) -> tuple[ThreatModel, Attack]:
    """Threat model and attack after the fraction `done`, in [0,1), of the training: smaller during the warm-up."""
    if done >= spec.eps_warmup:
        return spec.threat, spec.attack
    share = done / spec.eps_warmup
    size = spec.attack.step_size
    # At a share of 0 there is no attack, and no step size need be said.
    scaled = size * share if size is not None and share > 0 else None
    return (
        ThreatModel(norm=spec.threat.norm, eps=spec.threat.eps * share),
        spec.attack.model_copy(update={"step_size": scaled}),
    )


def step(
    spec: Train, state: TrainingState, x: Tensor, y: Tensor, seeds: Tensor, total: int, done: float = 1.0
) -> Tensor:
    """One step on a batch, attacked first where eps > 0. Returns its mean loss, before the step, on the device.

    `x`, `y`, `seeds` are this process's share of the batch, which has `total` images; `done` is the fraction of the
    training before this step.
    """
    threat, attack = scheduled(spec, done)
    attacked = threat.eps > 0
    size = state.team.size
    reduction = "mean" if size == 1 else "sum"
    penalty: Tensor | None = None
    with autocast(x.device, spec.precision):
        if attacked and spec.method == "trades" and spec.trades_beta > 0:
            moved = farthest_prediction(state.network, x, threat, attack.steps, attack.step(threat.eps), seeds=seeds)
            logits = state.trained(x).float()
            penalty = spec.trades_beta * kl_divergence(logits, state.trained(moved).float(), reduction)
        else:
            if attacked and spec.method != "trades":
                x = moved_by(spec, state, x, y, seeds, total, threat, attack)
            logits = state.trained(x).float()
        loss = F.cross_entropy(logits, y, label_smoothing=spec.label_smoothing, reduction=reduction)
    if penalty is not None:
        loss = loss + penalty
    if size > 1:
        loss = loss * (size / total)  # processes' gradients are averaged: to that of the mean over the whole batch
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    if x.grad is not None:
        carry_on(spec, state, x.grad, total, threat)
    return state.team.sum(loss.detach()) / size


def moved_by(
    spec: Train,
    state: TrainingState,
    x: Tensor,
    y: Tensor,
    seeds: Tensor,
    total: int,
    threat: ThreatModel,
    attack: Attack,
) -> Tensor:
    """The images that the network is to be trained on in place of x. Those of `free` ask for their gradient."""
    if spec.method == "fast":
        return fgsm(state.network, x, y, threat, single_step_size(spec, threat.eps), seeds=seeds)
    if spec.method == "free":
        assert state.perturbation is not None
        kept = state.team.share(state.perturbation[:total])
        return project(threat, x + kept, x).requires_grad_()
    return pgd(
        state.network,
        x,
        y,
        threat,
        steps=attack.steps,
        step_size=attack.step(threat.eps),
        random_start=attack.random_start,
        restarts=attack.restarts,
        seeds=seeds,
    )


@torch.no_grad()
def carry_on(spec: Train, state: TrainingState, gradient: Tensor, total: int, threat: ThreatModel) -> None:
    """Move `free`'s perturbation along the gradient that came with the weights' own.

    It belongs to places in the batch, not to images, and goes on from batch to batch. All processes keep the whole of
    it, so that the checkpoint of one serves any number.
    """
    assert state.perturbation is not None
    share = state.team.share
    whole = state.perturbation[:total]
    moved = share(whole) + single_step_size(spec, threat.eps) * steepest(threat.norm, gradient)
    moved = into_ball(threat, moved)
    if state.team.size == 1:
        state.perturbation[:total] = moved
        return
    spread = torch.zeros_like(whole)
    spread[share(torch.arange(total, device=whole.device))] = moved
    state.perturbation[:total] = state.team.sum(spread)


def farthest_prediction(
    network: Network, x: Tensor, threat: ThreatModel, steps: int, step_size: float, *, seeds: Tensor
) -> Tensor:
    """The inner maximisation of TRADES (Zhang et al. 2019, algorithm 1): ascent on KL(p(x) || p(x')), its last point.

    Images in [0,1] within the threat model; the network is run in eval mode, and the device is not waited for.
    """
    if len(x) == 0:
        return x
    with evaluating(network):
        with torch.no_grad():
            clean = network(x).float()
        drawn = normal(seeds, x[0].numel()).view(x.shape).to(x.dtype)
        return ascend(
            project(threat, x + TRADES_START * drawn, x),
            lambda images: Height(kl_divergence(clean, network(images).float(), "sum")),
            lambda moved: project(threat, moved, x),
            norm=threat.norm,
            steps=steps,
            step_size=step_size,
        )


def kl_divergence(clean: Tensor, moved: Tensor, reduction: str) -> Tensor:
    """KL(p || q) of the predictions p, q with these logits [N, K], in nats: over the images their `mean` or `sum`."""
    how = "batchmean" if reduction == "mean" else "sum"
    return F.kl_div(moved.log_softmax(1), clean.log_softmax(1), reduction=how, log_target=True)
