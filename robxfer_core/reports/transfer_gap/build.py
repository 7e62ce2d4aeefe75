"""The job `transfer_gap_report`: from the results of a study's jobs to its statistics, figure and page."""

from robxfer_core.jobs.results import Result
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports.base import run_report

from .collect import collect
from .page import make_page
from .summary import summarise


def report(spec: TransferGapReport, inputs: Inputs, run: Run) -> Result:
    """Compute the report.

    Args:
        spec: The parameters of the job.
        inputs: The results of the study's jobs.
        run: The attempt; its folder gets report.json, report.html, figure3.png, figure3.svg and results.parquet.

    Returns:
        A `TransferGapReportResult`: title, verdicts and headline.

    Raises:
        BadStudy: The results do not make a study.
    """
    return run_report(spec, inputs, run, collect=collect, summarise=summarise, page=make_page)
