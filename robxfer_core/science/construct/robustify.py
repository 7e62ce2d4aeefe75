"""Robust and non-robust data sets: images that share with the original ones what a network represents of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.results import StoredImages
from robxfer_core.jobs.robustify_dataset import (
    DistanceSummary,
    GeneratorAccuracy,
    MatchingCost,
    RelativeDistance,
    RobustifiedData,
    RobustifyDataset,
    RobustifyDatasetResult,
    SeedData,
)
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.reports.pictures import grid
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import Batch, Images, load, write_shards
from robxfer_core.science.models import Network
from robxfer_core.science.support import noise
from robxfer_core.science.support.gallery import EXAMPLES, SHOWN, magnified, picture_row
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast, same_kernels
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.archs import forward_flops
from robxfer_core.spec.fields import Attack, ThreatModel

from .matching import Match, advance, begin, relative_distance
from .parts import PART, as_stored, restore_parts, save_parts

PIECE = 10
"""Steps after which progress is told and a checkpoint may be kept."""
QUANTILES = {"q10": 0.1, "median": 0.5, "q90": 0.9, "max": 1.0}


class MatchedChunk(NamedTuple):
    """Some training images after the matching: arrays of length n."""

    x: np.ndarray
    """[n, C, H, W] as stored."""
    start: np.ndarray
    """Relative distance |R(x_r) - R(x)| / |R(x)| of the seed image..."""
    reached: np.ndarray
    """...of the image found..."""
    stored: np.ndarray
    """...and of that image as stored."""
    agrees: np.ndarray
    """The generator gives the image as stored the class that it gives the original."""
    correct: np.ndarray
    """That class is the label."""


@dataclass
class RobustifyState:
    """What an interrupted run goes on from: the parts that are done, and how far the one under way is."""

    parts: list[MatchedChunk] = field(default_factory=list)
    match: Match | None = None
    steps: int = 0
    """Taken of `match`."""

    def save(self, folder: Path) -> None:
        (folder / "state.json").write_text(json.dumps({"parts": len(self.parts), "steps": self.steps}))
        save_parts(folder, "part", self.parts)
        if self.match is not None:
            arrays = {name: tensor.cpu().numpy() for name, tensor in self.match._asdict().items()}
            np.savez(folder / "match.npz", allow_pickle=False, **arrays)

    @classmethod
    def restore(cls, folder: Path, device: str) -> "RobustifyState":
        told = json.loads((folder / "state.json").read_text())
        state = cls(restore_parts(folder, "part", told["parts"], MatchedChunk), None, told["steps"])
        if (folder / "match.npz").exists():
            with np.load(folder / "match.npz", allow_pickle=False) as arrays:
                state.match = Match(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        return state


def robustify_dataset(spec: RobustifyDataset, inputs: Inputs, run: Run) -> RobustifyDatasetResult:
    """Make from each training image one that the generator represents alike, out of a seed image; keep the test split.

    Resumes from the last finished steps, and ends as if it had not been interrupted. Raises ValueError where generator
    or seed images do not fit the data set, FloatingPointError naming the images where the generator gives NaN.
    """
    network = models.load(inputs.one("generator").path).to(run.device)
    card = models.read_card(inputs.one("generator").path)
    folder = inputs.one("dataset").path
    train, test = load(folder, "train"), load(folder, "test")
    if network.classes != len(train.classes):
        raise ValueError(
            f"generator: a model of {network.classes} classes, and {train.name} has {len(train.classes)}; "
            f"takes one trained on this data set"
        )
    seeds = SeedImages.of(spec, inputs, train)
    state = RobustifyState() if run.resume is None else RobustifyState.restore(run.resume, run.device)
    with same_kernels():
        for places in torch.arange(len(train.y)).split(PART)[len(state.parts) :]:
            state.parts.append(make(spec, network, train, seeds, places, state, run))
            state.match, state.steps = None, 0

    variant = "robust" if card.threat.eps > 0 else "nonrobust"
    write_shards(
        run.out,
        name=train.name,
        variant=variant,
        classes=train.classes,
        splits={"train": _batches(state.parts, train), "test": [_unchanged(test, spec.store)]},
    )
    (run.out / EXAMPLES).write_bytes(_examples(train, seeds, state.parts[0]))
    made = {name: np.concatenate([getattr(part, name) for part in state.parts]) for name in MatchedChunk._fields[1:]}
    steps = spec.steps * len(train.y)
    return RobustifyDatasetResult(
        data=RobustifiedData(name=train.name, variant=variant, n_train=len(train.y), n_test=len(test.y)),
        generator=card,
        generator_accuracy=GeneratorAccuracy(
            train=_accuracy(network, train, spec),
            test=_accuracy(network, test, spec),
            made=float(made["correct"].mean()),
        ),
        seed_data=SeedData(name=seeds.images.name, n=len(seeds.images.y), same=seeds.same),
        relative_distance=RelativeDistance(
            start=_summary(made["start"]), reached=_summary(made["reached"]), stored=_summary(made["stored"])
        ),
        agreement=float(made["agrees"].mean()),
        cost=MatchingCost(
            gradient_steps=steps,
            flops=3 * steps * forward_flops(card.arch, card.channels, card.input_size, card.classes),
        ),
        stored=StoredImages(dtype=spec.store, bytes=sum(path.stat().st_size for path in run.out.glob("*.npz"))),
        seed=spec.seed,
    )


@dataclass(frozen=True)
class SeedImages:
    """What the matchings begin at."""

    images: Images
    same: bool
    """They are those of the data set itself."""
    seed: int

    @classmethod
    def of(cls, spec: RobustifyDataset, inputs: Inputs, train: Images) -> "SeedImages":
        """Raises ValueError where they are of another size than the data set's, or coloured and it is grey."""
        other = inputs.maybe("seed_data")
        same = other is None or other.key == inputs.one("dataset").key
        images = train if other is None else load(other.path, "train")
        own, got = train.x.shape[1:], images.x.shape[1:]
        if got[1:] != own[1:] or got[0] not in (1, own[0]):
            raise ValueError(f"seed_data: images {list(got)}; takes those of the data set's shape {list(own)}, or grey")
        if same and len(images.y) < 2:
            raise ValueError(f"{images.name} has one training image, which cannot be its own seed image")
        return cls(images, same, derive(spec.seed, "seed images"))

    def of_places(self, places: Tensor) -> Tensor:
        """Where among the seed images those of the training images at these places are, int64 [n]."""
        return draw(places, len(self.images.y), self.seed, others=self.same)


def draw(places: Tensor, count: int, seed: int, *, others: bool) -> Tensor:
    """For each place one of `count` images, int64 [n], uniform, by the place alone; `others`: not that at the place."""
    choices = count - 1 if others else count
    # A draw may round up to 1.
    drawn = (noise.uniform(noise.image_seeds(seed, places), 1).flatten() * choices).long().clamp_max(choices - 1)
    return (places + 1 + drawn) % count if others else drawn


def make(
    spec: RobustifyDataset,
    network: Network,
    train: Images,
    seeds: SeedImages,
    places: Tensor,
    state: RobustifyState,
    run: Run,
) -> MatchedChunk:
    """The images that replace those at these places. What an image becomes depends on its place, not on the others."""
    device = network.mean.device
    original, y = to_unit(train.x[places].to(device)), train.y[places].to(device)
    before, total = PART * len(state.parts) * spec.steps, len(train.y) * spec.steps
    with evaluating(network), torch.no_grad(), autocast(device, spec.precision):
        target = network.represent(original).float()
        says = network(original).argmax(1)
    try:
        if state.match is None:
            start = to_unit(seeds.images.x[seeds.of_places(places)]).expand(-1, original.shape[1], -1, -1).to(device)
            with autocast(device, spec.precision):
                state.match = begin(network, start, target)
        while state.steps < spec.steps:
            piece = min(PIECE, spec.steps - state.steps)
            with autocast(device, spec.precision):
                state.match = advance(network, state.match, target, steps=piece, step_size=spec.step_size)
            state.steps += piece
            run.progress(before + state.steps * len(places), total, "image steps")
            if run.checkpoint_due():
                run.checkpoint(state.save)
    except FloatingPointError as error:
        raise FloatingPointError(f"batch of the training images from {int(places[0])} on: {error}") from error
    found = state.match
    kept = as_stored(found.x, spec.store)
    with evaluating(network), torch.no_grad(), autocast(device, spec.precision):
        stored = relative_distance(network, to_unit(kept), target)
        now = network(to_unit(kept)).argmax(1)
    parts = (kept, found.start, found.end, stored, now == says, now == y)
    return MatchedChunk(*(part.cpu().numpy() for part in parts))


def _examples(train: Images, seeds: SeedImages, part: MatchedChunk) -> bytes:
    """Some training images, the seed images they were made of, what became of those, and by what they were changed."""
    shown = torch.arange(min(SHOWN, len(part.x)))
    before, after, begun = train.x[shown], torch.from_numpy(part.x[: len(shown)]), seeds.of_places(shown)
    start = to_unit(seeds.images.x[begun])
    difference, factor = magnified(to_unit(after) - start)
    labels = [train.classes[int(label)] for label in train.y[shown]]
    return grid(
        [
            picture_row("original", to_unit(before), labels),
            picture_row("seed image", start, [seeds.images.classes[int(label)] for label in seeds.images.y[begun]]),
            picture_row("made", to_unit(after), labels),
            picture_row(f"difference to\nthe seed image\ntimes {factor}", difference),
        ]
    )


def _accuracy(network: Network, images: Images, spec: RobustifyDataset) -> float:
    clean = ThreatModel(eps=0.0)
    return share(correct(network, images.x, images.y, clean, Attack(), seed=spec.seed, precision=spec.precision))


def _batches(parts: list[MatchedChunk], train: Images) -> Iterator[Batch]:
    for part, y in zip(parts, train.y.split(PART), strict=True):
        yield Batch(part.x, y.numpy(), y.numpy())


def _unchanged(test: Images, dtype: str) -> Batch:
    y = test.y.numpy()
    return Batch(as_stored(to_unit(test.x), dtype).numpy(), y, y)


def _summary(values: np.ndarray) -> DistanceSummary:
    wide = values.astype(np.float64)
    return DistanceSummary(
        mean=float(wide.mean()), **{name: float(np.quantile(wide, q)) for name, q in QUANTILES.items()}
    )
