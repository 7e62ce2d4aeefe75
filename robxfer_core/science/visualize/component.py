"""Mode `component`: images that drive single components of a representation up (the paper's section 4.1, figure 1)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.visualize import FEWEST, SMALLEST, TOP, ComponentPicture, ComponentResult, TestImages, Visualize
from robxfer_core.reports.pictures import grid
from robxfer_core.science import models
from robxfer_core.science.attacks.ascent import Height, ascend
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.models import Network
from robxfer_core.science.support.gallery import picture_row
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive

from .common import FILES, fake_relu, gaussian_seeds, represent
from .measures import kinship, likeness, meaning, spectral_slope

PART = 16
"""Components that ascend together."""
REFERENCES = 512
"""Real images whose spectral slope is the picture's measure of comparison."""
SHOWN = 16


@dataclass
class ComponentState:
    """What an interrupted run goes on from: all images, the first `parts` parts of them done, the next at `step`."""

    x: Tensor
    parts: int = 0
    step: int = 0

    def save(self, folder: Path) -> None:
        np.save(folder / "x.npy", self.x.cpu().numpy())
        (folder / "state.json").write_text(json.dumps({"parts": self.parts, "step": self.step}))

    @classmethod
    def restore(cls, folder: Path) -> "ComponentState":
        told = json.loads((folder / "state.json").read_text())
        return cls(torch.from_numpy(np.load(folder / "x.npy", allow_pickle=False)), told["parts"], told["step"])


def component(spec: Visualize, inputs: Inputs, run: Run) -> ComponentResult:
    """Make an image for each component; leave them with their top-9 real images, and measure both.

    Resumes from its checkpoint at the very step. Raises ValueError where the judge is the model, the set has too
    few or too small test images or a component is not there, FloatingPointError where a network gives NaN.
    """
    if inputs.one("judge").key == inputs.one("model").key:
        raise ValueError("judge: the very network that is visualised; takes another one")
    network, judge = (models.load(inputs.one(name).path).to(run.device) for name in ("model", "judge"))
    test = load(inputs.one("dataset").path, "test")
    if len(test.y) < FEWEST or test.x.shape[-1] < SMALLEST:
        got = f"{len(test.y)} test images of side {test.x.shape[-1]}"
        raise ValueError(f"dataset: {got}; takes at least {FEWEST} of side {SMALLEST}")
    chosen = choose(spec, network.head.in_features)
    begun = gaussian_seeds(spec.seed, chosen, (test.x.shape[1], test.x.shape[2], test.x.shape[3]))
    state = ComponentState(begun.clone()) if run.resume is None else ComponentState.restore(run.resume)
    step_size = spec.step(test.x.shape[-1])

    def pause() -> None:
        if run.checkpoint_due():
            run.checkpoint(state.save)

    _climb(spec, network, chosen, step_size, state, run)
    found = state.x
    real = represent(network, test.x, pause)
    values, top_places = real[:, chosen].T.topk(TOP, dim=1)  # [k, TOP]
    ends = [represent(network, x, pause).gather(1, chosen[:, None]).flatten().tolist() for x in (begun, found)]
    alive = values[:, -1] > real[:, chosen].min(0).values
    judged = represent(judge, test.x, pause)
    alike = [likeness(represent(judge, x, pause), judged).numpy() for x in (found, begun)]
    slopes = spectral_slope(found).tolist()
    rows = [
        ComponentPicture(
            component=int(chosen[at]),
            start=ends[0][at],
            end=ends[1][at],
            top=float(values[at].mean()),
            slope=slopes[at],
            alive=bool(alive[at]),
            auroc=meaning(alike[0][at], places.numpy()) if alive[at] else None,
            auroc_start=meaning(alike[1][at], places.numpy()) if alive[at] else None,
            auroc_top=kinship(judged, places) if alive[at] else None,
        )
        for at, places in enumerate(top_places)
    ]
    np.savez(
        run.out / FILES[0],
        allow_pickle=False,
        components=chosen.numpy(),
        start=begun.half().numpy(),
        found=found.half().numpy(),
        top=test.x[top_places].numpy(),
        top_places=top_places.numpy(),
    )
    (run.out / FILES[1]).write_bytes(_picture(rows, begun, found, test, top_places))
    return ComponentResult(
        mode="component",
        model=models.read_card(inputs.one("model").path),
        judge=models.read_card(inputs.one("judge").path),
        data=TestImages(name=test.name, variant=test.variant, n_test=len(test.y)),
        steps=spec.gradient_steps,
        step_size=step_size,
        components=rows,
        slope_real=float(spectral_slope(to_unit(test.x[:REFERENCES])).mean()),
        slope_start=float(spectral_slope(begun).mean()),
    )


def choose(spec: Visualize, length: int) -> Tensor:
    """The components to visualise, int64 [k]. ValueError where the representation is shorter than they need."""
    if spec.components is not None:
        if max(spec.components) >= length:
            raise ValueError(f"components: {max(spec.components)}; takes 0 to {length - 1}")
        return torch.tensor(spec.components)
    if spec.made > length:
        raise ValueError(f"count: {spec.made}; takes at most {length}, the length of the representation")
    generator = torch.Generator().manual_seed(derive(spec.seed, "components"))
    return torch.randperm(length, generator=generator)[: spec.made]


def climb_component(network: Network, x: Tensor, components: Tensor, step_size: float) -> Tensor:
    """One l2 step of each image [n, C, H, W] up its component (int64 [n]) of R(x), clamped to [0,1].

    The gradient passes the last block's ReLU as if it were not there. The network must be in eval mode.
    """
    return ascend(
        x,
        lambda images: Height(network.represent(images, fake_relu).gather(1, components[:, None])),
        lambda moved: moved.clamp(0, 1),
        norm="l2",
        steps=1,
        step_size=step_size,
    )


def _climb(
    spec: Visualize, network: Network, chosen: Tensor, step_size: float, state: ComponentState, run: Run
) -> None:
    """Bring all images of the state to their last step."""
    steps, parts = spec.gradient_steps, torch.arange(len(chosen)).split(PART)
    with evaluating(network):
        for number in range(state.parts, len(parts)):
            places = parts[number]
            x, components = state.x[places].to(run.device), chosen[places].to(run.device)
            for step in range(state.step, steps):
                if run.checkpoint_due():
                    state.x[places], state.step = x.cpu(), step
                    run.checkpoint(state.save)
                x = climb_component(network, x, components, step_size)
                run.progress(number * steps + step + 1, len(parts) * steps, "steps")
            if not bool(x.isfinite().all()):
                raise FloatingPointError(f"the network gives NaN for some of the components {components.tolist()}")
            state.x[places], state.parts, state.step = x.cpu(), number + 1, 0


def _picture(rows: list[ComponentPicture], begun: Tensor, found: Tensor, test: Images, top_places: Tensor) -> bytes:
    """A line for each component: its number and measures, the start, what was found, the top-9 real images."""
    lines = []
    for at, row in enumerate(rows[:SHOWN]):
        auroc = f"{row.auroc:.2f}" if row.auroc is not None else "none:\nno image activates it"
        title = f"component {row.component}\nslope {row.slope:.2f}\nAUROC {auroc}"
        images = torch.cat([begun[at : at + 1], found[at : at + 1], to_unit(test.x[top_places[at]])])
        names = [test.classes[int(test.y[place])] for place in top_places[at]]
        lines.append(picture_row(title, images, [f"R = {row.start:.3g}", f"R = {row.end:.3g}", *names]))
    return grid(lines, ["start", "found", *(f"top {place}" for place in range(1, TOP + 1))])
