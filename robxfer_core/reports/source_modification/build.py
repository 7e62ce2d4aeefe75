"""The job `source_modification_report`: from the results of a study's jobs to its statistics, figure and page."""

from robxfer_core.jobs.results import Result
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.reports.base import run_report

from .collect import collect
from .page import make_page
from .summary import summarise


def source_modification_report(spec: SourceModificationReport, inputs: Inputs, run: Run) -> Result:
    """Compute the report.

    Args:
        spec: The parameters of the job.
        inputs: The results of the study's jobs.
        run: The attempt; its folder gets report.json, report.html, figure4b.png, figure4b.svg and results.parquet.

    Returns:
        A `TableReportResult`: title, headline and the arms side by side.

    Raises:
        BadStudy: The results do not make a study.
    """
    return run_report(spec, inputs, run, collect=collect, summarise=summarise, page=make_page)
