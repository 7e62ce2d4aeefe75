"""LEEP: how well a source model's own classes predict a target's (Nguyen et al. 2020, section 3)."""

import torch
from torch import Tensor

from robxfer_core.jobs.probe import LeepResult, Probe
from robxfer_core.jobs.results import DatasetName
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models

from .measure import images_of, model_card, represented


def leep(spec: Probe, inputs: Inputs, run: Run) -> LeepResult:
    """The LEEP of the model's head on the data set's labels, beside what a model that says nothing has (-H(y))."""
    data, places = images_of(spec, inputs, "train")
    network = models.load(inputs.one("model").path).to(run.device)
    logits = represented(network, data.x[places], spec.precision, run, "images", logits=True)
    labels = data.y[places]
    share = torch.bincount(labels, minlength=len(data.classes)).double() / len(labels)
    present = share[share > 0]
    return LeepResult(
        measure="leep",
        leep=leep_score(logits.double().softmax(1), labels, len(data.classes)),
        uninformed=float((present * present.log()).sum()),
        n=len(places),
        data=DatasetName(name=data.name, variant=data.variant),
        model=model_card(inputs.one("model")),
    )


def leep_score(theta: Tensor, y: Tensor, classes: int) -> float:
    """mean_i log sum_z P(y_i|z) theta_z(x_i), from probabilities theta [n, Z] of source classes and target labels y.

    P(y, z) = mean_i theta_z(x_i) [y_i = y]. It is at most 0. A source class that no image gets any probability of says
    nothing of y, and adds nothing.
    """
    joint = torch.zeros(classes, theta.shape[1], dtype=theta.dtype).index_add_(0, y, theta) / len(y)
    total = joint.sum(0)
    given = joint / torch.where(total > 0, total, 1.0)
    return float((given[y] * theta).sum(1).log().mean())
