"""Usefulness and robust usefulness of every component of a representation (Ilyas et al. 2019, section 2), the same
features on several data sets (the paper's section 3)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.probe import ComponentCount, Probe, UsefulnessResult
from robxfer_core.jobs.results import Headline
from robxfer_core.jobs.run import Input, Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.data.subset import stratified_order
from robxfer_core.science.models import Network
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive

from .estimate import Floats, standardise
from .measure import model_card, represented
from .search import pair_seeds, reach, values_and_slopes
from .summary import MeasuredSet, headline, summarise, table
from .usefulness_files import write_files

PAIRS = 256
"""(image, component) pairs that are searched together, each in both directions."""


@dataclass(frozen=True)
class MeasuredImages:
    """One data set: the images that are measured."""

    source: Input
    images: Images
    places: Tensor
    """int64 [n]."""


class UsefulnessState:
    """What is found so far: of each set an array [2 + 2E, n * C]: values, slopes, then per eps low and high."""

    def __init__(self, found: list[np.ndarray], done: int = 0) -> None:
        self.found, self.done = found, done

    def save(self, folder: Path) -> None:
        np.savez(folder / "found.npz", allow_pickle=False, **{str(i): part for i, part in enumerate(self.found)})
        (folder / "done.json").write_text(json.dumps(self.done))

    @classmethod
    def restore(cls, folder: Path, sets: int) -> "UsefulnessState":
        with np.load(folder / "found.npz", allow_pickle=False) as arrays:
            return cls([arrays[str(i)] for i in range(sets)], json.loads((folder / "done.json").read_text()))


def usefulness(spec: Probe, inputs: Inputs, run: Run) -> UsefulnessResult:
    """rho and gamma of each component and class on D (`dataset`) and on each set of `also`.

    D's split is divided: on one part features are standardised and signed, the other (at most half of it, `max_images`)
    is measured. Another set with as many images is measured at the same places, since it was made image by image from
    D; any other on a stratified draw. One search down and one up for each image and component serve all classes: which
    of the two a class takes follows from the sign and the label. Resumes from the last finished batch of pairs, and
    ends as if it had not been interrupted. Raises ValueError where a class has no image to standardise on or the sets
    have different numbers of classes.
    """
    network = models.load(inputs.one("model").path).to(run.device)
    split: Literal["train", "test"] = spec.split or "test"
    data = load(inputs.one("dataset").path, split)
    order = torch.from_numpy(stratified_order(data.y.numpy(), derive(spec.seed, "images")))
    most = min(spec.max_images, len(order) // 2)
    measured, rest = order[:most], order[most:]
    parts = [MeasuredImages(inputs.one("dataset"), data, measured)]
    for index in range(len(spec.also)):
        parts.append(_also(spec, inputs.one(f"also.{index}"), split, data, measured))

    length = int(network.head.in_features)
    chosen = _components(spec, length)
    fitted = represented(network, data.x[rest], spec.precision, run, "images to standardise on")[:, chosen]
    standard = standardise(fitted.double().numpy(), data.y[rest].numpy(), len(data.classes))

    levels = sorted(spec.eps)
    state = _search(spec, network, parts, chosen, levels, run)
    for part in parts[1:]:
        if part.images.x.dtype == data.x.dtype and torch.equal(part.images.x[part.places], data.x[measured]):
            run.log(
                f"the {split} images of {part.images.name} ({part.images.variant}) are those of `dataset`, unchanged"
            )
    sets = [_measured(part, found, len(chosen), levels) for part, found in zip(parts, state.found, strict=True)]
    summaries = summarise(sets, standard, levels)
    write_files(run.out, sets, standard, chosen.numpy(), levels, spec.norm)
    dead = int(np.isnan(standard.scale).all(0).sum())
    return UsefulnessResult(
        measure="usefulness",
        model=model_card(inputs.one("model")),
        components=ComponentCount(of=length, measured=len(chosen), constant=dead),
        classes=len(data.classes),
        norm=spec.norm,
        eps=levels,
        split=split,
        n_standardised=len(rest),
        sets=summaries,
        title="Usefulness of the components of a representation",
        headline=Headline(text=headline(summaries, levels, spec.norm)),
        table=table(summaries, levels),
    )


def _also(
    spec: Probe, source: Input, split: Literal["train", "test"], data: Images, measured: Tensor
) -> MeasuredImages:
    images = load(source.path, split)
    if len(images.classes) != len(data.classes):
        raise ValueError(
            f"also: {images.name} ({images.variant}) has {len(images.classes)} classes and {data.name} "
            f"{len(data.classes)}; takes sets of the same classes"
        )
    if len(images.y) == len(data.y):
        return MeasuredImages(source, images, measured)
    order = stratified_order(images.y.numpy(), derive(spec.seed, "images"))
    return MeasuredImages(source, images, torch.from_numpy(order[: spec.max_images]))


def _components(spec: Probe, length: int) -> Tensor:
    if spec.components is None:
        return torch.arange(length)
    if spec.components > length:
        raise ValueError(f"components: {spec.components}; the representation has {length}")
    generator = torch.Generator().manual_seed(derive(spec.seed, "components"))
    return torch.randperm(length, generator=generator)[: spec.components].sort().values


def _search(
    spec: Probe, network: Network, parts: list[MeasuredImages], chosen: Tensor, levels: list[float], run: Run
) -> UsefulnessState:
    """Every pair of every set: what the component is, how steep, how low and how high it can be moved."""
    rows = 2 + 2 * len(levels)
    if run.resume is not None:
        state = UsefulnessState.restore(run.resume, len(parts))
    else:
        state = UsefulnessState([np.zeros((rows, len(part.places) * len(chosen)), np.float32) for part in parts])
    batches = [
        (index, range(first, min(first + PAIRS, len(part.places) * len(chosen))))
        for index, part in enumerate(parts)
        for first in range(0, len(part.places) * len(chosen), PAIRS)
    ]
    device = network.mean.device
    seed = derive(spec.seed, "start")
    for number, (index, places_of_batch) in enumerate(batches):
        if number < state.done:
            continue
        part, pairs = parts[index], torch.tensor(places_of_batch)
        places = part.places[pairs // len(chosen)]
        component = chosen[pairs % len(chosen)].to(device)
        x = to_unit(part.images.x[places].to(device))
        value, slope = values_and_slopes(network, x, component, norm=spec.norm, precision=spec.precision)
        upwards = torch.arange(2 * len(x), device=device) >= len(x)
        both, twice = component.repeat(2), places.to(device).repeat(2)
        met = reach(
            network,
            x.repeat(2, 1, 1, 1),
            both,
            torch.where(upwards, 1.0, -1.0),
            norm=spec.norm,
            eps=levels,
            attack=spec.attack,
            seeds=pair_seeds(seed, twice, both, upwards),
            precision=spec.precision,
        )
        low, high = -met[:, : len(x)], met[:, len(x) :]
        state.found[index][:, pairs.numpy()] = torch.cat([torch.stack([value, slope]), low, high]).cpu().numpy()
        state.done = number + 1
        run.progress(state.done, len(batches), "batches of image-component pairs")
        if run.checkpoint_due():
            run.checkpoint(state.save)
    return state


def _measured(part: MeasuredImages, found: np.ndarray, components: int, levels: list[float]) -> MeasuredSet:
    shaped: Floats = found.astype(np.float64).reshape(len(found), -1, components)
    count = len(levels)
    return MeasuredSet(
        name=part.images.name,
        variant=part.images.variant,
        key=part.source.key,
        y=part.images.y[part.places].numpy(),
        value=shaped[0],
        slope=shaped[1],
        low=shaped[2 : 2 + count],
        high=shaped[2 + count :],
    )
