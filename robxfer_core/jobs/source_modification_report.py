"""The kind `source_modification_report`: the report of that study."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.base import Refs, Strict

from .base import Artifact, Design, Job, Role, SeedsByLevel
from .results import TableReportResult
from .shapes import REPORT_BYTES, ShapeContext, Shapes, fewest_tests
from .train import Training

ArmName = Literal["standard", "robust", "nonrobust", "adversarial", "random_init"]


class SourceArm(Strict):
    """Sources that were made in one way, with the heads on their representations."""

    name: ArmName
    """standard: trained on the source set; robust, nonrobust: standard training on the set that an adversarially
    trained or a standard generator made; adversarial: trained on the source set at `eps`; random_init: untrained."""
    transfers: Refs = Field(min_length=1)
    """Heads on the representation of each source."""
    sources: Refs = []
    """Evaluations of the sources on the source set's own test split, clean and at `eps`; none for random_init."""
    training: Training | None = None
    """How each source was trained, for its cost; none for random_init."""
    made: Refs = []
    """The sets that the sources were trained on, one a source; for `robust` and `nonrobust`."""
    generators: Refs = []
    """Evaluations of the networks that made those sets, as `sources`."""
    generator_training: Training | None = None
    """How each of those was trained, for its cost."""


class SourceModificationReport(Job):
    """Statistics, figure, costs and verdicts of a source-modification study, from the results of its jobs."""

    ARTIFACT = Artifact.REPORT
    GATHERS = True
    RESULTS_ONLY = True
    TAKES = {
        "data": (Role.SOURCE_DATASET,),
        "transfers": ("transfer",),
        "sources": ("evaluate",),
        "made": ("robustify_dataset",),
        "generators": ("evaluate",),
    }

    ENTRY = "robxfer_core.reports.source_modification.build:source_modification_report"
    RESULTS = (TableReportResult,)
    FILES = ("report.json", "report.html", "figure4b.png", "figure4b.svg", "results.parquet")

    kind: Literal["source_modification_report"] = "source_modification_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    target: str = Field(min_length=1, max_length=80)
    """The data set transferred to, as the report calls it."""
    data: Refs = Field(min_length=1)
    """The source set, for the numbers that costs are counted from."""
    arms: list[SourceArm] = Field(min_length=2, max_length=5)
    """The ways of making sources, `standard` among them."""
    eps: float = Field(gt=0, le=1000)
    """Of the adversarially trained sources and generators, and of the robust accuracies."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the arms."""
    min_agreement: float = Field(default=0.8, ge=0, le=1)
    """Share of a made set's images that its generator gives the class of their originals, below which the arm is
    `unusable`: there the matching failed."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [arm.name for arm in self.arms]
        if "standard" not in names or len(set(names)) != len(names):
            raise ValueError(f"each arm once, `standard` among them, not {names}")
        return self

    def shapes(self, context: ShapeContext) -> Shapes:
        references = [reference for arm in self.arms for reference in arm.transfers]
        return Shapes(test=fewest_tests(context, references))

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e7 * sum(len(arm.transfers) for arm in self.arms)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES

    def design(self, seeds: SeedsByLevel) -> Design:
        arms = [arm for arm in self.arms if arm.name != "random_init"]
        fewest = min(len(arm.transfers) for arm in arms)
        return Design(fewest, len(arms), 1, "ways of making sources", self.margin, self.confidence)
