"""The job `source_modification_report`: from the results of a study's jobs to its statistics, figure and page."""

from typing import Any

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report

from .collect import collect
from .figure import draw
from .html import page
from .summary import summarise
from .table import write_results


def source_modification_report(spec: SourceModificationReport, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, figure4b.png, figure4b.svg, report.html and results.parquet; return table and headline.

    The same inputs give the same bytes. Raises BadStudy where the results do not make a study.
    """
    run.progress(0, 2, "parts")
    study = collect(spec, inputs)
    summary = write_report(summarise(spec, study), run.out)
    write_results(study, spec.target, run.out / "results.parquet")
    run.progress(1, 2, "parts")
    figure = draw(summary["curves"], summary["target"])
    drawn = svg(figure)
    (run.out / "figure4b.png").write_bytes(png(figure))
    (run.out / "figure4b.svg").write_bytes(drawn)
    (run.out / "report.html").write_text(page(summary, drawn), encoding="utf-8")
    run.progress(2, 2, "parts")
    return {name: summary[name] for name in ("title", "headline", "table")}
