"""Constructed data sets: images moved towards a network's other classes, and the controls beside them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.control_dataset import ControlDataset, ControlDatasetResult
from robxfer_core.jobs.perturb_dataset import PerturbDataset, PerturbDatasetResult, StoredPerturbation
from robxfer_core.jobs.results import DatasetName, MeanMax
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.attacks.pgd import evaluating, pgd
from robxfer_core.science.attacks.threat import distance
from robxfer_core.science.data.artifact import Batch, Images, load, read_card, write_shards
from robxfer_core.science.data.subset import stratified_order
from robxfer_core.science.models import Network
from robxfer_core.science.support import noise
from robxfer_core.science.support.gallery import write_examples
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import ThreatModel

from .parts import PART, SPLITS, Split, as_stored, restore_parts, save_parts

Norm = Literal["l2", "linf"]
PROBES = 512
"""Training images on which eps is raised."""


class PerturbedChunk(NamedTuple):
    """Some images after the perturbation: arrays of length n."""

    x: np.ndarray
    """[n, C, H, W] as stored."""
    target: np.ndarray
    fooled: np.ndarray
    """The generator says the target, of the image before it was stored..."""
    fooled_stored: np.ndarray
    """...and of the image as stored."""
    norm: np.ndarray
    """Of the perturbation as stored."""


@dataclass
class PerturbState:
    """What an interrupted run goes on from."""

    tried: list[tuple[float, float]] = field(default_factory=list)
    """Each eps tried while raising it, with its fooling rate."""
    parts: dict[str, list[PerturbedChunk]] = field(default_factory=lambda: {split: [] for split in SPLITS})

    def save(self, folder: Path) -> None:
        counts = {split: len(parts) for split, parts in self.parts.items()}
        (folder / "state.json").write_text(json.dumps({"tried": self.tried, "parts": counts}))
        for split, parts in self.parts.items():
            save_parts(folder, split, parts)

    @classmethod
    def restore(cls, folder: Path) -> "PerturbState":
        told = json.loads((folder / "state.json").read_text())
        state = cls([(eps, fooling) for eps, fooling in told["tried"]])
        for split, count in told["parts"].items():
            state.parts[split] = restore_parts(folder, split, count, PerturbedChunk)
        return state


def perturb_dataset(spec: PerturbDataset, inputs: Inputs, run: Run) -> PerturbDatasetResult:
    """Move each image of both splits towards a target class of the generator, by targeted PGD, and label it with that.

    Images are perturbed at the size they are stored in, those whose target is their own class too. A fooling rate is
    the share that the generator classifies as the target among images whose target is another class than theirs.
    Resumes from the last finished part, and ends as if it had not been interrupted. Raises ValueError where the
    generator does not fit the data set, FloatingPointError naming the images where it gives NaN.
    """
    network = models.load(inputs.one("generator").path).to(run.device)
    data: dict[Split, Images] = {split: load(inputs.one("dataset").path, split) for split in SPLITS}
    train = data["train"]
    if network.classes != len(train.classes):
        raise ValueError(
            f"generator: a model of {network.classes} classes, and {train.name} has {len(train.classes)}; "
            f"takes one trained on this data set"
        )
    state = PerturbState() if run.resume is None else PerturbState.restore(run.resume)
    eps = spec.threat.eps if spec.raise_eps is None else raise_eps(spec, network, train, state, run)

    total, done = sum(len(images.y) for images in data.values()), 0
    for split, images in data.items():
        for number, places in enumerate(torch.arange(len(images.y)).split(PART)):
            done += len(places)
            if number < len(state.parts[split]):
                continue
            state.parts[split].append(perturb(spec, network, images, split, places, eps))
            run.progress(done, total, "images")
            if run.checkpoint_due():
                run.checkpoint(state.save)

    accuracy: dict[Split, float] = {
        split: share(correct(network, images.x, images.y, ThreatModel(eps=0.0), spec.attack, seed=spec.seed))
        for split, images in data.items()
    }
    write_shards(
        run.out,
        name=train.name,
        variant="antirobust",
        classes=train.classes,
        splits={split: _batches(state.parts[split], data[split]) for split in SPLITS},
    )
    first, test = state.parts["test"][0], data["test"]
    moved, targets = torch.from_numpy(first.x), torch.from_numpy(first.target)
    write_examples(run.out, test.x[: len(moved)], moved, test.y, targets, test.classes)
    return PerturbDatasetResult(
        data=DatasetName(name=train.name, variant="antirobust"),
        generator=models.read_card(inputs.one("generator").path),
        generator_accuracy=accuracy,
        threat=ThreatModel(norm=spec.threat.norm, eps=eps),
        eps=eps,
        eps_tried=state.tried,
        fooling={split: fooling(state.parts[split], data[split].y, stored=False) for split in SPLITS},
        norm={split: _summary(np.concatenate([part.norm for part in state.parts[split]])) for split in SPLITS},
        stored=StoredPerturbation(
            dtype=spec.store,
            bytes=sum(path.stat().st_size for path in run.out.glob("*.npz")),
            fooling={split: fooling(state.parts[split], data[split].y, stored=True) for split in SPLITS},
        ),
        targets=spec.targets,
    )


def draw_targets(how: str, y: Tensor, classes: int, seeds: Tensor) -> Tensor:
    """The class to move each image to, int64 [n], from its own, y, and its seed (int64 [n])."""
    if how == "shift":
        return (y + 1) % classes
    choices = classes if how == "uniform" else classes - 1
    # A draw may round up to 1.
    drawn = (noise.uniform(seeds, 1).flatten() * choices).long().clamp_max(choices - 1)
    return drawn if how == "uniform" else (y + 1 + drawn) % classes


def perturb(
    spec: PerturbDataset, network: Network, images: Images, split: Split, places: Tensor, eps: float
) -> PerturbedChunk:
    """Perturb the images at these places of a split. What an image becomes depends on its place, not on the others."""
    device = network.mean.device
    original, y = to_unit(images.x[places].to(device)), images.y[places].to(device)
    places = places.to(device)

    def seeds(purpose: str) -> Tensor:
        return noise.image_seeds(derive(spec.seed, purpose, split), places)

    target = draw_targets(spec.targets, y, network.classes, seeds("target"))
    attack, step = spec.attack, spec.attack.step(eps)
    if attack.step_size is not None and spec.threat.eps > 0:
        step *= eps / spec.threat.eps  # where eps was raised, the steps reach as far in proportion
    try:
        with autocast(device, spec.precision):
            x = pgd(
                network,
                original,
                target,
                ThreatModel(norm=spec.threat.norm, eps=eps),
                steps=attack.steps,
                step_size=step,
                targeted=True,
                random_start=attack.random_start,
                restarts=attack.restarts,
                seeds=seeds("start"),
            )
    except FloatingPointError as error:
        raise FloatingPointError(f"batch of the {split} images from {int(places[0])} on: {error}") from error
    kept = as_stored(x, spec.store)
    with evaluating(network), torch.no_grad(), autocast(device, spec.precision):
        fooled, fooled_stored = (network(moved).argmax(1) == target for moved in (x, to_unit(kept)))
    norm = distance(spec.threat.norm, to_unit(kept) - original)
    return PerturbedChunk(*(part.cpu().numpy() for part in (kept, target, fooled, fooled_stored, norm)))


def raise_eps(spec: PerturbDataset, network: Network, train: Images, state: PerturbState, run: Run) -> float:
    """The first eps, from the threat's on by `factor`, whose perturbation fools often enough; at the limit the limit.

    Measured on the stored form of up to PROBES training images, with the targets and seeds that they have in the set.
    """
    until = spec.raise_eps
    if until is None or spec.threat.eps == 0:
        raise ValueError("threat.eps: 0 cannot be raised by a factor; takes more than 0 with raise_eps")
    order = stratified_order(train.y.numpy(), derive(spec.seed, "probes"))
    probes = torch.from_numpy(order[:PROBES])
    while True:
        if state.tried:
            eps, rate = state.tried[-1]
            if rate >= until.until or eps >= until.limit:
                return eps
            eps = min(eps * until.factor, until.limit)
        else:
            eps = spec.threat.eps
        parts = [perturb(spec, network, train, "train", places, eps) for places in probes.split(PART)]
        state.tried.append((eps, fooling(parts, train.y[probes], stored=True)))
        run.log("eps {:g} fools the generator on {:.3f} of the images tried".format(*state.tried[-1]))
        if run.checkpoint_due():
            run.checkpoint(state.save)


def fooling(parts: list[PerturbedChunk], y: Tensor, *, stored: bool) -> float:
    """The fooling rate of consecutive parts, of images whose own classes are y."""
    fooled = np.concatenate([part.fooled_stored if stored else part.fooled for part in parts])
    moved = np.concatenate([part.target for part in parts]) != y.numpy()
    return float(fooled[moved].mean()) if moved.any() else 0.0


def control_dataset(spec: ControlDataset, inputs: Inputs, run: Run) -> ControlDatasetResult:
    """The labels of a perturbed set on images that do not carry them: unchanged, or moved at random as far.

    `unreached` counts images that cannot be moved as far inside the box. Raises ValueError where `like` was not made
    from `dataset`.
    """
    like, original = inputs.one("like").path, inputs.one("dataset").path
    norm: Norm = PerturbDatasetResult.read(like).threat.norm
    card = read_card(original)
    splits: dict[str, list[Batch]] = {}
    norms: dict[Split, MeanMax] = {}
    unreached: dict[Split, int] = {}
    for split in SPLITS:
        moved, images = load(like, split), load(original, split)
        if moved.original is None or not torch.equal(moved.original, images.y) or moved.x.shape != images.x.shape:
            raise ValueError(
                f"like: its {split} split was not made from {images.name}; takes a set made from `dataset`"
            )
        seed = derive(spec.seed, "noise", split)
        splits[split], lengths, unreached[split] = [], [], 0
        for places in torch.arange(len(images.y)).split(PART):
            kept = x = images.x[places]
            if spec.arm == "noise":
                length = distance(norm, to_unit(moved.x[places]) - to_unit(x))
                shifted, reached = move_at_random(to_unit(x), norm, length, noise.image_seeds(seed, places))
                kept = as_stored(shifted, "uint8" if moved.x.dtype == torch.uint8 else "float16")
                unreached[split] += int((~reached).sum())
            lengths.append(distance(norm, to_unit(kept) - to_unit(x)).numpy())
            splits[split].append(Batch(kept.numpy(), moved.y[places].numpy(), images.y[places].numpy()))
            run.progress(len(places) + int(places[0]), card.splits[split].n, f"{split} images")
        norms[split] = _summary(np.concatenate(lengths))
    write_shards(run.out, name=card.name, variant=spec.arm, classes=card.classes, splits=splits)
    shown, test = splits["test"][0], load(original, "test")
    kept, labels = torch.from_numpy(shown.x), torch.from_numpy(shown.y)
    write_examples(run.out, test.x[: len(kept)], kept, test.y, labels, card.classes)
    return ControlDatasetResult(
        data=DatasetName(name=card.name, variant=spec.arm), arm=spec.arm, norm=norms, unreached=unreached
    )


def move_at_random(x: Tensor, norm: Norm, length: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Move images [n, ...] in [0,1] by `length` [n] in the norm, each in a random direction, and stay in the box.

    The direction (l2: normal; linf: signs) points inwards where a pixel lies at the box's face; how far to follow it
    so that what is left after clamping has the norm is found by bisection. Returns the images, and bool [n]: reached.
    An image that cannot get so far along its direction goes as far as the box lets it.
    """
    direction = noise.normal(seeds, x[0].numel()).view(x.shape).to(x.device)
    if norm == "linf":
        direction = direction.sign()
    direction = torch.where(x <= 0, direction.abs(), torch.where(x >= 1, -direction.abs(), direction))

    def moved(far: Tensor) -> Tensor:
        return (x + far.view(-1, *[1] * (x.dim() - 1)) * direction).clamp(0, 1)

    def reaches(far: Tensor) -> Tensor:
        return distance(norm, moved(far) - x) >= length

    low = high = length / distance(norm, direction)  # clamping only shortens, so never too far
    for _ in range(30):
        high = torch.where(reaches(high), high, 2 * high)
    reached = reaches(high)
    for _ in range(30):
        middle = (low + high) / 2
        enough = reaches(middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return moved(high), reached


def _batches(parts: list[PerturbedChunk], images: Images) -> Iterator[Batch]:
    for part, y in zip(parts, images.y.split(PART), strict=True):
        yield Batch(part.x, part.target, y.numpy())


def _summary(norm: np.ndarray) -> MeanMax:
    return MeanMax(mean=float(norm.mean()), max=float(norm.max()))
