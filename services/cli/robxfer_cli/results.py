"""What `robxfer run` ends with: it downloads the results of an experiment and prints a short summary of them."""

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

MAX_GROUP = 6
"""A group of named numbers in a result is printed if it has at most this many."""


def download(client: Client, ended: ExperimentView, out: Path) -> dict[str, list[Path]]:
    """Downloads the artifacts of the nodes whose result no other node of the experiment uses.

    Args:
        client: Client of the service.
        ended: An experiment that is done.
        out: Folder for the files. Where there are several such nodes, each gets a folder of its name there.

    Returns:
        Paths of the files by the node's name.
    """
    artifacts = {node.name: node.artifact_id for node in ended.nodes if node.artifact_id and _is_final(node)}
    return {
        name: list(client.download(artifact, out if len(artifacts) == 1 else out / _folder(name)))
        for name, artifact in artifacts.items()
    }


def _is_final(node: NodeView) -> bool:
    # A service older than the field does not send it.
    return not node.taken if node.taken is not None else leaves_report(node.kind)


def summarise(downloads: Mapping[str, list[Path]], console: Console) -> None:
    """Prints reports and tables whole, and the numbers of other results on a line each.

    Args:
        downloads: Paths of downloaded files by the node's name.
        console: Where to print.
    """
    lines = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, files in downloads.items():
        paths = {file.name: file for file in files}
        result = next((_read(paths[file]) for file in ("report.json", "result.json") if file in paths), {})
        if "report.json" in paths:
            tables.print_report(result, console)
        elif "table" in result:
            tables.print_report(result | {"title": f"{name}: {result.get('title', '')}"}, console)
        else:
            lines.add_row(Text(name), Text("  ".join(numbers(result))))
    if lines.rows:
        console.print(lines)


def numbers(result: Mapping[str, Any]) -> Iterator[str]:
    """Formats the numbers of a result: those at its top level, and small groups of named numbers.

    Deeper values describe the job's inputs and are left out. Of learning curves, the end of the first is given: test
    accuracy and the number of epochs.
    """
    for curve in result.get("curves", [])[:1]:
        yield f"test {curve['test'][-1]:.4g} after {len(curve['test'])} epochs"
    for key, value in result.items():
        if _is_number(value):
            yield f"{key} {value:.4g}"
        elif isinstance(value, dict) and 0 < len(value) <= MAX_GROUP and all(map(_is_number, value.values())):
            group = sorted(value.items(), key=lambda item: float(item[0]) if _has_numeric_keys(value) else 0)
            yield f"{key} ({', '.join(f'{name}: {number:.4g}' for name, number in group)})"


def _has_numeric_keys(group: Mapping[str, Any]) -> bool:
    return all(re.fullmatch(r"\d+(\.\d+)?", name) for name in group)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _folder(name: str) -> str:
    """A node's name as a folder name: characters that file systems refuse are escaped, and it stays in its parent."""
    escaped = quote(name, safe="[],=+ ")
    return escaped if not escaped.startswith(".") else "%2E" + escaped[1:]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())
