"""Keeps what a run gave under docs/results: `python docs/record.py OUT DATA_DIR SPEC docs/results/NAME`.

Copies spec, reports and pictures, gathers the result.json of jobs without a report in results.json, by node, and writes
run.json: versions, machine, and the seconds of the attempts behind the newest experiment of the embedded stack in
DATA_DIR that has the spec's name.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from sqlalchemy import func, select

from robxfer_core import __version__
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import attempts, experiments, jobs, nodes
from robxfer_core.spec.experiment import read_spec

REPORT = ("report.json", "report.html", "figure*.png", "figure*.svg")
PICTURES = ("*.png",)
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "celery", "fastapi", "sqlalchemy")


def main(out: Path, data_dir: Path, spec: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(spec, folder / "spec.yaml")
    results: dict[str, object] = {}
    for result in sorted(out.rglob("result.json")):
        node = result.parent.relative_to(out)
        report = (result.parent / "report.json").exists()
        if not report:
            results[str(node)] = json.loads(result.read_text())
        for path in (path for name in (REPORT if report else PICTURES) for path in sorted(result.parent.glob(name))):
            dest = folder / _plain(node)
            dest.mkdir(exist_ok=True)
            shutil.copy(path, dest / path.name)
    if results:
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    told = {
        "robxfer": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        **_spent(data_dir, read_spec(spec.read_bytes()).name),
    }
    (folder / "run.json").write_text(json.dumps(told, indent=1) + "\n")


def _plain(node: Path) -> str:
    """A node's name as a folder that links name as they are: `from-noise[seed=0,eps=1]` is `from-noise-seed0-eps1`."""
    return str(node).translate({ord("["): "-", ord(","): "-", ord("]"): None, ord("="): None})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _spent(data_dir: Path, name: str) -> dict[str, object]:
    """Jobs and seconds of one slot, by kind; and the wall seconds from submission to end, of the first of this spec."""
    engine = connect(f"sqlite:///{data_dir / 'ledger.sqlite'}")
    with read(engine) as connection:
        done = select(experiments).where(experiments.c.name == name, experiments.c.state == "done")
        found = connection.execute(done.order_by(experiments.c.created_at)).all()
        first = next(each for each in found if each.spec == found[-1].spec)  # later ones computed nothing
        mine = select(nodes.c.job_id).where(nodes.c.experiment_id == first.id).distinct()
        spent = func.sum(attempts.c.ended_at - attempts.c.started_at)
        rows = connection.execute(
            select(jobs.c.kind, func.count(func.distinct(jobs.c.id)), spent)
            .join(attempts, attempts.c.job_id == jobs.c.id)
            .where(jobs.c.id.in_(mine))
            .group_by(jobs.c.kind)
            .order_by(jobs.c.kind)
        ).all()
    engine.dispose()
    return {
        "wall_seconds": round(first.ended_at - first.created_at, 1),
        "slot_seconds": round(sum(seconds for _, _, seconds in rows), 1),
        "kinds": {kind: {"jobs": count, "slot_seconds": round(seconds, 1)} for kind, count, seconds in rows},
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
