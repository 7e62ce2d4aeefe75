"""Jobs that lose their worker again and again, and go on elsewhere to the very bytes that they would have left."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import Engine, select

from robxfer_core import messaging
from robxfer_core.jobs.train import Train
from robxfer_core.ledger import experiments
from robxfer_core.ledger.engine import connect, read, write
from robxfer_core.ledger.tables import artifacts, attempts, events, jobs, projects
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.science.training import state as train_state
from robxfer_core.science.transfer.checkpoint import TransferState
from robxfer_core.settings import Settings
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.storage import fetch_files, open_store

from . import servers
from .servers import pause, until
from .stack import expire

pytestmark = pytest.mark.servers

KILLS = 3
JOBS: dict[str, Any] = {
    "digits": {"kind": "dataset", "name": "digits"},
    "small": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 1},
    "seen": {"kind": "features", "model": "small", "dataset": "digits"},
    "train": {
        "kind": "train",
        "dataset": "digits",
        "arch": {"name": "cnn", "width": 0.25},
        "threat": {"norm": "l2", "eps": 0.5},
        "attack": {"steps": 2},
        "holdout_attack_steps": 2,
        "epochs": 12,
        "ema": 0.99,
    },
    "perturb_dataset": {
        "kind": "perturb_dataset",
        "dataset": "digits",
        "generator": "small",
        "threat": {"norm": "l2", "eps": 0.5},
        "attack": {"steps": 50, "random_start": False},
    },
    "transfer": {
        "kind": "transfer",
        "features": "seen",
        "epochs": 100,
        "batch_size": 32,
        "tune_lr": [0.1],
        "tune_weight_decay": [0.0],
    },
}


@pytest.fixture
def settings(migrated_sqlite: Path, tmp_path: Path) -> Settings:
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    return Settings(
        data_dir=tmp_path / "first",
        database_url=f"sqlite:///{tmp_path}/ledger.sqlite",
        broker_url=f"filesystem://{tmp_path}/broker",
        store_url=f"file://{tmp_path}/store",
        slots=3,
        lease_s=5.0,
        sweep_s=0.3,
        wanted_s=0.1,
        checkpoint_s=0.2,
        cpu_threads=1,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = connect(settings.database_url)
    yield engine
    engine.dispose()


def submit(engine: Engine, settings: Settings, project: str) -> dict[str, str]:
    """Submit JOBS in a project of its own. The id of the job of each node."""
    with write(engine) as connection:
        connection.execute(projects.insert().values(id=project, name=project))
    spec: dict[str, Any] = {"name": "resume", "run": {"retries": {"lost": 20}, "backoff_s": 0}, "jobs": JOBS}
    plan = make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))
    submission = experiments.submit(engine, project, spec, plan)
    messaging.notify(settings, submission.queues_ready)
    return {each.name: each.job_id for each in experiments.list_nodes(engine, submission.experiment_id)}


def row(engine: Engine, job_id: str) -> Any:
    with read(engine) as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def interrupt(engine: Engine, worker: servers.Worker, job_id: str, attempt: int) -> None:
    """Wait for a checkpoint of the attempt, and hold its child there."""

    def checkpoint() -> bool:
        job = row(engine, job_id)
        assert job.state != "done", "it ended before it could be interrupted"
        return job.checkpoint is not None and f"{job_id}/{attempt}/" in job.checkpoint["prefix"]

    until(checkpoint)
    pause(worker.job(job_id))


def files(engine: Engine, job_id: str) -> dict[str, str]:
    """The sha256 of each file that a done job left."""
    with read(engine) as connection:
        kept = artifacts.join(jobs, jobs.c.artifact_id == artifacts.c.id)
        manifest = connection.scalar(select(artifacts.c.manifest).select_from(kept).where(jobs.c.id == job_id))
    assert manifest is not None
    return {file["path"]: file["sha256"] for file in manifest["files"]}


def images_kept(checkpoint: Path, total: int) -> int:
    """How many images of digits a checkpoint of perturb_dataset holds: parts of 256, and what is left of a split."""
    counts = json.loads((checkpoint / "state.json").read_text())["parts"]
    return sum(min(256 * counts[split], BUILTIN["digits"][split]) for split in ("train", "test"))


def images_trained(checkpoint: Path, total: int) -> int:
    """How many images a checkpoint of train has taken steps on, each as often as there were epochs."""
    state = torch.load(checkpoint / train_state.FILE, weights_only=True)
    images = total // JOBS["train"]["epochs"]
    return state["epoch"] * images + min(state["step"] * Train.model_fields["batch_size"].default, images)


def epochs_trained(checkpoint: Path, total: int) -> int:
    """How many epochs of heads a checkpoint of transfer has done, of those that were trained and of those that are."""
    state = TransferState.restore(checkpoint, "cpu")
    stages = (state.curves, state.candidates, state.best)
    return sum(
        JOBS["transfer"]["epochs"] * len(each.done) + (len(each.group.losses) if each.group else 0) for each in stages
    )


RESUMED = {"train": images_trained, "perturb_dataset": images_kept, "transfer": epochs_trained}
"""Kinds that go on from a checkpoint, each a job of the spec: how far one is, in the unit of its progress."""


def first_progress(engine: Engine, job_id: str) -> dict[int, dict[str, Any]]:
    """What each attempt said first of how far it was."""
    first: dict[int, dict[str, Any]] = {}
    attempt = 0
    with read(engine) as connection:
        lines = connection.execute(
            select(events.c.type, events.c.data)
            .where(events.c.job_id == job_id, events.c.type.in_(("state", "progress")))
            .order_by(events.c.id)
        ).all()
    for type, data in lines:
        if type == "progress":
            first.setdefault(attempt, data)
        else:
            attempt = data.get("attempt", attempt)
    return first


def test_killed_again_and_again_they_end_bit_identical(settings, engine, tmp_path):
    store = open_store(settings.store_url, settings)
    kept: dict[str, list[Path]] = {kind: [] for kind in RESUMED}
    with servers.worker(settings, tmp_path) as worker:
        through = submit(engine, settings, "through")
        until(lambda: all(row(engine, each).state == "done" for each in through.values()))
        broken = submit(engine, settings, "broken")
        for number in range(1, KILLS + 1):
            with ThreadPoolExecutor() as threads:
                waiting = [threads.submit(interrupt, engine, worker, broken[kind], number) for kind in RESUMED]
            for each in waiting:
                each.result()
            worker.kill()
            for kind in RESUMED:  # what its next attempt begins with, before that replaces it
                manifest = row(engine, broken[kind]).checkpoint
                kept[kind].append(tmp_path / f"kept/{kind}-{number}")
                fetch_files(store, manifest["prefix"], manifest, kept[kind][-1])
                expire(engine, broken[kind])
            worker = servers.start_worker(servers.elsewhere(settings, tmp_path / f"place-{number}"), tmp_path)
        try:
            until(lambda: all(row(engine, each).state == "done" for each in broken.values()))
        finally:
            worker.kill()

    for kind in RESUMED:
        with read(engine) as connection:
            ended = select(attempts.c.outcome).where(attempts.c.job_id == broken[kind]).order_by(attempts.c.number)
            assert list(connection.scalars(ended)) == ["lost"] * KILLS + ["succeeded"], kind
        assert files(engine, broken[kind]) == files(engine, through[kind]), kind
        # Each attempt was held at its first checkpoint, which has more than the last one had; and none began anew.
        said = first_progress(engine, broken[kind])
        total = said[KILLS + 1]["total"]
        held = [RESUMED[kind](checkpoint, total) for checkpoint in kept[kind]]
        assert held == sorted(set(held)), (kind, held)
        for attempt, first in said.items():
            assert attempt == 1 or first["done"] > held[attempt - 2], (kind, attempt, first, held)
