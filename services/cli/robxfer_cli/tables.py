"""Tables: what commands print for people."""

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

FAILURES = 5  # failed jobs of which the error is shown
MANY = 4  # folders; of more, files are not shown one by one

COLOURS = {
    "done": "green", "running": "cyan", "ready": "cyan", "waiting": "dim", "failed": "red", "cancelled": "yellow",
    "helps": "green", "hinders": "red", "mixed": "yellow", "no_difference": "blue", "not_shown": "dim",
    "unusable": "magenta",
}  # fmt: skip


def report(report: dict[str, Any], console: Console) -> None:
    """What a study ends with: its verdicts, or a table of its own, and its headline."""
    if "verdicts" in report:
        _verdicts(report, console)
    if "table" in report:
        _table(report, console)
    told = str(report.get("headline", {}).get("text", ""))
    if told:
        console.print(told[:1].upper() + told[1:] + ".", markup=False, highlight=False)


def _table(report: dict[str, Any], console: Console) -> None:
    table = Table(title=str(report.get("title", "")), title_justify="left", expand=False)
    for column in report["table"]["columns"]:
        table.add_column(str(column), overflow="fold")
    for row in report["table"]["rows"]:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    console.print(table)


def _verdicts(report: dict[str, Any], console: Console) -> None:
    """Does robustness help, target by target."""
    table = Table(title=str(report.get("title", "")), title_justify="left", expand=False)
    for column in ("target", "variant", "robustness", "at eps", "points", "interval"):
        table.add_column(column, justify="right" if column in ("at eps", "points", "interval") else "left")
    for row in report.get("verdicts", []):
        table.add_row(
            str(row["target"]),
            str(row["variant"]) + (" (control)" if row.get("control") else ""),
            coloured(str(row["verdict"])),
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
        console.print(f"unusable ({'; '.join(panels)}): {reason}", markup=False, highlight=False)


def written(files: list[Path], console: Console) -> None:
    """The paths of what was written; where they lie in many folders, the folders."""
    folders = Counter(file.parent for file in files)
    many = len(folders) > MANY
    lines = [f"{folder} ({count} files)" for folder, count in folders.items()] if many else map(str, files)
    for line in sorted(lines):
        console.print(line, highlight=False, soft_wrap=True)


def experiments(page: Page[ExperimentRow], console: Console) -> None:
    table = Table()
    for column in ("id", "name", "state", "jobs", "created"):
        table.add_column(column)
    for row in page.items:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(row.jobs.items()) if n)
        table.add_row(row.id, row.name, coloured(row.state), counts, _when(row.created_at))
    console.print(table)
    if page.next:
        console.print(f"more: --cursor {page.next}", highlight=False)


def experiment(view: ExperimentView, console: Console) -> None:
    """One experiment: its jobs, a line for each job of the spec."""
    console.print(Text.assemble((view.name, "bold"), "  ", view.id, "  ", coloured(view.state)))
    groups: dict[str, dict[str, int]] = {}
    for node in view.nodes:
        counts = groups.setdefault(f"{node.group}|{node.kind}", {})
        counts[node.state] = counts.get(node.state, 0) + 1
    table = Table()
    for column in ("job", "kind", "nodes", "states"):
        table.add_column(column, justify="right" if column == "nodes" else "left")
    for group, counts in groups.items():
        name, kind = group.split("|")
        states = Text(", ").join(Text(f"{n} ") + coloured(state) for state, n in counts.items())
        table.add_row(name, kind, str(sum(counts.values())), states)
    console.print(table)


def failures(jobs: dict[str, JobView], count: int, console: Console) -> None:
    """Why jobs failed, by the name of their node; `count`: how many did in all."""
    for name, job in jobs.items():
        told = (job.error or {}).get("message") or "no reason was given"
        console.print(Text.assemble((f"{name}: {job.outcome}:", "red"), f" {told}"), highlight=False, soft_wrap=True)
        for line in (job.error or {}).get("output", []):
            console.print(f"  {line}", style="dim", highlight=False, soft_wrap=True)
    if count > len(jobs):
        console.print(f"and {count - len(jobs)} more that failed", highlight=False)


def plan(view: PlanView, console: Console) -> None:
    """The graph of a plan by jobs of the spec, what is done already, the detectable effect and the cost."""
    console.print(f"{view.name}: {sum(group.nodes for group in view.groups)} nodes", style="bold", highlight=False)
    rows = [("job", "kind", "nodes", "done", "GFLOP", "takes")]
    for group in view.groups:
        study = group.name.partition(".")[0] + "."
        after = ", ".join(name.removeprefix(study) for name in group.after)
        takes = after if len(group.after) <= 3 else f"{len(group.after)} jobs"
        counts = (str(group.nodes), f"{group.done}/{group.jobs}", f"{group.flops / 1e9:,.1f}")
        rows.append((group.name, group.kind, *counts, takes))
    for line in _columns(rows, right=(2, 3, 4)):
        # As wide as it is: a terminal wraps or scrolls, and a file keeps every name whole.
        console.print(line, highlight=False, soft_wrap=True)
    for report, found in (view.detectable_effect or {}).items():
        effect = found.get("effect")
        told = "none: one seed gives no interval" if effect is None else f"{100 * effect:.1f} points"
        console.print(
            f"detectable effect of {report}: {told} ({found.get('basis', '')})", highlight=False, soft_wrap=True
        )
    cost = view.cost
    seconds = f"{span(cost.wall_seconds)} on {cost.slots} slots ({span(cost.seconds)} of one slot)"
    console.print(f"cost: {cost.flops / 1e12:,.2f} TFLOP, about {seconds}", highlight=False)
    gpus = f"{cost.gpu_seconds / 3600:,.1f} GPU hours, " if cost.gpu_seconds else ""
    console.print(f"needs: {gpus}{decimal(round(cost.bytes))} in the store", highlight=False)
    console.print(f"basis: {cost.basis}", highlight=False, soft_wrap=True)


def _columns(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def coloured(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _points(value: Any) -> str:
    return "" if value is None else f"{100 * float(value):+.1f}"


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(float(value), form)


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
