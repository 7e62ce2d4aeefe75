"""The kind `which_eps_report`: the report of the study `which_eps`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from robxfer_core.spec.base import Refs, Strict
from robxfer_core.spec.units import Flops

from .base import Artifact, Design, Job, Role, SeedsByLevel
from .results import Record, TableReportResult
from .shapes import REPORT_BYTES, ShapeContext, Shapes, fewest_tests
from .train import Training
from .transfer import Heads

Usual = Annotated[list[Annotated[float, Field(ge=0, le=1000)]], Field(max_length=10)]


class Amount(Strict):
    """How much of the target's training split heads learn from, with the heads that did."""

    images_per_class: int | None = Field(default=None, ge=2, le=100_000)
    """Few-shot: at most this many images of each class; left out: all of them."""
    transfers: Refs = Field(min_length=1)
    """Heads on the representation of every model of the family, and of random networks where there are some."""


class CostRow(Record):
    """What a part of the study cost."""

    part: str
    """The part."""
    jobs: int
    """Its jobs."""
    flops: Flops | None
    """Its floating-point operations; none where others trained the family."""


class WhichEpsReportResult(TableReportResult):
    """A report of `which_eps` in short; the whole is in report.json."""

    few_shot_differs: dict[str, bool]
    """By images of a class, whether another level is shown to be best than with all images."""
    cost: list[CostRow]
    """What the study cost."""


class WhichEpsReport(Job):
    """Which robustness level of a family to use for a target, with a confidence set, from the results of a study.

    The level is chosen by accuracy on validation images. The confidence set is that of multiple comparisons with the
    best (Hsu 1981) on the test images: it holds the level whose expected test accuracy is best.
    """

    RECIPE = 2
    ARTIFACT = Artifact.REPORT
    GATHERS = True
    RESULTS_ONLY = True
    TAKES = {"transfers": ("transfer",), "source_data": (Role.SOURCE_DATASET,)}
    ENTRY = "robxfer_core.reports.which_eps.build:report"
    RESULTS = (WhichEpsReportResult,)
    FILES = ("report.json", "report.html", "figure.png", "figure.svg", "results.parquet")

    kind: Literal["which_eps_report"] = "which_eps_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    target: str = Field(min_length=1, max_length=80)
    """The data set, as the report calls it."""
    amounts: list[Amount] = Field(min_length=1, max_length=6)
    """The whole training split, and few-shot draws from it."""
    usual: Usual = [0.0, 3.0]
    """Levels that are usually taken without asking; what those of the family lose to the chosen one is reported."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the set and of the intervals."""
    training: Training | None = None
    """How the family was trained, to count what that cost; none where others trained it."""
    heads: Heads = Heads()
    """How the heads were trained, to count what that cost."""
    source_data: Refs = []
    """What the family was trained on, to count what that cost."""

    def shapes(self, context: ShapeContext) -> Shapes:
        references = [reference for amount in self.amounts for reference in amount.transfers]
        return Shapes(test=fewest_tests(context, references))

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e7 * sum(len(amount.transfers) for amount in self.amounts)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES

    def design(self, seeds: SeedsByLevel) -> Design:
        levels = seeds(self.amounts[0].transfers)
        return Design.of_family(levels, len(self.amounts), 0.0, self.confidence)
