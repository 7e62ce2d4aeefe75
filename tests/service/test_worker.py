"""The worker, as a real process with real jobs: what it does with them, those it must stop, and its own end."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from robxfer_core import bell
from robxfer_core.artifacts import fetch_manifest, open_store
from robxfer_core.ledger import experiments, workers
from robxfer_core.ledger.engine import connect, read, write
from robxfer_core.ledger.tables import artifacts, attempts, events, jobs, metrics, projects
from robxfer_core.plan import make_plan
from robxfer_core.settings import Settings
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.experiment import read_spec

from . import servers
from .servers import alive, group_alive, until

pytestmark = pytest.mark.servers

DIGITS = {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20}
LONG = 10_000
ENOUGH = 600  # epochs: seconds of work, so that a job can be met while it runs, and seen to its end
HURRIED: dict[str, Any] = {
    "slots": 2,
    "lease_s": 6.0,
    "sweep_s": 0.3,
    "wanted_s": 0.2,
    "checkpoint_s": 0.5,
    "grace_s": 15.0,
}


@dataclass
class Stack:
    """A database, a broker and a store, and what tests ask of them."""

    settings: Settings
    engine: Engine
    folder: Path

    def submit(
        self, *, project: str = "default", epochs: int = 1, run: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """Submit a data set and a training on it (of no epochs: the data set alone), and ring. The experiment's id."""
        train = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": epochs, **more}
        made = {"digits": DIGITS} | ({"model": train} if epochs else {})
        spec: dict[str, Any] = {"name": "test", "run": run or {}, "jobs": made}
        plan = make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))
        submission = experiments.submit(self.engine, project, spec, plan)
        bell.ring(self.settings, submission.queues_ready)
        return submission.experiment_id

    def ended(self, experiment: str, project: str = "default") -> str:
        """Wait for the experiment to end. Its state then."""
        return until(lambda: self._end(experiment, project))

    def _end(self, experiment: str, project: str) -> str | None:
        state = experiments.state(self.engine, project, experiment)
        return None if state == "running" else state

    def job(self, experiment: str, node: str = "model") -> Any:
        """The row of the job of a node."""
        member = next(each for each in experiments.jobs_of(self.engine, experiment) if each.name == node)
        with read(self.engine) as connection:
            return connection.execute(select(jobs).where(jobs.c.id == member.job_id)).one()

    def attempts(self, job_id: str) -> list[Any]:
        with read(self.engine) as connection:
            rows = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
            return list(connection.execute(rows))

    def artifact(self, job: Any) -> Any:
        with read(self.engine) as connection:
            return connection.execute(select(artifacts).where(artifacts.c.id == job.artifact_id)).one()

    def running(self, worker: servers.Worker, experiment: str) -> int:
        """Wait until the training runs and has measured something. The process id of its child."""

        def measured() -> bool:
            with read(self.engine) as connection:
                mine = metrics.c.job_id == self.job(experiment).id
                return connection.execute(select(metrics).where(mine).limit(1)).first() is not None

        until(measured)
        (pid,) = worker.jobs()
        return pid

    def project(self, name: str) -> str:
        with write(self.engine) as connection:
            connection.execute(projects.insert().values(id=name, name=name))
        return name


@pytest.fixture(scope="module")
def make_stack(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    with contextlib.ExitStack() as engines:

        def make(**given: Any) -> Stack:
            folder = tmp_path_factory.mktemp("stack")
            shutil.copy(migrated_sqlite, folder / "ledger.sqlite")
            told: dict[str, Any] = {**HURRIED, "data_dir": folder, **given}
            settings = Settings(**told)
            engine = connect(settings.database_url)
            engines.callback(engine.dispose)
            return Stack(settings, engine, folder)

        yield make


@pytest.fixture(scope="module")
def shared(make_stack: Callable[..., Stack]) -> Iterator[tuple[Stack, servers.Worker]]:
    """A stack with a worker that the tests of this module share, each with a job of its own."""
    stack = make_stack()
    with servers.worker(
        stack.settings, stack.folder, ROBXFER_S3_SECRET_KEY="hush", AWS_SECRET_ACCESS_KEY="hush"
    ) as worker:
        yield stack, worker


def test_a_plan_runs_to_its_end_and_leaves_nothing_behind(shared, tmp_path):
    stack, worker = shared
    experiment = stack.submit(epochs=2, seed=1)
    assert stack.ended(experiment) == "done"
    job = stack.job(experiment)
    kept = stack.artifact(job)
    assert {file["path"] for file in kept.manifest["files"]} >= {"model.json", "model.safetensors", "result.json"}
    assert (kept.manifest["kind"], kept.manifest["key"], kept.type) == ("train", job.key, "model")
    store = open_store(stack.settings.store_url, stack.settings)
    fetch_manifest(store, f"default/{job.id}/1", kept.manifest, tmp_path / "model")
    assert json.loads((tmp_path / "model/result.json").read_text())["model"]["epochs"] == 2
    assert [each.outcome for each in stack.attempts(job.id)] == ["succeeded"]
    until(lambda: not worker.jobs())
    until(lambda: not list((stack.folder / "work/0").iterdir()))

    again = stack.submit(epochs=2, seed=1)  # the same spec computes nothing
    assert stack.ended(again) == "done"
    assert len(stack.attempts(stack.job(again).id)) == 1


def test_the_worker_reports_itself_and_what_it_reads(shared):
    stack, _ = shared
    (row,) = workers.live(stack.engine)
    assert (row.queues, row.slots, row.device) == (["cpu"], 2, "cpu")
    assert row.datasets["digits"]["classes"] == 10


def test_a_child_knows_no_secret_and_a_cancelled_one_is_gone(shared):
    stack, worker = shared
    experiment = stack.submit(epochs=LONG, seed=2)
    pid = stack.running(worker, experiment)

    for process in (pid, worker.fork_server()):
        environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        assert {line.partition(b"=")[0] for line in environment if line} <= {b"PATH", b"HOME", b"LANG", b"TMPDIR"}
    assert os.getsid(pid) == os.getpgid(pid) == pid
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert sum(name.startswith("socket:") for name in held) == 1  # its channel, and nobody else's
    assert not [name for name in held if "sqlite" in name or name.startswith("pipe:")]
    assert len(os.listdir(f"/proc/{worker.fork_server()}/task")) == 1

    experiments.cancel(stack.engine, "default", experiment)
    until(lambda: not group_alive(pid), 10)
    until(lambda: stack.job(experiment).state == "cancelled")
    assert [each.outcome for each in stack.attempts(stack.job(experiment).id)] == ["stopped"]


def test_a_killed_child_is_a_failed_attempt_and_is_tried_again(shared):
    stack, worker = shared
    experiment = stack.submit(epochs=ENOUGH, seed=3)
    os.kill(stack.running(worker, experiment), signal.SIGKILL)
    job = until(lambda: (row := stack.job(experiment)).state != "running" and row)
    assert (job.state, job.spent) == ("ready", {"failed": 1})
    (first,) = stack.attempts(job.id)
    assert (first.outcome, first.error["class"]) == ("failed", "Killed")
    assert "SIGKILL" in first.error["message"]
    with write(stack.engine) as connection:  # what the pause before a retry would do
        connection.execute(jobs.update().where(jobs.c.id == job.id).values(not_before=0.0))
    assert stack.ended(experiment) == "done"
    assert [each.outcome for each in stack.attempts(job.id)] == ["failed", "succeeded"]


def test_an_error_of_a_job_is_told_with_its_trace(shared):
    stack, _ = shared
    experiment = stack.submit(epochs=1, seed=4, run={"retries": 0, "queue": "later"})
    job = stack.job(experiment)
    with write(stack.engine) as connection:  # a plan would have refused it
        broken = job.params | {"arch": job.params["arch"] | {"input_size": 3}}
        connection.execute(jobs.update().where(jobs.c.id == job.id).values(params=broken, queue="cpu"))
    assert stack.ended(experiment) == "failed"
    job = stack.job(experiment)
    assert (job.state, job.outcome) == ("failed", "failed")
    assert job.error["class"] == "ValidationError"
    assert "input_size" in job.error["message"]
    assert any("kinds.py" in line for line in job.error["trace"])


def test_a_deadline_ends_an_attempt(shared):
    stack, worker = shared
    experiment = stack.submit(epochs=LONG, seed=5, run={"deadline_s": 2, "retries": 0})
    assert stack.ended(experiment) == "failed"
    assert [each.outcome for each in stack.attempts(stack.job(experiment).id)] == ["timed_out"]
    until(lambda: not worker.jobs())


def test_a_damaged_input_is_named(shared):
    stack, _ = shared
    project = stack.project("damaged")
    digits = stack.submit(project=project, epochs=0)
    assert stack.ended(digits, project) == "done"
    name = f"{project}/{stack.job(digits, 'digits').id}/1/dataset.json"
    (stack.folder / "store" / name).write_text("{}")
    experiment = stack.submit(project=project, run={"retries": 0})
    assert stack.ended(experiment, project) == "failed"
    error = stack.job(experiment).error
    assert error["class"] == "Corrupt"
    assert name in error["message"]


def test_a_drained_worker_gives_its_job_back_and_another_ends_it_the_same(make_stack):
    stack = make_stack(slots=1)
    with servers.worker(stack.settings, stack.folder) as worker:
        through = stack.submit(epochs=ENOUGH, seed=7)
        assert stack.ended(through) == "done"
        project = stack.project("other")  # keys are shared within a project alone
        broken = stack.submit(project=project, epochs=ENOUGH, seed=7)
        pid = stack.running(worker, broken)
        assert worker.drain() == 0
        assert not alive(pid)
    job = stack.job(broken)
    assert (job.state, [each.outcome for each in stack.attempts(job.id)]) == ("ready", ["preempted"])
    prefix = job.checkpoint["prefix"]
    assert (stack.folder / "store" / prefix).is_dir()
    assert workers.live(stack.engine) == []

    with servers.worker(stack.settings, stack.folder) as worker:
        assert stack.ended(broken, project) == "done"
        job = stack.job(broken)
        assert [each.outcome for each in stack.attempts(job.id)] == ["preempted", "succeeded"]
        model = {file["path"]: file["sha256"] for file in stack.artifact(job).manifest["files"]}
        same = {file["path"]: file["sha256"] for file in stack.artifact(stack.job(through)).manifest["files"]}
        assert model["model.safetensors"] == same["model.safetensors"]
        until(lambda: not list((stack.folder / "store" / project / job.id).glob("*/checkpoint-*/*")))

        # And one that is killed outright: nothing of it lives on, and the sweep gives its job to another.
        lost = stack.submit(epochs=LONG, seed=8)
        pid = stack.running(worker, lost)
        forks = worker.fork_server()
        worker.process.kill()
        worker.process.wait()
        until(lambda: not alive(pid) and not alive(forks), 10)
    with servers.worker(stack.settings, stack.folder) as worker:
        job = until(lambda: (row := stack.job(lost)).attempt == 2 and row)
        assert stack.attempts(job.id)[0].outcome == "lost"
        until(lambda: len(list((stack.folder / "work/0").iterdir())) == 1)  # what the killed one left is gone
        experiments.cancel(stack.engine, "default", lost)
        until(lambda: stack.job(lost).state == "cancelled")


def test_on_servers(postgres, migrated_postgres, make_stack, tmp_path):
    """PostgreSQL, a Redis-protocol broker and S3, by URL alone."""
    with servers.valkey(tmp_path / "valkey") as broker, servers.s3(tmp_path / "s3") as s3:
        stack = make_stack(database_url=postgres(migrated_postgres), broker_url=broker, **s3.settings())
        with servers.worker(stack.settings, stack.folder) as worker:
            experiment = stack.submit(matrix={"seed": [1, 2, 3, 4]})
            assert stack.ended(experiment) == "done"
            with read(stack.engine) as connection:
                assert connection.execute(select(events.c.id).where(events.c.type == "state")).all()
            assert worker.drain() == 0
