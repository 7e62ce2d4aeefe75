"""Which worker takes which job, and jobs of several devices: ranks that compute as one, and end as one."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load

from robxfer_cli.stack import started
from robxfer_core.client import Client
from robxfer_core.ledger.engine import write
from robxfer_core.ledger.tables import jobs
from robxfer_core.storage import open_store

from . import servers
from .servers import alive, children_of, until, working_folder
from .stack import DIGITS, LONG, Stack

pytestmark = pytest.mark.servers

PAIR = {"queue": "cpu", "gpus": 2, "retries": 20}


@pytest.fixture(scope="module")
def stack(make_stack: Callable[..., Stack]) -> Stack:
    return make_stack(queues=["cpu", "cpu2"], slots=1)


@pytest.fixture
def worker(stack: Stack) -> Iterator[servers.Worker]:
    with servers.worker(stack.settings, stack.folder) as worker:
        yield worker


def ranks_of(child: int) -> list[int]:
    """The ranks that a child has started by torchrun."""
    return [rank for agent in children_of(child) for rank in children_of(agent)]


def test_two_processes_end_a_training_as_one_does(stack, worker):
    training = {"epochs": 3, "batch_size": 31, "matrix": {"threat.eps": [0.0, 0.5]}, "attack": {"steps": 2}}
    alone, pair = stack.project("alone"), stack.project("pair")  # keys are shared within a project alone
    experiments = {
        alone: stack.submit(project=alone, **training),
        pair: stack.submit(project=pair, **training, run=PAIR),
    }
    store = open_store(stack.settings.store_url, stack.settings)
    for project, experiment in experiments.items():
        assert stack.ended(experiment, project) == "done"
    for eps in ("0", "0.5"):
        made = []
        for project, experiment in experiments.items():
            job = stack.job(experiment, f"model[eps={eps}]")
            assert (job.queue, job.gpus) == (("cpu", 1) if project == alone else ("cpu2", 2))
            made.append(load(b"".join(store.stream(f"{project}/{job.id}/{job.attempt}/model.safetensors"))))
        one, two = made
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_a_job_of_high_priority_goes_first_whichever_queue_it_waits_in(make_stack):
    stack = make_stack(queues=["cpu", "gpu"], slots=1)
    jobs: dict[str, Any] = {f"set{n}": {**DIGITS, "max_train": 50 + n} for n in range(3)}
    experiment = stack.ask({**jobs, "urgent": {**DIGITS, "run": {"queue": "gpu", "priority": 100}}})
    with servers.worker(stack.settings, stack.folder):
        assert stack.ended(experiment) == "done"
    assert min([*jobs, "urgent"], key=lambda name: stack.job(experiment, name).started_at) == "urgent"


def test_an_error_of_a_rank_is_that_of_the_job(stack, worker):
    experiment = stack.submit(epochs=1, seed=2, run={**PAIR, "queue": "later", "retries": 0})
    job = stack.job(experiment)
    with write(stack.engine) as connection:  # a plan would have refused it
        broken = job.params | {"arch": job.params["arch"] | {"input_size": 3}}
        connection.execute(jobs.update().where(jobs.c.key == job.key).values(params=broken, queue="cpu2"))
        connection.execute(jobs.update().where(jobs.c.kind == "dataset").values(queue="cpu"))
    assert stack.ended(experiment) == "failed"
    error = stack.job(experiment).error
    assert (error["class"], error["rank"]) in {("ValidationError", 0), ("ValidationError", 1)}
    assert any("compute.py" in line for line in error["trace"])


def test_no_rank_outlives_its_job_and_a_preempted_one_goes_on_with_another_number(stack):
    def again(ended: int) -> tuple[str, dict[str, Any]]:
        """Wait for that attempt's end; its outcome and error. What the pause before a retry would do is done."""
        attempt = until(lambda: (row := stack.attempts(job)[ended - 1]).outcome and row)
        with write(stack.engine) as connection:
            connection.execute(jobs.update().where(jobs.c.id == job, jobs.c.state == "ready").values(not_before=0.0))
        return attempt.outcome, attempt.error or {}

    def running(attempt: int) -> tuple[int, list[int]]:
        """Wait until the attempt computes. Its child, and its ranks."""
        until(lambda: (row := stack.job(experiment)).attempt == attempt and row.progress)
        (child,) = worker.jobs()
        ranks = ranks_of(child)
        assert len(ranks) == 2
        return child, ranks

    experiment = stack.submit(**LONG, seed=1, run=PAIR)
    job = stack.job(experiment).id
    with servers.worker(stack.settings, stack.folder) as worker:
        child, ranks = running(1)
        os.kill(ranks[1], signal.SIGKILL)
        outcome, error = again(1)
        assert (outcome, error["class"]) == ("failed", "Killed")
        assert "rank" in error["message"]
        assert error["output"]  # torchrun's last lines
        until(lambda: not any(map(alive, (child, *ranks))))

        child, ranks = running(2)
        os.kill(child, signal.SIGKILL)
        assert again(2)[0] == "failed"
        until(lambda: not any(map(alive, ranks)))

        child, ranks = running(3)
        worker.kill()
        until(lambda: not any(map(alive, (child, *ranks))))
        stack.expire(experiment)
    with servers.worker(stack.settings, stack.folder) as worker:
        assert again(3)[0] == "lost"
        child, ranks = running(4)
        done = stack.job(experiment).progress["done"]
        assert worker.drain() == 0
        assert again(4)[0] == "preempted"
        until(lambda: not any(map(alive, (child, *ranks))))
    stopped = stack.job(experiment)
    assert stopped.checkpoint
    with servers.worker(stack.settings.model_copy(update={"queues": ["cpu"]}), stack.folder) as worker:
        alone = stack.submit(**LONG, seed=1)
        moved = stack.job(alone)
        assert (moved.id, moved.queue, moved.gpus) == (job, "cpu", 1)
        until(lambda: (row := stack.job(alone)).attempt == 5 and row.progress)
        assert stack.job(alone).progress["done"] > done
        (child,) = worker.jobs()
        assert ranks_of(child) == []


def test_a_cancel_frees_the_device_at_once_and_stops_what_nobody_else_needs(tmp_path, monkeypatch):
    """Of a job that takes a step's notice of a signal, and of one that is deep in an attack and takes none.

    At once is without the time that a job has to write a checkpoint: all day, here.
    """
    monkeypatch.setenv("ROBXFER_GRACE_S", "86400")
    data = {"kind": "dataset", "name": "digits"}
    steps = {"kind": "train", "dataset": "data", "arch": {"name": "cnn"}, **LONG}
    deep = {**steps, "threat": {"eps": 0.5}, "attack": {"steps": 10_000}, "batch_size": 1000}

    def spec(**made: dict[str, Any]) -> bytes:
        return json.dumps({"name": "stop", "jobs": {"data": data, **made}}).encode()

    def working(job: str) -> list[str]:
        """The processes of the job, by the folder that they work in."""
        return [link for pid in os.listdir("/proc") if pid.isdigit() and job in (link := working_folder(int(pid)))]

    with started(tmp_path / "data", worker=True) as url, Client(url) as client:
        both, one = client.submit(spec(deep=deep, steps=steps), "json"), client.submit(spec(steps=steps), "json")
        jobs = {node.name: node.job_id for node in client.get(both.id).nodes}
        until(lambda: working(jobs["deep"]) and client.job(jobs["steps"]).progress)
        for experiment, stopped in ((both.id, "deep"), (one.id, "steps")):
            client.cancel(experiment)
            until(lambda id=jobs[stopped]: not working(id) and client.job(id).state == "cancelled")
            assert [each.outcome for each in client.job(jobs[stopped]).attempts] == ["stopped"]
            if stopped == "deep":
                assert (client.job(jobs["steps"]).state, client.job(jobs["steps"]).attempt) == ("running", 1)


def test_a_gpu_is_locked_whatever_others_it_is_used_with(tmp_path):
    """One who takes GPUs 0 and 1 has 0 and waits for 1, which another holds alone; then it has both, while it lives."""

    def free(gpu: int) -> bool:
        with open(tmp_path / f"robxfer-gpu-{gpu}.lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    code = "import sys; from robxfer_worker.child import lock_gpus; lock_gpus(['1', '0']); print(); sys.stdin.read()"
    with open(tmp_path / "robxfer-gpu-1.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        until(lambda: not free(0))
    assert both.stdout is not None
    assert both.stdout.readline() == b"\n"  # it waited no longer than until the other was done
    assert (free(0), free(1)) == (False, False)
    both.communicate()
    assert (free(0), free(1)) == (True, True)
