"""Kind `probe`: the door to its measures, and what several of them share."""

from importlib import import_module
from typing import Literal

import torch
from torch import Tensor

from robxfer_core.jobs.probe import Probe, ProbeResult
from robxfer_core.jobs.results import ModelCard
from robxfer_core.jobs.run import Input, Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.data.subset import stratified_order
from robxfer_core.science.models import Network
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast, same_kernels
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Precision

BATCH = 256


def probe(spec: Probe, inputs: Inputs, run: Run) -> ProbeResult:
    """The measure that the spec asks for."""
    # Imported only when used: one measure draws figures, another needs scipy.
    function = getattr(import_module(f"{__package__}.{spec.measure}"), spec.measure)
    with same_kernels():
        return function(spec, inputs, run)


def images_of(spec: Probe, inputs: Inputs, default: Literal["train", "test"]) -> tuple[Images, Tensor]:
    """The split of `dataset` that is measured, and the places [n] of its images: a stratified draw of `max_images`."""
    data = load(inputs.one("dataset").path, spec.split or default)
    order = stratified_order(data.y.numpy(), derive(spec.seed, "images"))
    return data, torch.from_numpy(order[: spec.max_images])


def represented(
    network: Network, x: Tensor, precision: Precision, run: Run, what: str, *, logits: bool = False
) -> Tensor:
    """R(x) [n, r], or the logits [n, K], of images as stored; float32 on the CPU. FloatingPointError if not finite."""
    parts: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        for images in x.split(BATCH):
            with autocast(network.mean.device, precision):
                found = (network if logits else network.represent)(to_unit(images.to(run.device)))
            parts.append(found.float().cpu())
            run.progress(sum(map(len, parts)), len(x), what)
    whole = torch.cat(parts)
    if not whole.isfinite().all():
        image = int((~whole.isfinite().all(1)).nonzero()[0])
        raise FloatingPointError(f"the network's output of image {image} of {what} is not finite")
    return whole


def model_card(model: Input) -> ModelCard:
    """Its model.json."""
    return models.read_card(model.path)
