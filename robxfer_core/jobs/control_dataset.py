"""The kind `control_dataset`: control arms of a perturbed data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Seed
from robxfer_core.spec.units import Images

from .base import Artifact, Job, Role
from .results import DatasetName, MeanMax, Result, Split
from .shapes import ShapeContext, Shapes


class ControlDatasetResult(Result):
    """A control arm of a perturbed data set."""

    data: DatasetName
    """The set."""
    arm: Literal["relabel_only", "noise"]
    """Which control arm."""
    norm: dict[Split, MeanMax]
    """By split, the norm of what was added, as stored."""
    unreached: dict[Split, Images]
    """By split, images that could not be moved as far inside [0,1]."""


class ControlDataset(Job):
    """A control arm of a perturbed set: the same targets as labels, without the perturbation that carries them."""

    ARTIFACT = Artifact.DATASET
    ROLE = Role.CONSTRUCTED_DATASET
    TAKES = {"like": ("perturb_dataset",), "dataset": (Role.SOURCE_DATASET,)}
    ENTRY = "robxfer_core.science.construct.perturb:control_dataset"
    RESULTS = (ControlDatasetResult,)
    FILES = ("dataset.json", "examples.png")

    kind: Literal["control_dataset"] = "control_dataset"
    like: Ref
    """The perturbed set whose targets (and, for `noise`, whose norm for each image) are taken."""
    dataset: Ref
    """The set that it was made from."""
    arm: Literal["relabel_only", "noise"]
    """relabel_only: the unchanged image with the target as label; noise: a random direction of the same norm."""
    seed: Seed = 0
    """Draws the directions of the noise."""

    def shapes(self, context: ShapeContext) -> Shapes:
        return replace(context[self.dataset], floats=self.arm == "noise" and context[self.like].floats)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 100.0 * own.images * own.values

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes
