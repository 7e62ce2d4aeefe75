"""Mode `inversion`: images with the representation of others (the paper's section 3)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.visualize import Inversion, InversionMeans, InversionResult, TestImages, Visualize
from robxfer_core.reports.pictures import grid
from robxfer_core.science import models
from robxfer_core.science.attacks.threat import distance
from robxfer_core.science.construct.matching import Match, advance, begin
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.models import Network
from robxfer_core.science.support.gallery import SHOWN, picture_row
from robxfer_core.science.support.pixels import to_unit

from .common import FILES, gaussian_seeds, represent

PIECE = 10
"""Steps between two looks at the clock."""
PART = 32
"""Targets that are matched together."""


@dataclass
class InversionState:
    """What an interrupted run goes on from: all images, the first `parts` parts of them done, the next at `step`."""

    match: Match
    parts: int = 0
    step: int = 0

    def save(self, folder: Path) -> None:
        arrays = {name: each.numpy() for name, each in self.match._asdict().items()}
        np.savez(folder / "match.npz", allow_pickle=False, **arrays)
        (folder / "state.json").write_text(json.dumps({"parts": self.parts, "step": self.step}))

    @classmethod
    def restore(cls, folder: Path) -> "InversionState":
        told = json.loads((folder / "state.json").read_text())
        with np.load(folder / "match.npz", allow_pickle=False) as arrays:
            match = Match(**{name: torch.from_numpy(arrays[name]) for name in Match._fields})
        return cls(match, told["parts"], told["step"])

    def put(self, places: Tensor, part: Match) -> None:
        for whole, piece in zip(self.match, part, strict=True):
            whole[places] = piece.cpu()


def inversion(spec: Visualize, inputs: Inputs, run: Run) -> InversionResult:
    """Find an image with each target's representation; leave them, and tell the distances reached.

    `relative` is |R(x) - R(target)|_2 / |R(target)|_2, `pixels` the l2 distance between the images, each at the start
    and at the end. Resumes from its checkpoint at the very step. Raises ValueError where the set has too few test
    images, FloatingPointError where the network gives NaN.
    """
    network = models.load(inputs.one("model").path).to(run.device)
    test = load(inputs.one("dataset").path, "test")
    if spec.made > len(test.y):
        raise ValueError(f"images: {spec.made}; takes at most {len(test.y)}, the test images there are")
    target, starts = to_unit(test.x[: spec.made]), _starts(spec, test)
    goals = represent(network, test.x[: spec.made], lambda: None)
    step_size = spec.step(test.x.shape[-1])
    state = _match(spec, network, starts, goals, step_size, run)
    found = state.match.x
    pixels = [distance("l2", images - target).tolist() for images in (starts, found)]
    rows = [
        Inversion(
            image=at,
            class_name=test.classes[int(test.y[at])],
            relative_start=float(state.match.start[at]),
            relative_end=float(state.match.end[at]),
            pixels_start=pixels[0][at],
            pixels_end=pixels[1][at],
        )
        for at in range(spec.made)
    ]
    np.savez(
        run.out / FILES[0],
        allow_pickle=False,
        target=test.x[: spec.made].numpy(),
        start=starts.half().numpy(),
        found=found.half().numpy(),
    )
    (run.out / FILES[1]).write_bytes(_picture(rows, target, starts, found))
    return InversionResult(
        mode="inversion",
        model=models.read_card(inputs.one("model").path),
        data=TestImages(name=test.name, variant=test.variant, n_test=len(test.y)),
        start=spec.start or "noise",
        steps=spec.gradient_steps,
        step_size=step_size,
        images=rows,
        mean=InversionMeans(
            relative_start=float(np.mean([row.relative_start for row in rows])),
            relative_end=float(np.mean([row.relative_end for row in rows])),
            pixels_start=float(np.mean([row.pixels_start for row in rows])),
            pixels_end=float(np.mean([row.pixels_end for row in rows])),
        ),
    )


def _starts(spec: Visualize, test: Images) -> Tensor:
    """The images to begin at, float32 [k, C, H, W]."""
    if spec.start != "image":
        return gaussian_seeds(spec.seed, torch.arange(spec.made), (test.x.shape[1], test.x.shape[2], test.x.shape[3]))
    places = [another(test.y, at, spec.made) for at in range(spec.made)]
    return to_unit(test.x[places])


def another(y: Tensor, at: int, first: int) -> int:
    """The place of an image of another class than that at `at`: looked for from `first + at` on, around the end.

    ValueError where all are of one class.
    """
    order = torch.roll(torch.arange(len(y)), -((first + at) % len(y)))
    others = order[y[order] != y[at]]
    if not len(others):
        raise ValueError("start: image, and all test images are of one class; takes images of another to start from")
    return int(others[0])


def _match(
    spec: Visualize, network: Network, starts: Tensor, goals: Tensor, step_size: float, run: Run
) -> InversionState:
    """Bring all images to their last step."""
    parts, steps = torch.arange(spec.made).split(PART), spec.gradient_steps
    device = run.device
    if run.resume is not None:
        state = InversionState.restore(run.resume)
    else:
        begun = [begin(network, starts[p].to(device), goals[p].to(device)) for p in parts]
        state = InversionState(Match(*(torch.cat(each).cpu() for each in zip(*begun, strict=True))))
    for number in range(state.parts, len(parts)):
        places = parts[number]
        goal, part = goals[places].to(device), Match(*(each[places].to(device) for each in state.match))
        while state.step < steps:
            if run.checkpoint_due():
                state.put(places, part)
                run.checkpoint(state.save)
            further = min(PIECE, steps - state.step)
            part = advance(network, part, goal, steps=further, step_size=step_size)
            state.step += further
            run.progress(number * steps + state.step, len(parts) * steps, "steps")
        state.put(places, part)
        state.parts, state.step = number + 1, 0
    return state


def _picture(rows: list[Inversion], target: Tensor, starts: Tensor, found: Tensor) -> bytes:
    """Targets, starts and what was found in lines, with the distances under them."""
    shown = rows[:SHOWN]
    lines = [
        picture_row("target", target[:SHOWN], [row.class_name for row in shown]),
        picture_row(
            "start", starts[:SHOWN], [f"R {row.relative_start:.2g}, px {row.pixels_start:.2g}" for row in shown]
        ),
        picture_row("found", found[:SHOWN], [f"R {row.relative_end:.2g}, px {row.pixels_end:.2g}" for row in shown]),
    ]
    return grid(lines)


def _distances(relative: float, pixels: float) -> str:
    return f"R {relative:.2g}, px {pixels:.2g}"
