"""The job `simulate_report`: from the summaries of simulations to one figure, tables and page."""

import json
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.simulate_report import SimulateReport
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, inline_svg
from robxfer_core.reports.page.render import render_page
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report

from . import figure, tables
from .words import by_eps, headline

ABOUT = {
    "linear": (
        "Linear representations (Deng et al. 2021): many source tasks x = y B a_t + eta share the directions B; each"
        " task's predictor is trained, standard or against perturbations of radius eps, and the span of all of them is"
        " what the target's predictor is fitted on. Excess risk: 0 is the best that any predictor reaches, 1 is chance."
        " Line: Monte Carlo, with its interval; circles: its mean over target samples in closed form; dotted: with"
        " infinitely many samples; grey: a head on the true representation."
    ),
    "multiclass": (
        "The paper's model: a representation is fitted on n1 samples of a source task, frozen, and a head is fitted on"
        " n2 samples of the target. Solid: excess risk, the other n at its largest; dashed: the part of it that is due"
        " to the representation (left) or to the head (right). Grey: slopes of Du's (-1) and Deng's (-1/2) bounds;"
        " dotted: what the head's part tends to, (K - 1)(r + 1) / 2 n2. Slopes are means over repeats; those of the"
        " bounds are of the whole bound, constants taken as 1, over the same sizes."
    ),
}


def report(spec: SimulateReport, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, report.html, figure.png, figure.svg and results.parquet; return headline and table."""
    run.progress(0, 3, "parts")
    read = [json.loads((each.path / "result.json").read_text()) for each in inputs.all("simulations")]
    found = sorted(read, key=lambda each: (_name(each), not by_eps(each), each["title"]))
    shown = {
        "title": spec.title,
        "headline": {"text": headline(found)},
        "table": tables.overview(found),
    }
    summary = write_report(shown | {"simulations": found}, run.out)
    run.progress(1, 3, "parts")
    drawn = figure.draw(found)
    (run.out / "figure.png").write_bytes(png(drawn))
    (run.out / "figure.svg").write_bytes(vector := svg(drawn))
    run.progress(2, 3, "parts")
    parquet.write_table(pa.Table.from_pylist(tables.rows(found)), run.out / "results.parquet")
    told = "Intervals: {:g} % t over {} repeats."
    blocks: list[Block] = [
        Headline(summary["headline"]["text"] + "."),
        Picture(
            inline_svg(vector), " ".join(ABOUT[name] for name in ABOUT if any(name == _name(each) for each in found))
        ),
        Table(summary["table"]["columns"], summary["table"]["rows"]),
    ]
    for each in found:
        about = told.format(100 * each["confidence"], each["repeats"])
        blocks += [Heading(each["title"]), Text(about), *tables.details(each)]
    (run.out / "report.html").write_text(render_page(spec.title, blocks), encoding="utf-8")
    run.progress(3, 3, "parts")
    return shown


def _name(simulation: dict[str, Any]) -> str:
    return simulation["setting"]["name"]
