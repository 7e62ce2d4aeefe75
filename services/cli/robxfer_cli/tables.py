"""Tables of reports, experiments, jobs and plans, as commands print them without --json."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView
from robxfer_core.spec.wire.jobs import JobView
from robxfer_core.spec.wire.plan import PlanView

MAX_FAILURES = 5
"""Errors of at most so many failed jobs are shown."""
MAX_FOLDERS = 4
"""Files in more folders than this are not listed one by one."""

COLOURS = {
    "done": "green", "running": "cyan", "ready": "cyan", "waiting": "dim", "failed": "red", "cancelled": "yellow",
    "helps": "green", "hinders": "red", "mixed": "yellow", "no_difference": "blue", "not_shown": "dim",
    "unusable": "magenta",
}  # fmt: skip


def print_report(report: dict[str, Any], console: Console) -> None:
    """Prints the result of a study: its verdicts or its table, then its headline.

    Args:
        report: Contents of report.json, or of a result.json that has a table.
        console: Where to print.
    """
    if "verdicts" in report:
        _print_verdicts(report, console)
    if "table" in report:
        _print_table(report, console)
    headline = str(report.get("headline", {}).get("text", ""))
    if headline:
        console.print(headline[:1].upper() + headline[1:] + ".")


def _print_table(report: dict[str, Any], console: Console) -> None:
    table = Table(title=str(report.get("title", "")), title_justify="left", expand=False)
    for column in report["table"]["columns"]:
        table.add_column(str(column), overflow="fold")
    for row in report["table"]["rows"]:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    console.print(table)


def _print_verdicts(report: dict[str, Any], console: Console) -> None:
    table = Table(title=str(report.get("title", "")), title_justify="left", expand=False)
    for column in ("target", "variant", "robustness", "at eps", "points", "interval"):
        table.add_column(column, justify="right" if column in ("at eps", "points", "interval") else "left")
    for row in report.get("verdicts", []):
        table.add_row(
            str(row["target"]),
            str(row["variant"]) + (" (control)" if row.get("control") else ""),
            _coloured(str(row["verdict"])),
            _number(row.get("level"), "g"),
            _points(row.get("difference")),
            "" if row.get("low") is None else f"{_points(row['low'])} to {_points(row['high'])}",
        )
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for row in report.get("verdicts", []):
        if row["verdict"] == "unusable":
            reasons.setdefault(str(row["reason"]), []).append(f"{row['target']}, {row['variant']}")
    for reason, panels in reasons.items():
        console.print(f"unusable ({'; '.join(panels)}): {reason}")


def print_paths(files: list[Path], console: Console) -> None:
    """Prints the paths of downloaded files, or their folders where they lie in more than MAX_FOLDERS."""
    counts = Counter(file.parent for file in files)
    by_folder = [f"{folder} ({count} files)" for folder, count in counts.items()]
    lines = by_folder if len(counts) > MAX_FOLDERS else map(str, files)
    for line in sorted(lines):
        console.print(line, soft_wrap=True)


def print_experiments(page: Page[ExperimentRow], console: Console) -> None:
    """Prints a page of experiments, and the option that gives the next page."""
    table = Table()
    for column in ("id", "name", "state", "jobs", "created"):
        table.add_column(column)
    for row in page.items:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(row.jobs.items()) if n)
        table.add_row(row.id, row.name, _coloured(row.state), counts, _time(row.created_at))
    console.print(table)
    if page.next:
        console.print(f"more: --cursor {page.next}")


def print_experiment(view: ExperimentView, console: Console) -> None:
    """Prints an experiment: its state, and how many nodes of each job of the spec are in which state."""
    console.print(Text.assemble((view.name, "bold"), "  ", view.id, "  ", _coloured(view.state)))
    groups: dict[str, dict[str, int]] = {}
    for node in view.nodes:
        counts = groups.setdefault(f"{node.group}|{node.kind}", {})
        counts[node.state] = counts.get(node.state, 0) + 1
    table = Table()
    for column in ("job", "kind", "nodes", "states"):
        table.add_column(column, justify="right" if column == "nodes" else "left")
    for group, counts in groups.items():
        name, kind = group.split("|")
        states = Text(", ").join(Text(f"{n} ") + _coloured(state) for state, n in counts.items())
        table.add_row(name, kind, str(sum(counts.values())), states)
    console.print(table)


def print_failures(jobs: dict[str, JobView], count: int, console: Console) -> None:
    """Prints why jobs failed.

    Args:
        jobs: Failed jobs by the name of their node.
        count: How many jobs failed in all.
        console: Where to print.
    """
    for name, job in jobs.items():
        message = (job.error or {}).get("message") or "no reason was given"
        console.print(Text.assemble((f"{name}: {job.outcome}:", "red"), f" {message}"), soft_wrap=True)
        for line in (job.error or {}).get("output", []):
            console.print(f"  {line}", style="dim", soft_wrap=True)
    if count > len(jobs):
        console.print(f"and {count - len(jobs)} more that failed")


def print_plan(view: PlanView, console: Console) -> None:
    """Prints a plan: its jobs, how many are done already, the detectable effect and the cost."""
    console.print(f"{view.name}: {sum(group.nodes for group in view.groups)} nodes", style="bold")
    rows = [("job", "kind", "nodes", "done", "GFLOP", "takes")]
    for group in view.groups:
        study = group.name.partition(".")[0] + "."
        after = ", ".join(name.removeprefix(study) for name in group.after)
        takes = after if len(group.after) <= 3 else f"{len(group.after)} jobs"
        counts = (str(group.nodes), f"{group.done}/{group.jobs}", f"{group.flops / 1e9:,.1f}")
        rows.append((group.name, group.kind, *counts, takes))
    for line in _columns(rows, right=(2, 3, 4)):
        console.print(line, soft_wrap=True)  # lines are not cut, so that a file keeps every name whole
    for report, design in (view.detectable_effect or {}).items():
        effect = design.get("effect")
        points = "none: one seed gives no interval" if effect is None else f"{100 * effect:.1f} points"
        console.print(f"detectable effect of {report}: {points} ({design.get('basis', '')})", soft_wrap=True)
    cost = view.cost
    seconds = f"{duration(cost.wall_seconds)} on {cost.slots} slots ({duration(cost.seconds)} of one slot)"
    console.print(f"cost: {cost.flops / 1e12:,.2f} TFLOP, about {seconds}")
    gpus = f"{cost.gpu_seconds / 3600:,.1f} GPU hours, " if cost.gpu_seconds else ""
    console.print(f"needs: {gpus}{decimal(round(cost.bytes))} in the store")
    console.print(f"basis: {cost.basis}", soft_wrap=True)


def _columns(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    """Aligns the cells of all rows; `right` are the positions of columns that are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _coloured(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


def duration(seconds: float | None) -> str:
    """Formats seconds in the unit that suits them: "90 s", "15 min", "2.5 h"."""
    if seconds is None:
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _points(value: Any) -> str:
    return "" if value is None else f"{100 * float(value):+.1f}"


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(float(value), form)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
