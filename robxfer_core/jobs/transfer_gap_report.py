"""The kind `transfer_gap_report`: the report of the study `transfer_gap`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Refs, Strict

from .base import Artifact, Design, Job, Role, SeedsByLevel
from .results import Headline, Result, VerdictRow
from .shapes import REPORT_BYTES, ShapeContext, Shapes, fewest_tests
from .transfer import Regime


class Arm(Strict):
    """One panel of a transfer-gap report: a variant of a target, with the heads trained on it."""

    target: str = Field(min_length=1, max_length=80)
    """The data set, as the report calls it."""
    variant: Literal["standard", "antirobust", "relabel_only", "noise", "robust_generator"]
    """As it is, antirobust, or a control arm."""
    transfers: Refs = Field(min_length=1)
    """Heads on every source model's representation, and on random networks'."""
    data: Refs = []
    """The constructed sets, for their fooling rates and norms; empty for `standard`."""


class SlopeHeadline(Headline):
    """The antirobust slope less the standard slope."""

    difference: float | None
    """Their difference; none where no target has both arms."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end of its interval."""
    unit: str
    """Its unit."""


class TransferGapReportResult(Result):
    """A transfer-gap report in short; the whole is in report.json."""

    title: str
    """Of the report."""
    verdicts: list[VerdictRow]
    """One for each panel."""
    headline: SlopeHeadline
    """The headline."""


class TransferGapReport(Job):
    """Statistics, figure and verdict of a transfer-gap study, from the results of its jobs."""

    ARTIFACT = Artifact.REPORT
    GATHERS = True
    RESULTS_ONLY = True
    PUBLISHED_KIND = "report"
    TAKES = {
        "sources": ("evaluate",),
        "transfers": ("transfer",),
        "data": (Role.CONSTRUCTED_DATASET,),
    }
    ENTRY = "robxfer_core.reports.transfer_gap.build:report"
    RESULTS = (TransferGapReportResult,)
    FILES = ("report.json", "report.html", "figure3.png", "figure3.svg", "results.parquet")

    kind: Literal["transfer_gap_report"] = "transfer_gap_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    regime: Regime = "fixed_feature"
    """Of its transfers: how the report names them, and its floor (a frozen random network, or one from scratch)."""
    sources: Refs
    """Evaluations of the source models at every level of the family."""
    arms: list[Arm] = Field(min_length=1, max_length=100)
    """The panels."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the levels."""
    min_fooling: float = Field(default=0.9, ge=0, le=1)
    """Fooling rate, on either split, below which a constructed set is `unusable`."""

    def shapes(self, context: ShapeContext) -> Shapes:
        references = [reference for arm in self.arms for reference in arm.transfers]
        return Shapes(test=fewest_tests(context, references))

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e7 * sum(len(arm.transfers) for arm in self.arms)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES

    def design(self, seeds: SeedsByLevel) -> Design:
        targets = len({arm.target for arm in self.arms})
        return Design.of_family(seeds(self.sources or self.arms[0].transfers), targets, self.margin, self.confidence)
