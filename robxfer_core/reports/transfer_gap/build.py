"""The job `report`: from the results of a study's jobs to its statistics, figure and page."""

from typing import Any

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report

from . import figure
from .collect import collect
from .html import page
from .summary import summarise
from .table import write_results

SHOWN = ("target", "variant", "control", "verdict", "reason", "level", "difference", "low", "high", "detectable")


def report(spec: TransferGapReport, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, figure3.png, figure3.svg, report.html and results.parquet; return verdicts and headline.

    The same inputs give the same bytes. Raises collect.BadStudy where the results do not make a study.
    """
    run.progress(0, 4, "parts")
    study = collect(spec, inputs)
    summary = write_report(summarise(spec, study), run.out)
    run.progress(1, 4, "parts")
    write_results(study, run.out / "results.parquet")
    run.progress(2, 4, "parts")
    floor = figure.FLOORS[spec.regime]
    main = figure.draw(summary["arms"], summary["verdicts"], floor=floor)
    controls = figure.draw(summary["arms"], summary["verdicts"], figure.CONTROLS, floor=floor)
    if main is None:  # a report of control arms alone
        main, controls = controls, None
    assert main is not None  # a report has an arm
    again = figure.draw(summary["arms"], [], standardised=True, floor=floor)
    drawn = svg(main)
    beside = (svg(each) if each else None for each in (again, controls))
    (run.out / "figure3.png").write_bytes(png(main))
    (run.out / "figure3.svg").write_bytes(drawn)
    run.progress(3, 4, "parts")
    html = page(summary, drawn, *beside)
    (run.out / "report.html").write_text(html, encoding="utf-8")
    run.progress(4, 4, "parts")
    return {
        "title": summary["title"],
        "verdicts": [{name: verdict[name] for name in SHOWN} for verdict in summary["verdicts"]],
        "headline": {name: summary["headline"][name] for name in ("text", "difference", "low", "high", "unit")},
    }
