"""What a worker does while something that it needs is away: it goes on without, or waits, and spends no attempt."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from robxfer_core.ledger import events, experiments
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import attempts, jobs
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.settings import Settings
from robxfer_core.spec.datasets import BUILTIN

from . import servers
from .killable import seaweedfs
from .servers import until

pytestmark = pytest.mark.servers

SPEC: dict[str, Any] = {
    "name": "outage",
    "jobs": {"digits": {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20}},
}


@pytest.fixture
def ledger_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    return f"sqlite:///{tmp_path}/ledger.sqlite"


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = connect(ledger_url)
    yield engine
    engine.dispose()


def submit(engine: Engine) -> str:
    plan = make_plan(read_spec(json.dumps(SPEC).encode(), "json"), dict(BUILTIN))
    return experiments.submit(engine, "default", SPEC, plan).experiment_id


def leased_until(engine: Engine, job_id: str) -> float:
    with read(engine) as connection:
        return connection.execute(select(jobs.c.lease_until).where(jobs.c.id == job_id)).scalar_one()


def done(engine: Engine, experiment: str) -> bool:
    return experiments.get_state(engine, "default", experiment) == "done"


def test_no_job_needs_a_broker(ledger_url, engine, tmp_path):
    (port,) = servers.free_ports(1)  # where nobody listens
    settings = Settings(
        data_dir=tmp_path, database_url=ledger_url, broker_url=f"redis://127.0.0.1:{port}/0", slots=1, sweep_s=0.3
    )
    experiment = submit(engine)
    worker = servers.start_worker(settings, tmp_path)
    try:
        until(lambda: done(engine, experiment))
        assert not any(line.get("event") == "ready" for line in worker.lines())  # it still looks for its broker
        assert worker.drain() == 0
    finally:
        worker.kill()


def test_a_store_that_comes_back_costs_no_attempt(ledger_url, engine, tmp_path):
    service = ("tester", "a-secret-of-the-test", "robxfer-test")
    store, endpoint = seaweedfs(tmp_path / "s3", servers.free_ports(8), *service)
    settings = Settings(
        data_dir=tmp_path,
        database_url=ledger_url,
        slots=1,
        sweep_s=0.3,
        wanted_s=0.2,
        **servers.S3(endpoint, *service).settings(),
    )
    try:
        store.start()
        store.kill()
        with servers.worker(settings, tmp_path) as worker:
            experiment = submit(engine)
            until(lambda: any("has to be waited for" in str(line.get("event")) for line in worker.lines()))
            (job,) = experiments.job_ids(engine, "default", experiment)
            held = leased_until(engine, job)
            until(lambda: leased_until(engine, job) > held)  # meanwhile the lease is renewed
            store.start()
            until(lambda: done(engine, experiment))
    finally:
        store.kill()
    with read(engine) as connection:
        assert list(connection.scalars(select(attempts.c.outcome).where(attempts.c.job_id == job))) == ["succeeded"]
    said = [line.data["line"] for line in events.for_job(engine, job, "log")]
    assert said == ["the store is out of reach; trying again"]  # once, to whoever wonders why the job takes so long
