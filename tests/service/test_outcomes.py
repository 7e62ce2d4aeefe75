"""How attempts end, from the spec to what is told of them: outcomes, errors with their last lines, retries of each."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import update

from robxfer_core.ledger import events
from robxfer_core.ledger.engine import write
from robxfer_core.ledger.tables import artifacts

from . import servers
from .servers import until
from .stack import DIGITS, LONG, Stack

pytestmark = pytest.mark.servers

TRAIN = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 1}
WORDY = {
    "kind": "perturb_dataset",
    "dataset": "digits",
    "generator": "model",
    "threat": {"norm": "l2", "eps": 0.0001},
    "attack": {"steps": 5, "random_start": False},
    "raise_eps": {"until": 1.0, "factor": 1.001, "limit": 1000},  # a line of log at each of many tries
}


@pytest.fixture(scope="module")
def shared(make_stack: Callable[..., Stack]) -> Iterator[tuple[Stack, servers.Worker]]:
    stack = make_stack()
    with servers.worker(stack.settings, stack.folder) as worker:
        yield stack, worker


def endings(stack: Stack, experiment: str, node: str = "model") -> list[tuple[str, str | None]]:
    """The outcome and the class of the error of each attempt."""
    tried = stack.attempts(stack.job(experiment, node).id)
    return [(each.outcome, each.error and each.error["class"]) for each in tried]


def test_a_job_that_asks_for_too_much_memory_is_tried_as_often_as_its_spec_says(shared):
    stack, _ = shared
    project = stack.project("starved")
    digits = stack.submit(project=project, epochs=0)
    assert stack.ended(digits, project) == "done"
    job = stack.job(digits, "digits")
    kept = stack.artifact(job)
    path = stack.folder / f"store/{project}/{job.id}/1/dataset.json"
    card = json.loads(path.read_text())
    card["splits"]["train"]["n"] = 2**52  # more bytes than any address has
    path.write_text(json.dumps(card))
    entry: dict[str, Any] = {"path": "dataset.json", "size": path.stat().st_size}
    entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    files = [entry, *(each for each in kept.manifest["files"] if each["path"] != "dataset.json")]
    with write(stack.engine) as connection:
        mine = artifacts.c.id == kept.id
        connection.execute(update(artifacts).where(mine).values(manifest={**kept.manifest, "files": files}))

    once = stack.submit(project=project, run={"retries": 5, "backoff_s": 0})
    assert stack.ended(once, project) == "failed"
    assert endings(stack, once) == [("out_of_memory", "RuntimeError")]  # another try seldom helps
    twice = stack.submit(project=project, seed=1, run={"retries": {"out_of_memory": 1, "failed": 0}, "backoff_s": 0})
    assert stack.ended(twice, project) == "failed"
    assert endings(stack, twice) == [("out_of_memory", "RuntimeError")] * 2
    assert "allocate" in stack.job(twice).error["message"]
    assert stack.job(twice).outcome == "out_of_memory"


def test_a_deadline_has_retries_of_its_own_after_a_pause(shared):
    stack, worker = shared
    retries = {"timed_out": 1, "failed": 0}
    experiment = stack.submit(**LONG, seed=3, run={"deadline_s": 1, "retries": retries, "backoff_s": 0.5})
    assert stack.ended(experiment) == "failed"
    assert endings(stack, experiment) == [("timed_out", "TimedOut")] * 2
    first, second = stack.attempts(stack.job(experiment).id)
    assert second.started_at - first.ended_at >= 0.5
    assert "deadline_s" in stack.job(experiment).error["message"]
    until(lambda: not worker.jobs())


def test_an_error_carries_the_last_lines_of_the_log(shared):
    stack, worker = shared
    jobs = {"digits": DIGITS, "model": TRAIN, "moved": {**WORDY, "run": {"retries": {"failed": 0}}}}
    experiment = stack.ask(jobs)

    def said() -> list[str]:
        lines = events.for_job(stack.engine, stack.job(experiment, "moved").id, "log")
        return [each.data["line"] for each in lines]

    until(lambda: len(said()) > 30)
    (pid,) = worker.jobs()
    os.kill(pid, signal.SIGKILL)
    assert stack.ended(experiment) == "failed"
    assert endings(stack, experiment, "moved") == [("failed", "Killed")]
    last = stack.job(experiment, "moved").error["output"]
    assert len(last) == 20
    assert set(said()[-10:]) & set(last)
    assert all(line.startswith("eps ") for line in last)
