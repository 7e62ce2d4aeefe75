"""A worker that was paused past its lease: another has its job, and nothing that it still says is taken."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from robxfer_core import messaging
from robxfer_core.ledger import experiments
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.queue import prefix_of
from robxfer_core.ledger.tables import artifacts, attempts, jobs
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.settings import Settings
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.storage import open_store
from tests.chaos.worker import HOLDS, ask_to_hold, held

from . import servers
from .servers import alive, until
from .stack import ENOUGH, expire

pytestmark = pytest.mark.servers

SPEC: dict[str, Any] = {
    "name": "stale",
    "jobs": {
        "digits": {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20},
        "model": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": ENOUGH},
    },
}


@pytest.fixture
def settings(postgres: Callable[..., str], migrated_postgres: str, tmp_path: Path) -> Settings:
    """On PostgreSQL, which ends a transaction that a worker stands still in; on SQLite it would hold up everybody."""
    return Settings(
        data_dir=tmp_path,
        database_url=postgres(migrated_postgres),
        slots=1,
        sweep_s=0.3,
        wanted_s=0.2,
        checkpoint_s=0.2,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = connect(settings.database_url)
    yield engine
    engine.dispose()


@contextmanager
def holding(settings: Settings, folder: Path) -> Iterator[servers.Worker]:
    """A worker that can be made to stop where it is about to publish."""
    worker = servers.start_worker(settings, folder, "tests.chaos.worker", **{HOLDS: str(folder)})
    try:
        until(worker.ready)
        yield worker
    finally:
        worker.kill()


def submit(engine: Engine, settings: Settings) -> str:
    """The id of the training."""
    plan = make_plan(read_spec(json.dumps(SPEC).encode(), "json"), dict(BUILTIN))
    submission = experiments.submit(engine, "default", SPEC, plan)
    messaging.notify(settings, submission.queues_ready)
    return next(
        each.job_id for each in experiments.list_nodes(engine, submission.experiment_id) if each.name == "model"
    )


def row(engine: Engine, job_id: str) -> Any:
    with read(engine) as connection:
        return connection.execute(select(jobs).where(jobs.c.id == job_id)).one()


def outcomes(engine: Engine, job_id: str) -> list[str | None]:
    with read(engine) as connection:
        ended = select(attempts.c.outcome).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
        return list(connection.scalars(ended))


def whys(worker: servers.Worker, job_id: str) -> list[str]:
    """Why the worker says that it lost the job."""
    return [line["why"] for line in worker.lines() if line.get("event") == "lost" and line["job"] == job_id]


def kept(engine: Engine, job_id: str) -> list[Any]:
    with read(engine) as connection:
        return list(connection.execute(select(artifacts).where(artifacts.c.job_id == job_id)))


def test_a_late_publish_is_refused_and_its_files_are_left(settings, engine, tmp_path):
    with holding(settings, tmp_path / "stale") as stale:
        job_id = submit(engine, settings)
        ask_to_hold(tmp_path / "stale", job_id)
        pid, job, attempt = until(lambda: held(tmp_path / "stale"))
        assert (pid, job, attempt) == (stale.process.pid, job_id, 1)
        expire(engine, job_id)
        with servers.worker(settings, tmp_path / "other"):
            until(lambda: row(engine, job_id).state == "done")
            before = kept(engine, job_id)
            stale.process.send_signal(signal.SIGCONT)
            assert until(lambda: whys(stale, job_id)) == ["the ledger refused the write: publish"]
    (artifact,) = kept(engine, job_id)
    assert [artifact] == before
    assert (artifact.attempt, row(engine, job_id).artifact_id) == (2, artifact.id)
    assert outcomes(engine, job_id) == ["lost", "succeeded"]
    store = open_store(settings.store_url, settings)
    for number in (1, 2):  # the first's were all stored, and stay until they are collected
        for file in artifact.manifest["files"]:
            assert b"".join(store.stream(f"{prefix_of('default', job_id, number)}/{file['path']}"))


def test_a_worker_paused_while_its_child_computes_writes_nothing_more(settings, engine, tmp_path):
    brief = settings.model_copy(update={"lease_s": 6.0})
    with servers.worker(brief, tmp_path / "stale") as stale:
        job_id = submit(engine, settings)
        checkpoint = until(lambda: row(engine, job_id).checkpoint)
        child = stale.job(job_id)
        stale.pause()
        try:
            until(lambda: not alive(child))  # it has not heard of its lease for as long as one lasts
            with servers.worker(settings, tmp_path / "other"):
                until(lambda: row(engine, job_id).state == "done")
                stale.process.send_signal(signal.SIGCONT)
                assert len(until(lambda: whys(stale, job_id))) == 1
        finally:
            stale.process.send_signal(signal.SIGCONT)
    assert outcomes(engine, job_id) == ["lost", "succeeded"]
    assert [artifact.attempt for artifact in kept(engine, job_id)] == [2]
    assert checkpoint["prefix"].startswith(prefix_of("default", job_id, 1))
