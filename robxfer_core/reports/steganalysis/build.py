"""The job `steganalysis_report`: from the results of a study's jobs to its statistics, figure and page."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.steganalysis_report import SteganalysisReport
from robxfer_core.reports.formatting import points
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, inline_svg
from robxfer_core.reports.page.render import render_page
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report
from robxfer_core.reports.sources import check_sources, read_sources

from . import figure
from .collect import Task, collect
from .summary import summarise

SHOWN = ("target", "variant", "control", "verdict", "reason", "level", "difference", "low", "high", "detectable")
SCHEMA = pa.schema(
    [
        ("job_key", pa.string()),  # of the detection
        ("target", pa.string()),
        ("method", pa.string()),
        ("payload", pa.float64()),
        ("arm", pa.string()),  # family, random_init or highpass
        ("eps", pa.float64()),  # of the source model; null for the other arms
        ("seed", pa.int64()),
        ("pairs", pa.int64()),  # of the test split
        ("p_fa", pa.float64()),
        ("p_md", pa.float64()),
        ("p_e", pa.float64()),
        ("p_e_validation", pa.float64()),
        ("p_null", pa.float64()),  # of the permutation test
    ]
)


def report(spec: SteganalysisReport, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, figure.png, figure.svg, report.html and results.parquet; return verdicts and headline.

    The same inputs give the same bytes. Raises BadStudy where the results do not make a study.
    """
    run.progress(0, 3, "parts")
    tasks = collect(spec, inputs)
    sources = check_sources(read_sources(inputs), 1 - spec.confidence)
    summary = write_report(summarise(spec, tasks, sources), run.out)
    run.progress(1, 3, "parts")
    parquet.write_table(pa.Table.from_pylist(list(rows(tasks)), schema=SCHEMA), run.out / "results.parquet")
    drawn = figure.draw(summary["tasks"], summary["verdicts"])
    (run.out / "figure.png").write_bytes(png(drawn))
    picture = svg(drawn)
    (run.out / "figure.svg").write_bytes(picture)
    run.progress(2, 3, "parts")
    html = render_page(summary["title"], blocks(summary, picture))
    (run.out / "report.html").write_text(html, encoding="utf-8")
    run.progress(3, 3, "parts")
    return {
        "title": summary["title"],
        "headline": summary["headline"],
        "verdicts": [{name: verdict[name] for name in SHOWN} for verdict in summary["verdicts"]],
    }


def rows(tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """results.parquet: a row for every detector."""
    for task in tasks:
        for each in task.detections:
            arm = "highpass" if each.network else "random_init" if each.random else "family"
            yield {
                "job_key": each.key,
                "target": task.label,
                **task.embedding["embedding"],
                "arm": arm,
                "eps": each.eps if arm == "family" else None,
                "seed": each.seed,
                "p_e_validation": each.result["validation"]["p_e"],
                **{name: each.result[name] for name in ("pairs", "p_fa", "p_md", "p_e", "p_null")},
            }


def blocks(summary: dict[str, Any], picture: bytes) -> list[Block]:
    """The page of a report.json."""
    verdicts = [(v["target"], v["verdict"].replace("_", " "), v["reason"]) for v in summary["verdicts"]]
    settings = summary["settings"]
    return [
        Headline(summary["headline"]["text"]),
        Picture(inline_svg(picture), "P_E by robustness of the source. Bars: intervals over seeds and test pairs."),
        Heading("Verdicts"),
        Table(("task", "verdict", "why"), verdicts, f"1 - P_E against that of eps 0, margin {settings['margin']:g}"),
        Heading("P_E"),
        Table(("task", "detector", "P_E", "gain over eps 0 (points)", "largest p (permutation)"), _cells(summary)),
        Heading("What was embedded"),
        Table(("task", "pixels changed (test)", "mean change", "l2 norm", "pairs, train and test"), _embedded(summary)),
        Heading("Source models"),
        Table(("eps", "clean accuracy", "at its own eps", "eps 0 there"), _sources(summary)),
        Heading("How to read this"),
        Text(
            "P_E is the mean of false alarms among covers and missed stegos; chance is .5. Every threshold is the best "
            "one on validation pairs. A pair of cover and stego is the unit of the intervals and stays on one side of "
            "every split. The permutation test exchanges the labels within pairs. A task counts only where the "
            f"high-pass network, trained on it from end to end, reaches P_E below {settings['max_p_e']:g}."
        ),
    ]


def _cells(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    out = []
    for task in summary["tasks"]:
        lines = [("eps " + f"{r['eps']:g}", r["p_e"], r.get("gain"), r["p_null"]) for r in task["levels"]]
        if task["random_init"]:
            lines.append(("random network", task["random_init"], None, []))
        lines.append(("high-pass network", task["reference"], None, task["reference_p_null"]))
        for name, band, gain, p in lines:
            out.append((task["label"], name, error_text(band), points(gain) if gain else "-", _p(p)))
    return out


def error_text(band: dict[str, Any]) -> str:
    """'0.312 [0.290, 0.334]'."""
    known = band["low"] is not None
    return f"{band['mean']:.3f}" + (f" [{max(band['low'], 0):.3f}, {min(band['high'], 1):.3f}]" if known else "")


def _p(values: list[float]) -> str:
    return "-" if not values else "< 0.001" if max(values) < 1e-3 else f"{max(values):.3f}"


def _embedded(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            task["label"],
            f"{100 * task['change']['test']['rate']:.1f} %",
            f"{task['change']['test']['mean']:+.4f}",
            f"{task['change']['test']['l2']:.3f}",
            f"{task['pairs']['train']}, {task['pairs']['test']}",
        )
        for task in summary["tasks"]
    ]


def _sources(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    return [
        (f"{row['eps']:g}", percent(row["clean"]["mean"]), percent(row.get("own")), percent(row.get("standard")))
        for row in summary["sources"]["levels"]
    ]
