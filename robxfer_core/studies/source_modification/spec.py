"""The study `source_modification` (the paper's figure 4b): sources trained on a data set, on its robust and non-robust
variants, and adversarially, side by side, transferred to one target. It expands to jobs; nothing else knows of studies.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.train import Training
from robxfer_core.jobs.transfer import Heads
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Attack, Precision, Seed
from robxfer_core.studies.family import Target

OTHER_SEEDS = 1_000_000
"""Added to a source's seed it gives that of its generators: a network of the source's own architecture and seed would
share its random start, and its features could be taken up more easily for that alone."""


class Matching(Strict):
    """How the robust and the non-robust set are made (`robustify_dataset`)."""

    steps: int = Field(default=1000, ge=1, le=10_000)
    """Gradient steps on the relative distance of the representations. 1000: Ilyas et al. 2019, appendix C."""
    step_size: float = Field(default=0.1, gt=0, le=1000)
    """l2 length of a step, in pixel units. .1: Ilyas et al. 2019, appendix C, at 32x32."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept."""
    precision: Precision = "fp32"
    """bf16: under autocast."""


class TrainedSource(Strict):
    """What sources are trained on, and how; the study sets data, eps and seed."""

    dataset: Dataset
    """The source task. The paper: CIFAR-10."""
    training: Training
    """How each source is trained."""


class SourceModification(Strict):
    """Is a source trained in the standard way on robust data worth an adversarially trained one?"""

    kind: Literal["source_modification"]
    title: str = Field(default="Transfer by the source's data", min_length=1, max_length=120)
    """Of the report."""
    source: TrainedSource
    """What sources are trained on, and how: all arms alike, so that they take equal numbers of updates. `attack` is
    that of the adversarial arm; the study sets eps."""
    norm: Literal["l2", "linf"] = "l2"
    """Of every threat model of the study."""
    eps: float = Field(default=0.5, gt=0, le=1000)
    """Of the adversarially trained sources, of the robust generators, and of the robust accuracies. .5: Ilyas et al.
    2019, at 32x32."""
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    """One independent source an arm, generators retrained, seed images and head a seed."""
    generator: Training | None = None
    """How the two generators of a seed are trained, one standard and one at `eps`. Left out: as the sources are. They
    never share a source's random start."""
    seed_data: Dataset | None = None
    """The set whose images the made sets begin at. Left out: the source set itself, an image never being its own seed
    (Ilyas et al. 2019); the paper takes ImageNet."""
    matching: Matching = Matching()
    """How the made sets are made."""
    target: Target
    """The data set that the sources are transferred to. The paper: Caltech-101."""
    heads: Heads = Heads()
    """How linear heads are trained."""
    evaluation: Attack = Attack(steps=20)
    """The attack on the test images of the source set, for robust accuracies."""
    evaluation_images: int = Field(default=1000, ge=1)
    """Test images that it is run on."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    min_agreement: float = Field(default=0.8, ge=0, le=1)
    """Share of a made set's images that its generator gives the class of their originals, below which the arm is
    `unusable`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds) or max(self.seeds) >= OTHER_SEEDS:
            raise ValueError(f"seeds without repetition, below {OTHER_SEEDS}, not {self.seeds}")
        if self.source.training.epochs == 0 or (self.generator is not None and self.generator.epochs == 0):
            raise ValueError("epochs of 1 or more: untrained networks are an arm of their own")
        return self
