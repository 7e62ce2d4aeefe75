"""The results of every kind at toy size (results.yaml): computed in a process of their own, and held against a record.

Where the environment is the recorded one in all that arithmetic depends on (ARITHMETIC), result.json and files are
compared exactly; files that other libraries render or compress (RENDERED) where all of the environment is the same.
Elsewhere result.json is compared within the tolerance of compare.py, and of files the names alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from .chain import SPEC, Computed, Environment, Results
from .compare import differences
from .keys import ROOT, plan_nodes

FILE = Path(__file__).with_name("results.json")
ARITHMETIC = ("machine", "cpu_capability", "threads", "torch", "torchvision", "numpy", "scipy", "scikit-learn")
RENDERED = (".png", ".svg", ".parquet", ".zip", ".tar")
FIXED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""Environment of the process: one thread, and instructions that nearly every x86-64 machine has, so that more machines
compute the same bits."""


class Record(TypedDict):
    """results.json."""

    environment: Environment
    results: Results


@dataclass(frozen=True)
class Change:
    """A job that left something else than the record says."""

    node: str
    kind: str
    recipe: int
    owed: bool
    """Whether its key is the recorded one, and what it takes did not change."""
    difference: str

    def __str__(self) -> str:
        return f"{self.node}: the result of kind {self.kind}, recipe {self.recipe}, changed ({self.difference})"


def current(record: Path | None, **environ: str) -> Record:
    """What a record of now says, reports computed from the results in a record where one is given.

    Keywords are environment variables, over FIXED.
    """
    with tempfile.TemporaryDirectory(prefix="robxfer-golden-") as folder:
        output = Path(folder) / "results.json"
        command = [sys.executable, "-m", "tests.golden.chain", str(output), *([str(record)] if record else [])]
        subprocess.run(command, cwd=ROOT, env=os.environ | FIXED | environ, check=True)
        return json.loads(output.read_text())


def recorded() -> Record:
    """What the record says."""
    return json.loads(FILE.read_text())


def write(record: Record) -> None:
    """Write results.json, a line for each job."""
    lines = ",\n".join(
        f"{json.dumps(node)}: {json.dumps(job, sort_keys=True)}" for node, job in record["results"].items()
    )
    FILE.write_text(f'{{"environment": {json.dumps(record["environment"])},\n"results": {{\n{lines}\n}}}}\n')


def changes(record: Record, now: Record) -> Iterator[Change]:
    """Every job whose result differs, in the order of the plan."""
    exact = all(record["environment"].get(name) == now["environment"].get(name) for name in ARITHMETIC)
    rendered = record["environment"] == now["environment"]
    inputs = {node.name: {ref.node for ref in node.inputs} for node in plan_nodes(SPEC)}
    changed: set[str] = set()
    for node in [*now["results"], *(record["results"].keys() - now["results"].keys())]:
        before, after = record["results"].get(node), now["results"].get(node)
        if before is None or after is None:
            job, difference = (after or before), "it is not in the record" if after else "it is in the record alone"
            assert job is not None
            yield Change(node, job["kind"], job["recipe"], after is None, difference)
        elif before["key"] != after["key"]:
            difference = f"it was recorded of recipe {before['recipe']} and key {before['key'][:12]}"
            yield Change(node, after["kind"], after["recipe"], False, difference)
        elif difference := next(_job_differences(before, after, exact=exact, rendered=rendered), None):
            yield Change(node, after["kind"], after["recipe"], not changed & inputs[node], difference)
        else:
            continue
        changed.add(node)


def _job_differences(before: Computed, after: Computed, *, exact: bool, rendered: bool) -> Iterator[str]:
    yield from differences(before["result"], after["result"], exact=exact, at="result.json")
    for name in sorted(before["files"].keys() | after["files"].keys()):
        one, other = before["files"].get(name), after["files"].get(name)
        if one is None or other is None:
            yield f"{name}: {'a file that is not recorded' if one is None else 'no such file now'}"
        elif one != other and (rendered if name.endswith(RENDERED) else exact):
            yield f"{name}: another content"
