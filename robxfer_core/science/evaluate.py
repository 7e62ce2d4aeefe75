"""Accuracy of a model on clean images and under attack."""

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robxfer_core.spec.fields import Attack, Precision, ThreatModel
from robxfer_core.spec.kinds.models import Evaluate

from . import models
from .attack import evaluating, pgd
from .data.artifact import load, to_unit
from .models import Network
from .noise import image_seeds
from .precision import autocast
from .run import Inputs, Run
from .seeds import derive

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
    device = network.mean.device
    parts: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        for done in range(0, len(x), BATCH):
            images = to_unit(x[done : done + BATCH].to(device))
            labels = y[done : done + BATCH].to(device)
            with autocast(device, precision):
                if threat.eps > 0:
                    images = _attacked(network, images, labels, threat, attack, seed, first + done)
                logits = network(images)
            parts.append((logits.argmax(1) == labels) & ~logits.isnan().any(1))
            progress(min(done + BATCH, len(x)))
    return torch.cat(parts).cpu() if parts else torch.zeros(0, dtype=torch.bool)


def _attacked(
    network: Network, x: Tensor, y: Tensor, threat: ThreatModel, attack: Attack, seed: int, first: int
) -> Tensor:
    seeds = image_seeds(seed, torch.arange(first, first + len(x), device=x.device))
    try:
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
    except FloatingPointError as error:
        raise FloatingPointError(f"batch of the images from {first} to {first + len(x) - 1}: {error}") from error


def evaluate(spec: Evaluate, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Clean accuracy and accuracy under PGD at each eps, with each image's outcome, on a data set's test split.

    Resumes from the last finished level, and ends as if it had not been interrupted.
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
    right: list[Tensor] = []  # of each level that is done
    if run.resume is not None:
        right += torch.from_numpy(np.load(run.resume / "right.npy", allow_pickle=False))

    def save(folder: Path) -> None:
        np.save(folder / "right.npy", torch.stack(right).numpy() if right else np.zeros((0, len(y)), bool))

    def progress(images: int) -> None:
        run.progress(len(right) * len(y) + images, len(levels) * len(y), "images")
        if run.checkpoint_due():
            run.checkpoint(save)

    for done, eps in list(enumerate(levels))[len(right) :]:
        outcome = correct(
            network,
            x,
            y,
            ThreatModel(norm=spec.norm, eps=eps),
            spec.attack,
            seed=derive(spec.seed, "attack"),  # the same at every eps: levels are compared on the same draws
            precision=spec.precision,
            progress=progress,
        )
        right.append(outcome)
        run.metric("accuracy", done, share(outcome))
    for line in rises(levels, right):
        run.log(line)
    names = [level_name(eps) for eps in levels]
    return {
        "model": models.read_card(model).model_dump(mode="json"),
        "n": len(y),
        "clean": share(right[0]),
        "robust": {name: share(r) for eps, name, r in zip(levels, names, right, strict=True) if eps in spec.eps},
        "norm": spec.norm,
        "correct": {name: packed(r) for name, r in zip(names, right, strict=True)},
    }


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


def rises(levels: Sequence[float], right: Sequence[Tensor]) -> list[str]:
    """A line for each step up in eps at which accuracy rises by more than noise: there the attack is too weak.

    Noise is that of the images whose outcome changed: of n that did, gains and losses differ by 2 sqrt(n) or less in
    about 95 of 100 cases if neither is likelier (McNemar's test).
    """
    lines: list[str] = []
    for below, above, before, after in zip(levels, levels[1:], right, right[1:], strict=False):
        gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
        if gained - lost > 2 * math.sqrt(gained + lost):
            lines.append(
                f"accuracy rises from {share(before):.4f} at eps {below:g} to {share(after):.4f} at eps {above:g}: "
                "the attack is too weak there (more steps, another step size, random starts), or gradients are masked"
            )
    return lines
