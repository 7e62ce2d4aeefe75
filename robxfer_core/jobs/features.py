"""The kind `features`: the representation of every image of a data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Precision

from .base import DATASETS, Artifact, Job, Role
from .results import ModelCard, Result, TaskSummary
from .shapes import UNKNOWN_LENGTH, ShapeContext, Shapes


class FeaturesResult(Result):
    """The representation of a data set."""

    model: ModelCard
    """The network that computed it."""
    data: TaskSummary
    """The data set."""


class Features(Job):
    """The representation R(x) of every image of a data set, both splits, by one model."""

    ARTIFACT = Artifact.FEATURES
    TAKES = {"model": (Role.MODEL,), "dataset": DATASETS}
    ENTRY = "robxfer_core.science.transfer.job:features"
    RESULTS = (FeaturesResult,)
    FILES = ("train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy")

    kind: Literal["features"] = "features"
    model: Ref
    """The network."""
    dataset: Ref
    """The images, both splits."""
    precision: Precision = "fp32"
    """bf16: under autocast."""

    def shapes(self, context: ShapeContext) -> Shapes:
        data, model = context[self.dataset], context[self.model]
        context.check_model_takes(model, data, "model")
        return replace(data, arch=model.arch, length=model.length)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return inputs[self.model].forward * inputs[self.dataset].images

    def stored_bytes(self, own: Shapes) -> float:
        return 4.0 * own.images * (own.length or UNKNOWN_LENGTH)
