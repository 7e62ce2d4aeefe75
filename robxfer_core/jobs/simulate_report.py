"""The kind `simulate_report`: figure and tables of simulations side by side."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Refs

from .base import Artifact, Job
from .results import TableReportResult
from .shapes import REPORT_BYTES, Shapes


class SimulateReport(Job):
    """Figure and tables of simulations side by side."""

    ARTIFACT = Artifact.REPORT
    GATHERS = True
    RESULTS_ONLY = True
    TAKES = {"simulations": ("simulate",)}

    ENTRY = "robxfer_core.reports.simulate.build:report"
    RESULTS = (TableReportResult,)
    FILES = ("report.json", "report.html", "figure.png", "figure.svg", "results.parquet")

    kind: Literal["simulate_report"] = "simulate_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    simulations: Refs = Field(min_length=1, max_length=20)
    """Shown by title: linear ones by eps, linear ones that sweep something else, multi-class ones."""

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1e7 * len(self.simulations)

    def stored_bytes(self, own: Shapes) -> float:
        return REPORT_BYTES
