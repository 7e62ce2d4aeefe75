"""What a transfer leaves in its result.json, whichever way it was learnt."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robxfer_core.jobs.transfer import (
    Candidate,
    Curve,
    Rates,
    RobustAccuracy,
    RobustTransfer,
    Transfer,
    TunedHead,
)
from robxfer_core.science.attacks.evaluate import correct, level_name, packed, share
from robxfer_core.science.models import Network
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Precision, ThreatModel

RESULT_BYTES = 60 * 1024
"""Most bytes that the curves and the tuned table may fill of a result.json of 64 KiB."""
CANDIDATE = 70
"""Bytes of a row of the tuned table."""


def short(value: float) -> float:
    """An accuracy as it is kept."""
    return round(value, 6)


def training_sizes(spec: Transfer, n: int, n_test: int, curves_a_size: int) -> list[int]:
    """The training-set sizes that have curves, ascending; the last is all n images.

    Raises ValueError where a size is larger, a part for validation would be empty, or curves and tuned table would not
    fit.
    """
    sizes = [*sorted(set(spec.sizes) - {n}), n]
    if max(sizes) > n:
        raise ValueError(f"sizes: got {max(sizes)}; takes at most {n}, the images of the training split")
    if not 0 < round(spec.validation * n) < n:
        raise ValueError(f"validation: {spec.validation:g} of {n} training images leaves a part without images")
    curves = curves_a_size * len(sizes)
    outcomes = math.ceil(n_test / 8) * 4 / 3
    candidates = len(spec.tune_lr) * len(spec.tune_weight_decay)
    room = curves * (2 * spec.epochs * 9 + 2 * outcomes)
    if candidates:
        room += outcomes + candidates * CANDIDATE
    if room > RESULT_BYTES:
        raise ValueError(
            f"{curves} curves of {spec.epochs} epochs on {n_test} test images and {candidates} pairs of tune_lr and "
            f"tune_weight_decay take about {room:.0f} bytes of a result, which has room for {RESULT_BYTES}; take fewer "
            f"sizes, epochs, test images or pairs"
        )
    return sizes


def mean_per_class(right: Tensor, y: Tensor) -> float:
    """Mean over the classes that have test images of the accuracy on each: what is reported for Caltech-101, flowers,
    pets and aircraft, whose classes differ in size. right: bool [n]; y: int64 [n], the labels."""
    y = y.cpu()
    images = torch.bincount(y)
    hits = torch.bincount(y, weights=right.cpu().double(), minlength=len(images))
    there = images > 0
    return float((hits[there] / images[there]).mean())


def curve(
    n: int,
    standardised: bool,
    train_loss: list[float],
    test: list[float],
    first: Tensor,
    last: Tensor,
    y: Tensor,
    clean: tuple[float, float] | None,
) -> Curve:
    """A learning curve. first, last: which test images are right after the first and the last epoch; clean: accuracy
    then on the images that a constructed set was made from."""
    return Curve(
        n=n,
        standardised=standardised,
        train_loss=[float(f"{loss:.4g}") for loss in train_loss],
        test=[short(accuracy) for accuracy in test],
        mean_per_class=short(mean_per_class(last, y)),
        correct_first=packed(first),
        correct_last=packed(last),
        clean_first=None if clean is None else short(clean[0]),
        clean_last=None if clean is None else short(clean[1]),
    )


def tuned(best: int, tried: list[tuple[float, float, float]], last: Tensor, y: Tensor) -> TunedHead:
    """The tuned table. tried: (lr, weight decay, validation accuracy); last: outcomes of the best on the test split."""
    table = [Candidate(lr=lr, weight_decay=decay, validation=short(accuracy)) for lr, decay, accuracy in tried]
    return TunedHead(
        best=Rates(lr=tried[best][0], weight_decay=tried[best][1]),
        validation=short(tried[best][2]),
        test=short(share(last)),
        mean_per_class=short(mean_per_class(last, y)),
        correct=packed(last),
        table=table,
    )


def measure_robust(
    spec: RobustTransfer,
    network: Network,
    x: Tensor,
    y: Tensor,
    done: list[Tensor],
    *,
    seed: int,
    precision: Precision,
    progress: Callable[[int], None],
) -> RobustAccuracy:
    """Robust accuracy at each eps on the first test images, x as stored. `done` holds the outcomes of the levels that
    were measured and gets those that were not; `progress` is told the images done of them all."""
    x, y = x[: spec.max_images], y[: spec.max_images]
    for eps in spec.eps[len(done) :]:
        before = len(done) * len(y)
        done.append(
            correct(
                network,
                x,
                y,
                ThreatModel(norm=spec.norm, eps=eps),
                spec.attack,
                seed=derive(seed, "attack"),  # the same at every eps: levels are compared on the same draws
                precision=precision,
                progress=lambda images, before=before: progress(before + images),
            )
        )
    levels = [level_name(eps) for eps in spec.eps]
    return RobustAccuracy(
        norm=spec.norm,
        n=len(y),
        accuracy={level: short(share(right)) for level, right in zip(levels, done, strict=True)},
    )
