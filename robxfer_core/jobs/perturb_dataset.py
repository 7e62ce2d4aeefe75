"""The kind `perturb_dataset`: the antirobust variant of a data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Attack, Precision, Seed, ThreatModel
from robxfer_core.spec.units import PixelUnits, Share

from .base import Artifact, Job, Role
from .results import DatasetName, MeanMax, ModelCard, Result, Split, StoredImages
from .shapes import ShapeContext, Shapes

SEARCH_PASSES = 4 * 512
"""Images that passes are made on, beside the set's, while eps is raised: about four tries on 512."""


class RaiseEps(Strict):
    """Raise eps until the perturbation fools its generator often enough, as the robust-generator control needs."""

    until: float = Field(default=0.9, gt=0, le=1)
    """Fooling rate, on up to 512 training images, at which eps is enough."""
    factor: float = Field(default=1.25, gt=1, le=4)
    """What eps is multiplied by from one try to the next."""
    limit: float = Field(gt=0, le=1000)
    """Largest eps tried."""


class StoredPerturbation(StoredImages):
    """How a perturbed set is stored, and whether it still fools."""

    fooling: dict[Split, Share]
    """By split, the fooling rate of the images as stored, a fraction."""


class PerturbDatasetResult(Result):
    """A perturbed data set."""

    data: DatasetName
    """The set."""
    generator: ModelCard
    """The network that the images were perturbed on."""
    generator_accuracy: dict[Split, Share]
    """By split, the generator's accuracy on the unperturbed images, a fraction."""
    threat: ThreatModel
    """The threat model, with the eps that was reached."""
    eps: PixelUnits
    """The eps that was reached, in pixels of the stored image."""
    eps_tried: list[tuple[float, float]]
    """While eps was raised: each eps and its fooling rate."""
    fooling: dict[Split, Share]
    """By split, the fooling rate of the images before they were stored: among images with another target than their
    own class, how many the generator takes for the target."""
    norm: dict[Split, MeanMax]
    """By split, the norm of the perturbation as stored."""
    stored: StoredPerturbation
    """How it is stored."""
    targets: Literal["uniform", "uniform_other", "shift"]
    """How targets were drawn."""


class PerturbDataset(Job):
    """The antirobust variant: each image is moved towards a target class of a generator and labelled with it.

    Both splits are made. Source: Ilyas et al. 2019, section 3.2 (D_rand, D_det); the paper's section 4.2.
    """

    ARTIFACT = Artifact.DATASET
    ROLE = Role.CONSTRUCTED_DATASET
    TAKES = {"dataset": (Role.SOURCE_DATASET,), "generator": (Role.MODEL,)}
    ENTRY = "robxfer_core.science.construct.perturb:perturb_dataset"
    RESULTS = (PerturbDatasetResult,)
    FILES = ("dataset.json", "examples.png")

    kind: Literal["perturb_dataset"] = "perturb_dataset"
    dataset: Ref
    """The set whose images are moved."""
    generator: Ref
    """A network that classifies this very data set."""
    threat: ThreatModel
    """eps is in pixels of the stored image."""
    attack: Attack = Attack(steps=100, random_start=False)
    """PGD, targeted. Ilyas et al. 2019 take 100 steps of .1 for l2 .5."""
    targets: Literal["uniform", "uniform_other", "shift"] = "uniform"
    """uniform: any class, the image's own too; uniform_other: any but its own; shift: y + 1 mod K."""
    raise_eps: RaiseEps | None = None
    """Take a larger eps where this one fools the generator too rarely."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept; the fooling rate after storing is reported."""
    seed: Seed = 0
    """Draws the targets."""
    precision: Precision = "fp32"
    """bf16: under autocast."""

    def shapes(self, context: ShapeContext) -> Shapes:
        data, generator = context[self.dataset], context[self.generator]
        context.check_model_takes(generator, data, "generator")
        context.check_model_classifies(generator, data, "generator")
        return replace(data, floats=self.store == "float16")

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        images = inputs[self.dataset].images + (SEARCH_PASSES if self.raise_eps else 0)
        return inputs[self.generator].forward * images * (2 + 3 * self.attack.steps * self.attack.restarts)

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes
