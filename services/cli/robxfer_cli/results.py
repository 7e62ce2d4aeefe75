"""What `robxfer run` ends with: the files that its experiment is for, and what they say, in short."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from robxfer_core.client import Client
from robxfer_core.jobs.registry import leaves_report
from robxfer_core.spec.wire.experiments import ExperimentView, NodeView

from . import tables

FEW = 6
"""Numbers of one kind in a result that are shown, at the most; the file has all."""


def download(client: Client, ended: ExperimentView, out: Path) -> dict[str, list[Path]]:
    """Fetches what nodes left that no other takes. Returns the files by node.

    They lie in `out` where there is one such node, else in a folder of each node's name there.
    """
    wanted = {node.name: node.artifact_id for node in ended.nodes if node.artifact_id and _comes_out(node)}
    return {
        name: list(client.download(artifact, out if len(wanted) == 1 else out / _folder(name)))
        for name, artifact in wanted.items()
    }


def _comes_out(node: NodeView) -> bool:
    # An older service does not say what is taken.
    return not node.taken if node.taken is not None else leaves_report(node.kind)


def tell(found: Mapping[str, list[Path]], console: Console) -> None:
    """What has a table or verdicts, by them; of other results, a line of their numbers."""
    lines = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, files in found.items():
        paths = {file.name: file for file in files}
        told = next((_read(paths[each]) for each in ("report.json", "result.json") if each in paths), {})
        if "report.json" in paths:
            tables.report(told, console)
        elif "table" in told:
            tables.report(told | {"title": f"{name}: {told.get('title', '')}"}, console)
        else:
            lines.add_row(Text(name), Text("  ".join(numbers(told))))
    if lines.rows:
        console.print(lines)


def numbers(told: Mapping[str, Any]) -> Iterator[str]:
    """Its numbers, and those of what has a few of them by name; not what describes its inputs, which is deeper.

    Of learning curves, where the first of them ends: test accuracy, and after how many epochs.
    """
    for curve in told.get("curves", [])[:1]:
        yield f"test {curve['test'][-1]:.4g} after {len(curve['test'])} epochs"
    for key, value in told.items():
        if _is_number(value):
            yield f"{key} {value:.4g}"
        elif isinstance(value, dict) and 0 < len(value) <= FEW and all(map(_is_number, value.values())):
            named = sorted(value.items(), key=lambda item: float(item[0]) if _by_number(value) else 0)
            yield f"{key} ({', '.join(f'{name}: {number:.4g}' for name, number in named)})"


def _by_number(named: Mapping[str, Any]) -> bool:
    return all(re.fullmatch(r"\d+(\.\d+)?", name) for name in named)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _folder(name: str) -> str:
    """A node's name as a folder's: what files cannot be called is escaped, and no name leads elsewhere."""
    plain = quote(name, safe="[],=+ ")
    return plain if not plain.startswith(".") else "%2E" + plain[1:]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())
