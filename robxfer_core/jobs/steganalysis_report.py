"""The kind `steganalysis_report`: the report of the study `steganalysis`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Refs, Strict

from .base import Artifact, Design, Job, SeedsByLevel
from .results import ReportResult, VerdictRow
from .shapes import REPORT_BYTES, ShapeContext, Shapes, fewest_tests


class StegoArm(Strict):
    """One task of a steganalysis report: covers and stegos by one method at one payload."""

    label: str = Field(min_length=1, max_length=80)
    """The task, as the report calls it."""
    embedding: Refs = Field(min_length=1)
    """The set, for its change rate and norm."""
    detections: Refs = Field(min_length=1)
    """Linear detectors on every source model's representation, and on random networks'."""
    reference: Refs = Field(min_length=1)
    """The high-pass networks, trained on the task itself."""


class SteganalysisReportResult(ReportResult):
    """A steganalysis report in short; the whole is in report.json."""

    verdicts: list[VerdictRow]
    """One for each task."""


class SteganalysisReport(Job):
    """Statistics, figure and verdicts of a steganalysis study, from the results of its jobs."""

    RECIPE = 3
    ARTIFACT = Artifact.REPORT
    GATHERS = True
    RESULTS_ONLY = True
    TAKES = {
        "sources": ("evaluate",),
        "embedding": ("embed_stego",),
        "detections": ("detect_stego",),
        "reference": ("detect_stego",),
    }

    ENTRY = "robxfer_core.reports.steganalysis.build:report"
    RESULTS = (SteganalysisReportResult,)
    FILES = ("report.json", "report.html", "figure.png", "figure.svg", "results.parquet")

    kind: Literal["steganalysis_report"] = "steganalysis_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    sources: Refs
    """Evaluations of the source models at every level of the family."""
    arms: list[StegoArm] = Field(min_length=1, max_length=20)
    """The tasks."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of 1 - P_E within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the levels."""
    max_p_e: float = Field(default=0.4, gt=0, le=0.5)
    """A task is `unusable` unless the high-pass networks' mean P_E is below this, and some source's is below chance."""

    def shapes(self, context: ShapeContext) -> Shapes:
        tests = fewest_tests(context, [reference for arm in self.arms for reference in arm.detections])
        return Shapes(test=None if tests is None else tests // 2)  # the intervals are over pairs

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e7 * sum(len(arm.detections) + len(arm.reference) for arm in self.arms)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES

    def design(self, seeds: SeedsByLevel) -> Design:
        return Design.of_family(
            seeds(self.sources or self.arms[0].detections), len(self.arms), self.margin, self.confidence
        )
