"""Seconds to submit a plan, and to claim and publish a job, on SQLite."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from robxfer_core.jobs.base import Running
from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.shapes import Shapes
from robxfer_core.ledger import experiments, queue
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import connect
from robxfer_core.ledger.migrate import upgrade
from robxfer_core.planning.plan import InputRef, Node, Plan
from robxfer_core.spec.records import FileEntry

NODES = 300


def run() -> Iterator[dict[str, Any]]:
    """A plan of one data set, half of the rest trainings on it, half evaluations of those."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
        upgrade(url)
        engine = connect(url)
        began = perf_counter()
        experiments.submit(engine, "default", {"name": "bench"}, _plan())
        yield {"what": "submit", "nodes": NODES, "ms": round(1e3 * (perf_counter() - began), 1)}
        spent = {"claim": 0.0, "publish": 0.0}
        for _ in range(NODES):
            began = perf_counter()
            claim = queue.claim(engine, "bench", ["cpu"], 600.0, "cpu")
            assert claim is not None
            claimed = perf_counter()
            files: list[FileEntry] = [{"path": "result.json", "size": 2, "sha256": "0" * 64}]
            assert Fence(engine, claim.job_id, claim.attempt).publish(
                claim.artifact_type, {"files": files, "type": claim.artifact_type, "kind": claim.kind, "key": claim.key}
            )
            spent["claim"] += claimed - began
            spent["publish"] += perf_counter() - claimed
        for what, seconds in spent.items():
            yield {"what": what, "nodes": NODES, "ms": round(1e3 * seconds / NODES, 2)}
        engine.dispose()


def _plan() -> Plan:
    def node(name: str, *inputs: str) -> Node:
        refs = tuple(InputRef("dataset", i, each, _key(each)) for i, each in enumerate(inputs))
        job = Dataset(name="digits")
        return Node(name, "train", 1, {"name": name}, _key(name), refs, Running(), "model", job, Shapes(), 1e9, 1e6)

    half = (NODES - 1) // 2
    models = [node(f"m{i}", "data") for i in range(half)]
    rest = [node(f"e{i}", f"m{i % half}") for i in range(NODES - 1 - half)]
    return Plan((node("data"), *models, *rest))


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
