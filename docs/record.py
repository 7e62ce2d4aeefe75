"""Keeps what a run gave under docs/results: `python docs/record.py OUT DATA_DIR SPEC docs/results/NAME`.

Copies spec, report and pictures, and writes run.json: versions, machine, and the seconds of the attempts behind the
newest experiment of the embedded stack in DATA_DIR that has the spec's name.
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

FILES = ("report.json", "report.html", "figure*.png", "figure*.svg")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "celery", "fastapi", "sqlalchemy")


def main(out: Path, data_dir: Path, spec: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (path for name in FILES for path in sorted(out.glob(name))):
        shutil.copy(path, folder / path.name)
    shutil.copy(spec, folder / "spec.yaml")
    told = {
        "robxfer": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        **_spent(data_dir, read_spec(spec.read_bytes()).name),
    }
    (folder / "run.json").write_text(json.dumps(told, indent=1) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _spent(data_dir: Path, name: str) -> dict[str, object]:
    """Jobs and seconds of one slot, by kind; and the wall seconds from submission to end."""
    engine = connect(f"sqlite:///{data_dir / 'ledger.sqlite'}")
    with read(engine) as connection:
        newest = select(experiments).where(experiments.c.name == name, experiments.c.state == "done")
        found = connection.execute(newest.order_by(experiments.c.created_at.desc()).limit(1)).one()
        mine = select(nodes.c.job_id).where(nodes.c.experiment_id == found.id).distinct()
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
        "wall_seconds_of_the_last_submission": round(found.ended_at - found.created_at, 1),
        "slot_seconds": round(sum(seconds for _, _, seconds in rows), 1),
        "kinds": {kind: {"jobs": count, "slot_seconds": round(seconds, 1)} for kind, count, seconds in rows},
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
