"""Keeps what a run gave under docs/results: `python docs/record.py DATA_DIR SPEC docs/results/NAME`.

Of the newest done experiment of this very spec in the embedded stack of DATA_DIR: the spec, each report, its figures,
the result.json of every job outside a study gathered in results.json, by node, with the pictures of those jobs, and
run.json: versions, machine, and the seconds of its attempts (of the submission that took longest).
"""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, func, select

from robxfer_core import __version__
from robxfer_core.jobs.registry import leaves_report
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import artifacts, attempts, experiments, jobs, nodes
from robxfer_core.planning.experiment import read_spec
from robxfer_core.storage import fetch_files
from robxfer_core.storage.folder import FolderStore

REPORT = ("report.json", "report.html", "figure*.png", "figure*.svg")
PICTURES = ("*.png",)
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "celery", "fastapi", "sqlalchemy")


def main(data_dir: Path, spec: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(spec, folder / "spec.yaml")
    asked = read_spec(spec.read_bytes()).model_dump(mode="json", exclude_unset=True)
    engine = connect(f"sqlite:///{data_dir / 'ledger.sqlite'}")
    found = _experiments(engine, asked)
    made = _artifacts(engine, found[-1].id)
    told = {
        "robxfer": __version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        **_spent(engine, max(found, key=lambda each: each.ended_at - each.created_at)),  # others computed little
    }
    engine.dispose()
    (folder / "run.json").write_text(json.dumps(told, indent=1) + "\n")
    store, results = FolderStore(data_dir / "store"), dict[str, object]()
    alone = sum(leaves_report(each.kind) for each in made) == 1
    for node in made:
        report = leaves_report(node.kind)
        if not report and node.name.partition(".")[0] in asked.get("studies", {}):
            continue
        with tempfile.TemporaryDirectory() as place:
            files = Path(place) / "files"
            fetch_files(store, f"{node.project_id}/{node.job_id}/{node.attempt}", node.manifest, files)
            _copy(files, REPORT if report else PICTURES, folder if report and alone else folder / _plain(node.name))
            if not report:
                results[node.name] = json.loads((files / "result.json").read_text())
    if results:
        (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def _experiments(engine: Engine, asked: dict[str, Any]) -> list[Row[Any]]:
    """Those that are done and have this spec, in their order; there is one."""
    done = select(experiments).where(experiments.c.name == asked["name"], experiments.c.state == "done")
    with read(engine) as connection:
        found = connection.execute(done.order_by(experiments.c.created_at)).all()
    same = [each for each in found if each.spec == asked]
    if not same:
        sys.exit(f"of {len(found)} done experiments named {asked['name']} none has this spec")
    return same


def _artifacts(engine: Engine, experiment_id: str) -> list[Row[Any]]:
    query = (
        select(nodes.c.name, jobs.c.kind, artifacts)
        .join(jobs, jobs.c.id == nodes.c.job_id)
        .join(artifacts, artifacts.c.id == jobs.c.artifact_id)
        .where(nodes.c.experiment_id == experiment_id)
        .order_by(nodes.c.position)
    )
    with read(engine) as connection:
        return list(connection.execute(query))


def _copy(files: Path, names: tuple[str, ...], dest: Path) -> None:
    for path in (path for name in names for path in sorted(files.glob(name))):
        dest.mkdir(exist_ok=True)
        shutil.copy(path, dest / path.name)


def _plain(node: str) -> str:
    """A node's name as a folder that links name as they are: `from-noise[seed=0,eps=1]` is `from-noise-seed0-eps1`."""
    return node.translate({ord("["): "-", ord(","): "-", ord("]"): None, ord("="): None})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _spent(engine: Engine, experiment: Row[Any]) -> dict[str, object]:
    """Wall seconds from submission to end, and what was computed meanwhile: jobs and seconds of one slot, by kind."""
    mine = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment.id).distinct()
    with read(engine) as connection:
        rows = connection.execute(
            select(
                jobs.c.kind,
                func.count(func.distinct(jobs.c.id)),
                func.sum(attempts.c.ended_at - attempts.c.started_at),
            )
            .join(attempts, attempts.c.job_id == jobs.c.id)
            .where(jobs.c.id.in_(mine), attempts.c.started_at >= experiment.created_at)
            .where(attempts.c.ended_at <= experiment.ended_at)
            .group_by(jobs.c.kind)
            .order_by(jobs.c.kind)
        ).all()
    return {
        "wall_seconds": round(experiment.ended_at - experiment.created_at, 1),
        "slot_seconds": round(sum(seconds for _, _, seconds in rows), 1),
        "kinds": {kind: {"jobs": count, "slot_seconds": round(seconds, 1)} for kind, count, seconds in rows},
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
