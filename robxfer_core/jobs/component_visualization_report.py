"""The kind `component_visualization_report`: the report of that study."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Refs, Strict

from .base import Artifact, Job
from .results import TableReportResult
from .shapes import REPORT_BYTES, Shapes


class Pictured(Strict):
    """One architecture of a report on components."""

    label: str = Field(min_length=1, max_length=40)
    """What the report calls it."""
    visualizations: Refs = Field(min_length=1)
    """Pictures of every network of the family, mode component."""
    sources: Refs
    """Evaluations of the same networks at every level of the family."""


class ComponentVisualizationReport(Job):
    """Pictures, measures and trends of a study of components, from its jobs."""

    ARTIFACT = Artifact.REPORT
    GATHERS = True
    TAKES = {"visualizations": ("visualize",), "sources": ("evaluate",)}
    ENTRY = "robxfer_core.reports.component_visualization.build:report"
    RESULTS = (TableReportResult,)
    FILES = (
        "report.json",
        "report.html",
        "figure1.png",
        "figure1.svg",
        "figure1_measures.png",
        "figure1_measures.svg",
        "results.parquet",
    )

    kind: Literal["component_visualization_report"] = "component_visualization_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    architectures: list[Pictured] = Field(min_length=1, max_length=10)
    """The families."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of each interval, and 1 - this the level of the trend tests."""

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e9 + 1e7 * sum(len(family.visualizations) for family in self.architectures)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES
