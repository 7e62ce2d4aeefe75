"""The kind `robustify_dataset`: the robust and the non-robust variant of a data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Precision, Seed
from robxfer_core.spec.units import Flops, Images, Share

from .base import Artifact, Job, Role
from .results import DatasetName, ModelCard, Record, Result, StoredImages
from .shapes import UNKNOWN_IMAGES, ShapeContext, Shapes


class RobustifiedData(DatasetName):
    """A robust or non-robust set."""

    n_train: Images
    """Training images."""
    n_test: Images
    """Test images."""


class GeneratorAccuracy(Record):
    """Accuracy of the generator, fractions."""

    train: Share
    """On the training split of the original set."""
    test: Share
    """On the test split of the original set."""
    made: Share
    """On the images that were made, with the labels of their originals."""


class SeedData(Record):
    """Where the seed images came from."""

    name: str
    """The set."""
    n: Images
    """Its training images."""
    same: bool
    """Whether it is the original set itself."""


class DistanceSummary(Record):
    """Relative distance of representations, over images."""

    mean: float
    """Mean."""
    q10: float
    """10 % quantile."""
    median: float
    """Median."""
    q90: float
    """90 % quantile."""
    max: float
    """Largest."""


class RelativeDistance(Record):
    """Relative distance from the originals' representations."""

    start: DistanceSummary
    """Of the seed images."""
    reached: DistanceSummary
    """Of the images that were made."""
    stored: DistanceSummary
    """Of those as stored."""


class MatchingCost(Record):
    """What making the set cost."""

    gradient_steps: int
    """Steps times images."""
    flops: Flops
    """Floating-point operations of those steps."""


class RobustifyDatasetResult(Result):
    """A robust or non-robust data set."""

    data: RobustifiedData
    """The set."""
    generator: ModelCard
    """The network whose representations were matched."""
    generator_accuracy: GeneratorAccuracy
    """How well the generator classifies."""
    seed_data: SeedData
    """Where the seed images came from."""
    relative_distance: RelativeDistance
    """How near the representations came."""
    agreement: Share
    """Fraction of the made images that the generator gives the class of their originals."""
    cost: MatchingCost
    """What it cost."""
    stored: StoredImages
    """How it is stored."""
    seed: int
    """The seed of the job."""


class RobustifyDataset(Job):
    """The robust (or non-robust) variant: images that a generator represents as it does the set's, made from others.

    Each training image x is replaced by x_r, which begins as a *seed image* drawn from `seed_data` and is moved until
    the generator's representation of it is near that of x; it keeps the label of x. What x_r shares with x is what the
    generator sees. With an adversarially trained generator (eps > 0) the variant is `robust`, with a standard one
    `nonrobust`. Training images alone are made: the test split is that of `dataset`, unchanged, as source models are
    measured on it. Source: Ilyas et al. 2019, section 3.1 (D_rob, D_nonrob); the paper's section 4.3.
    """

    ARTIFACT = Artifact.DATASET
    ROLE = Role.CONSTRUCTED_DATASET
    TAKES = {
        "dataset": (Role.SOURCE_DATASET,),
        "generator": (Role.MODEL,),
        "seed_data": (Role.SOURCE_DATASET,),
    }
    ENTRY = "robxfer_core.science.construct.robustify:robustify_dataset"
    RESULTS = (RobustifyDatasetResult,)
    FILES = ("dataset.json", "examples.png")

    kind: Literal["robustify_dataset"] = "robustify_dataset"
    dataset: Ref
    """The set whose representations and labels are taken."""
    generator: Ref
    """A network that classifies this very data set."""
    seed_data: Ref | None = None
    """The set whose training images the seed images are drawn from, of the same size. Left out: `dataset` itself, an
    image never being its own seed (Ilyas et al. 2019); the paper takes ImageNet."""
    steps: int = Field(default=1000, ge=1, le=10_000)
    """Gradient steps on the relative distance of the representations, of which the best iterate is kept; there is no
    ball around the seed image. 1000: Ilyas et al. 2019, appendix C."""
    step_size: float = Field(default=0.1, gt=0, le=1000)
    """l2 length of a step, in pixel units. .1: Ilyas et al. 2019, appendix C, at 32x32."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept; the distance after storing is reported."""
    seed: Seed = 0
    """Draws the seed images."""
    precision: Precision = "fp32"
    """bf16: under autocast."""

    def shapes(self, context: ShapeContext) -> Shapes:
        data, generator = context[self.dataset], context[self.generator]
        context.check_model_takes(generator, data, "generator")
        context.check_model_classifies(generator, data, "generator")
        if self.seed_data is not None:
            seeds = context[self.seed_data]
            if None not in (seeds.side, data.side) and seeds.side != data.side:
                takes = f"images of side {data.side}, as those of the set (`size` resizes)"
                raise context.error("seed_data", f"images of side {seeds.side}", takes)
            if seeds.channels == 3 and data.channels == 1:
                raise context.error("seed_data", "images of 3 channels", "images of 1 channel, as those of the set")
        return replace(data, floats=self.store == "float16")

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        data = inputs[self.dataset]
        # A step is a forward and a backward pass; beside them representations and classes, before and after.
        passes = data.images + (data.train or UNKNOWN_IMAGES) * (3 * self.steps + 5)
        return inputs[self.generator].forward * passes

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes
