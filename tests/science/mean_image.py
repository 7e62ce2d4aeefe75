"""A kind of job in one module, as CONTRIBUTING.md describes it: the mean image of a data set."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field

from robxfer_core.jobs.base import DATASETS, Artifact, Job
from robxfer_core.jobs.results import DatasetName, Result, Split
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.shapes import ShapeContext, Shapes
from robxfer_core.spec.base import Ref


class MeanImageResult(Result):
    """The mean image of a split."""

    data: DatasetName
    """The data set."""
    n: int
    """Images that the mean is taken over."""
    brightness: float
    """Mean over all pixels, in [0,1]."""


class MeanImage(Job):
    """The mean image of a data set."""

    ARTIFACT = Artifact.RESULT
    TAKES = {"dataset": DATASETS}
    ENTRY = "tests.science.mean_image:mean_image"
    RESULTS = (MeanImageResult,)
    FILES = ("mean.npy",)
    PUBLISHED_KIND = "average_image"
    PUBLISHED_NAMES = {"split": "part"}

    kind: Literal["mean_image"] = "mean_image"
    dataset: Ref
    """The images."""
    split: Split = Field(default="train")
    """Which split."""

    def shapes(self, context: ShapeContext) -> Shapes:
        return context[self.dataset]

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return float(own.images * own.values)


def mean_image(spec: MeanImage, inputs: Inputs, run: Run) -> MeanImageResult:
    """Leave mean.npy, float64 [C, H, W], pixels in [0,1]."""
    from robxfer_core.science.data.artifact import load
    from robxfer_core.science.support.pixels import to_unit

    data = load(inputs.one("dataset").path, spec.split)
    mean = to_unit(data.x).double().mean(0)
    np.save(run.out / "mean.npy", mean.numpy())
    run.progress(len(data.y), len(data.y), "images")
    return MeanImageResult(
        data=DatasetName(name=data.name, variant=data.variant), n=len(data.y), brightness=float(mean.mean())
    )
