"""What every report shares. A study of its own writes three functions: `collect`, `summarise` and `page`."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import matplotlib
import numpy
import pyarrow as pa
import scipy
from pyarrow import parquet
from pydantic import Field

from robxfer_core import __version__
from robxfer_core.jobs.base import Job
from robxfer_core.jobs.results import Record, Result, VerdictRow
from robxfer_core.jobs.run import Inputs, Run

from .plotting import RenderedFigure
from .report_json import rounded


class BadStudy(ValueError):
    """Results that do not make a study. The message names the arm and what it lacks."""


def software_versions() -> dict[str, str]:
    """Versions of what computes statistics and figures, by package."""
    return {
        "robxfer": __version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "matplotlib": matplotlib.__version__,
    }


class ReportContent(Record):
    """The content of a report.json. Each study extends it."""

    title: str
    """The title of the report."""
    software: dict[str, str] = Field(default_factory=software_versions)
    """Versions of what computed the report, by package."""

    @abstractmethod
    def result(self) -> Result:
        """The short form, which becomes the job's result.json."""


@dataclass(frozen=True)
class Page:
    """What a report leaves beside its report.json."""

    html: str
    """The text of report.html."""
    figures: Mapping[str, RenderedFigure]
    """Figures by the name of their files, without the ending."""
    table: pa.Table
    """The rows of results.parquet."""


Spec = TypeVar("Spec", bound=Job)
Study = TypeVar("Study")
Content = TypeVar("Content", bound=ReportContent)


def run_report(
    spec: Spec,
    inputs: Inputs,
    run: Run,
    *,
    collect: Callable[[Spec, Inputs], Study],
    summarise: Callable[[Spec, Study], Content],
    page: Callable[[Spec, Study, Content], Page],
) -> Result:
    """Compute a report job: write its files to `run.out` and return its short result.

    The files are report.json, report.html, results.parquet, and a PNG and an SVG of each figure. The same inputs give
    the same bytes.

    Args:
        spec: The parameters of the job.
        inputs: Its input artifacts.
        run: The attempt that it is computed in.
        collect: Reads the results of the study's jobs.
        summarise: Computes the statistics. Numbers are rounded afterwards.
        page: Draws the figures and writes the page, from the rounded statistics.

    Returns:
        The short form of the report.

    Raises:
        BadStudy: The results do not make a study.
    """
    run.progress(0, 3, "parts")
    study = collect(spec, inputs)
    content = round_content(summarise(spec, study))
    write_content(content, run.out / "report.json")
    run.progress(1, 3, "parts")
    shown = page(spec, study, content)
    for name, figure in shown.figures.items():
        (run.out / f"{name}.png").write_bytes(figure.png)
        (run.out / f"{name}.svg").write_bytes(figure.svg)
    run.progress(2, 3, "parts")
    parquet.write_table(shown.table, run.out / "results.parquet")
    (run.out / "report.html").write_text(shown.html, encoding="utf-8")
    run.progress(3, 3, "parts")
    return content.result()


def round_content(content: Content) -> Content:
    """The content with its numbers rounded as `report_json.rounded` does; NaN and infinities become None."""
    return type(content).model_validate(rounded(content.model_dump(mode="json", by_alias=True)))


def write_content(content: ReportContent, path: Path) -> None:
    """Write a report.json: sorted keys, indented by 1."""
    text = json.dumps(content.model_dump(mode="json", by_alias=True), sort_keys=True, indent=1, allow_nan=False)
    path.write_text(text + "\n")


def verdict_rows(verdicts: Sequence[VerdictRow]) -> list[VerdictRow]:
    """The verdicts of a report.json without the fields that studies add to them."""
    return [VerdictRow(**{name: getattr(verdict, name) for name in VerdictRow.model_fields}) for verdict in verdicts]
