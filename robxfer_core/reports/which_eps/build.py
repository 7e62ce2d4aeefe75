"""The job `which_eps_report`: from heads on every model of a family to an answer, its figure and its page."""

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.which_eps_report import WhichEpsReport, WhichEpsReportResult
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report

from .collect import collect
from .costs import costs
from .figure import draw
from .page import page
from .summary import summarise
from .table import write_results


def report(spec: WhichEpsReport, inputs: Inputs, run: Run) -> WhichEpsReportResult:
    """Write report.json, figure.png, figure.svg, report.html and results.parquet; return headline and table.

    The same inputs give the same bytes. Raises BadStudy where the results do not make a study.
    """
    family = collect(spec, inputs)
    summary = write_report(summarise(spec, family, costs(spec, family, inputs)), run.out)
    run.progress(1, 3, "parts")
    write_results(spec.target, family, run.out / "results.parquet")
    figure = draw(summary["amounts"], summary["settings"]["norm"])
    drawn = svg(figure)
    (run.out / "figure.png").write_bytes(png(figure))
    (run.out / "figure.svg").write_bytes(drawn)
    run.progress(2, 3, "parts")
    (run.out / "report.html").write_text(page(summary, drawn), encoding="utf-8")
    run.progress(3, 3, "parts")
    return WhichEpsReportResult.model_validate({name: summary[name] for name in WhichEpsReportResult.model_fields})
