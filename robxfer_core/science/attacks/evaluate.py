"""Accuracy of a model on clean images and under attack."""

import base64
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.evaluate import AttackName, AttackOutcome, Evaluate, EvaluateResult, MaskingWarning
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.data.artifact import load
from robxfer_core.science.models import Network
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Attack, Precision, ThreatModel

from .apgd import apgd, apgd_targeted
from .losses import DLR_CLASSES, TARGETED_DLR_CLASSES
from .masking import PROBES, accuracy_flat, accuracy_rises, probe
from .pgd import evaluating, pgd

BATCH = 256
RESULT_BYTES = 56 * 1024
"""Most bytes of base64 that the per-image bits may fill of a result.json of 64 KiB."""


def correct(
    network: Network,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    attack: Attack,
    *,
    seed: int,
    precision: Precision = "fp32",
    first: int = 0,
    progress: Callable[[int], None] = lambda images: None,
) -> Tensor:
    """Which images are classified right after PGD in the threat model (eps 0: as they are): bool [n], on the CPU.

    `x` is [n, C, H, W] as stored (uint8, or floats in [0,1]), on any device; the network's decides. An image's random
    start follows from `seed` and its place, which is `first` for that of x[0]. `progress` is told the images done after
    each batch. Raises FloatingPointError naming the images where the network gives NaN under attack; on clean images
    NaN counts as wrong.
    """

    def move(x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        return _pgd(network, x, y, threat, attack, seeds)

    places = torch.arange(first, first + len(x))
    attacked = move if threat.eps > 0 else None
    return _outcomes(network, x, y, attacked, places, seed=seed, precision=precision, progress=progress)


def _pgd(network: Network, x: Tensor, y: Tensor, threat: ThreatModel, attack: Attack, seeds: Tensor) -> Tensor:
    return pgd(
        network,
        x,
        y,
        threat,
        steps=attack.steps,
        step_size=attack.step(threat.eps),
        random_start=attack.random_start,
        restarts=attack.restarts,
        seeds=seeds,
    )


Move = Callable[[Tensor, Tensor, Tensor], Tensor]
"""An attack: images in [0,1], labels and the images' seeds to images."""


def _outcomes(
    network: Network,
    x: Tensor,
    y: Tensor,
    move: Move | None,
    places: Tensor,
    *,
    seed: int,
    precision: Precision,
    progress: Callable[[int], None],
) -> Tensor:
    """Which images are classified right after a move; `places` int64 [n], theirs in the set, give them their seeds."""
    device = network.mean.device
    parts: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        for done in range(0, len(x), BATCH):
            images = to_unit(x[done : done + BATCH].to(device))
            labels, at = y[done : done + BATCH].to(device), places[done : done + BATCH]
            with autocast(device, precision):
                if move is not None:
                    try:
                        images = move(images, labels, image_seeds(seed, at.to(device)))
                    except FloatingPointError as error:
                        named = f"batch of the images from {int(at[0])} to {int(at[-1])}"
                        raise FloatingPointError(f"{named}: {error}") from error
                logits = network(images)
            parts.append((logits.argmax(1) == labels) & ~logits.isnan().any(1))
            progress(min(done + BATCH, len(x)))
    return torch.cat(parts).cpu() if parts else torch.zeros(0, dtype=torch.bool)


def evaluate(spec: Evaluate, inputs: Inputs, run: Run) -> EvaluateResult:
    """Clean accuracy and the worst case over the attacks at each eps, with each image's outcome, on the test split.

    The first attack runs on all images, each later one on those that are right still. Resumes from the last attack that
    was finished, and ends as if it had not been interrupted.
    """
    model, folder = inputs.one("model").path, inputs.one("dataset").path
    network = models.load(model).to(run.device)
    data = load(folder, "test")
    if network.classes != len(data.classes):
        raise ValueError(f"a model of {network.classes} classes on {data.name}, which has {len(data.classes)}")
    x, y = data.x[: spec.max_images], data.y[: spec.max_images]
    levels = [0.0, *sorted(set(spec.eps) - {0.0})]
    room = len(levels) * math.ceil(len(y) / 8) * 4 / 3
    if room > RESULT_BYTES:
        raise ValueError(
            f"max_images: the outcomes of {len(y)} images at {len(levels)} levels take {room:.0f} bytes of a result, "
            f"which has room for {RESULT_BYTES}; evaluate fewer images or split the levels over jobs"
        )
    # What is measured: the accuracy at a level, after an attack.
    rows: list[tuple[int, AttackName | None]] = [(0, None)]
    rows.extend((level, attack) for level in range(1, len(levels)) for attack in spec.attacks)
    right: list[Tensor] = []  # after each row that is done
    if run.resume is not None:
        right += torch.from_numpy(np.load(run.resume / "right.npy", allow_pickle=False))

    def save(folder: Path) -> None:
        np.save(folder / "right.npy", torch.stack(right).numpy() if right else np.zeros((0, len(y)), bool))

    def progress(images: int) -> None:
        run.progress(len(right) * len(y) + images, len(rows) * len(y), "images")
        if run.checkpoint_due():
            run.checkpoint(save)

    for level, attack in rows[len(right) :]:
        threat = ThreatModel(norm=spec.norm, eps=levels[level])
        later = attack is not None and attack != spec.attacks[0]
        left = right[-1].nonzero().flatten() if later else torch.arange(len(y))
        outcome = torch.zeros(len(y), dtype=torch.bool)
        outcome[left] = _outcomes(
            network,
            x[left],
            y[left],
            _move(network, spec, attack, threat),
            left,
            seed=derive(spec.seed, "attack"),  # the same at every eps: levels are compared on the same draws
            precision=spec.precision,
            progress=lambda images, skipped=len(y) - len(left): progress(skipped + images),
        )
        right.append(outcome)
        if attack in (None, spec.attacks[-1]):
            run.metric("accuracy", level, share(outcome))
    worst = [right[0], *right[len(spec.attacks) :: len(spec.attacks)]]
    warnings = _masking_warnings(network, spec, x, y, levels, worst)
    for warning in warnings:
        run.log(warning.text)
    names = [level_name(eps) for eps in levels]
    return EvaluateResult(
        model=models.read_card(model),
        n=len(y),
        clean=share(right[0]),
        robust={name: share(r) for eps, name, r in zip(levels, names, worst, strict=True) if eps in spec.eps},
        attacks=_attack_outcomes(spec, names, rows, right),
        margin_in_place_of_dlr=[name for name in spec.attacks if network.classes < _CLASSES.get(name, 0)],
        norm=spec.norm,
        correct={name: packed(r) for name, r in zip(names, worst, strict=True)},
        warnings=warnings,
    )


_CLASSES: dict[str, int] = {"apgd_dlr": DLR_CLASSES, "apgd_dlr_t": TARGETED_DLR_CLASSES}
"""What a loss needs to be what it is called."""


def _move(network: Network, spec: Evaluate, name: AttackName | None, threat: ThreatModel) -> Move | None:
    """The attack of that name; none for none."""
    auto = partial(apgd, network, threat=threat, steps=spec.apgd.steps, restarts=spec.apgd.restarts)
    match name:
        case None:
            return None
        case "pgd":
            return lambda x, y, seeds: _pgd(network, x, y, threat, spec.attack, seeds)
        case "apgd_ce":
            return lambda x, y, seeds: auto(x, y, loss="ce", seeds=seeds)
        case "apgd_dlr":
            return lambda x, y, seeds: auto(x, y, loss="dlr", seeds=seeds)
        case "apgd_dlr_t":
            each = spec.apgd
            return lambda x, y, seeds: apgd_targeted(
                network, x, y, threat, each.steps, each.targets, each.restarts, seeds=seeds
            )


def _attack_outcomes(
    spec: Evaluate, names: list[str], rows: list[tuple[int, AttackName | None]], right: list[Tensor]
) -> dict[str, dict[str, AttackOutcome]]:
    """For each level above 0, what each attack in turn left."""
    outcomes: dict[str, dict[str, AttackOutcome]] = {}
    for row, (level, attack) in enumerate(rows):
        if attack is None:
            continue
        first = attack == spec.attacks[0]
        tried = len(right[row]) if first else int(right[row - 1].sum())
        outcomes.setdefault(names[level], {})[attack] = AttackOutcome(tried=tried, accuracy=share(right[row]))
    return outcomes


def _masking_warnings(
    network: Network, spec: Evaluate, x: Tensor, y: Tensor, levels: list[float], worst: list[Tensor]
) -> list[MaskingWarning]:
    """What speaks against the attacks at these levels; a few images are probed at the largest."""
    device = network.mean.device
    places = worst[0].nonzero().flatten()[:PROBES]
    return [
        *accuracy_rises(levels, worst),
        *accuracy_flat(levels, worst),
        *probe(
            network,
            to_unit(x[places].to(device)),
            y[places].to(device),
            worst[-1][places].to(device),
            ThreatModel(norm=spec.norm, eps=levels[-1]),
            spec.attack,
            seeds=image_seeds(derive(spec.seed, "probes"), places.to(device)),
            precision=spec.precision,
        ),
    ]


def level_name(eps: float) -> str:
    """How a level is written as a key: "0", "0.5", "0.031372549019607843"."""
    short = f"{eps:g}"
    return short if float(short) == eps else repr(eps)


def share(right: Tensor) -> float:
    """The fraction of True; 0 of none."""
    return int(right.sum()) / len(right) if len(right) else 0.0


def packed(right: Tensor) -> str:
    """Per-image outcomes as base64 of numpy.packbits (the first image is the highest bit)."""
    return base64.b64encode(np.packbits(right.numpy()).tobytes()).decode()
