"""The worker, as a real process with real jobs: what it does with them, those it must stop, and its own end."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from robxfer_core.ledger import experiments, workers
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import events, jobs
from robxfer_core.storage import fetch_files, open_store

from . import servers
from .servers import alive, group_alive, pause, pending, until
from .stack import ENOUGH, LONG, Stack

pytestmark = pytest.mark.servers
GROUP = 54321 if os.geteuid() == 0 else None  # so that files in /proc which are root's are told from the worker's own


KEPT = {b"PATH", b"HOME", b"LANG", b"TMPDIR", b"LD_LIBRARY_PATH", b"CUDA_DEVICE_ORDER"}
"""All that a child may know of its worker's environment."""


@pytest.fixture(scope="module")
def shared(make_stack: Callable[..., Stack]) -> Iterator[tuple[Stack, servers.Worker]]:
    """A stack with a worker that the tests of this module share, each with a job of its own."""
    stack = make_stack()
    with servers.worker(
        stack.settings,
        stack.folder,
        GROUP,
        ROBXFER_S3_SECRET_KEY="hush",
        AWS_SECRET_ACCESS_KEY="hush",
        NVIDIA_API_KEY="hush",
        LD_LIBRARY_PATH="/where/libcuda/is",
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
    fetch_files(store, f"default/{job.id}/1", kept.manifest, tmp_path / "model")
    assert json.loads((tmp_path / "model/result.json").read_text())["model"]["epochs"] == 2
    assert [each.outcome for each in stack.attempts(job.id)] == ["succeeded"]
    until(lambda: not worker.jobs())
    until(lambda: not list((stack.folder / "work/0").iterdir()))

    again = stack.submit(epochs=2, seed=1)  # the same spec computes nothing
    assert stack.ended(again) == "done"
    assert len(stack.attempts(stack.job(again).id)) == 1


def test_the_worker_reports_itself_and_what_it_reads(shared):
    stack, _ = shared
    (row,) = until(lambda: workers.list_live(stack.engine))
    assert (row.queues, row.slots, row.device) == (["cpu"], 2, "cpu")
    assert row.datasets["digits"]["classes"] == 10


def test_a_child_knows_no_secret_and_a_cancelled_one_is_gone(shared):
    stack, worker = shared
    experiment = stack.submit(**LONG, seed=2)
    pid = stack.running(worker, experiment)

    for process in (pid, worker.fork_server()):
        environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        assert {line.partition(b"=")[0] for line in environment if line} <= KEPT
        assert b"LD_LIBRARY_PATH=/where/libcuda/is" in environment
    assert os.getsid(pid) == os.getpgid(pid) == pid
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert sum(name.startswith("socket:") for name in held) == 1  # its channel, and nobody else's
    assert not [name for name in held if "sqlite" in name or name.startswith("pipe:")]
    assert len(os.listdir(f"/proc/{worker.fork_server()}/task")) == 1

    experiments.cancel(stack.engine, "default", experiment)
    until(lambda: not group_alive(pid))
    until(lambda: stack.job(experiment).state == "cancelled")
    assert [each.outcome for each in stack.attempts(stack.job(experiment).id)] == ["stopped"]


def test_a_child_cannot_read_its_workers_environment(shared):
    _, worker = shared
    environment, served = (Path(f"/proc/{pid}/environ").stat() for pid in (worker.process.pid, worker.fork_server()))
    assert (environment.st_mode & 0o777, environment.st_uid, environment.st_gid) == (0o400, 0, 0)
    assert (served.st_uid, served.st_gid) == (
        os.geteuid(),
        GROUP or os.getegid(),
    )  # of any other process it is the user's


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
    assert any("compute.py" in line for line in job.error["trace"])


def test_a_deadline_ends_an_attempt(shared):
    stack, worker = shared
    experiment = stack.submit(**LONG, seed=5, run={"deadline_s": 2, "retries": 0})
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
        before = until(lambda: stack.job(broken).progress)
        pause(pid)  # so that it has not ended when the signal comes
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: pending(pid, signal.SIGTERM))
        os.kill(pid, signal.SIGCONT)
        assert worker.drain() == 0
        assert not alive(pid)
    job = stack.job(broken)
    assert (job.state, [each.outcome for each in stack.attempts(job.id)]) == ("ready", ["preempted"])
    prefix = job.checkpoint["prefix"]
    assert (stack.folder / "store" / prefix).is_dir()
    assert workers.list_live(stack.engine) == []

    other = servers.elsewhere(stack.settings, stack.folder / "other")
    with servers.worker(other, stack.folder) as worker:
        after = until(lambda: (row := stack.job(broken)).attempt == 2 and row.progress)
        assert after["done"] > before["done"]
        assert stack.ended(broken, project) == "done"
        job = stack.job(broken)
        assert [each.outcome for each in stack.attempts(job.id)] == ["preempted", "succeeded"]
        model = {file["path"]: file["sha256"] for file in stack.artifact(job).manifest["files"]}
        same = {file["path"]: file["sha256"] for file in stack.artifact(stack.job(through)).manifest["files"]}
        assert model["model.safetensors"] == same["model.safetensors"]
        until(lambda: not list((stack.folder / "store" / project / job.id).glob("*/checkpoint-*/*")))

        # And one that is killed outright: nothing of it lives on, and the sweep gives its job to another.
        lost = stack.submit(**LONG, seed=8)
        pid = stack.running(worker, lost)
        forks = worker.fork_server()
        worker.kill()
        until(lambda: not alive(pid) and not alive(forks))
        stack.expire(lost)
    with servers.worker(other, stack.folder) as worker:
        job = until(lambda: (row := stack.job(lost)).attempt == 2 and row)
        assert stack.attempts(job.id)[0].outcome == "lost"
        until(lambda: len(list((stack.folder / "other/work/0").iterdir())) == 1)  # what the killed one left is gone
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
