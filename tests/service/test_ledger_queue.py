"""The queue, one step at a time: what is claimed and when, why a job waits, and what is counted."""

import pytest
from sqlalchemy import update

from robxfer_core.ledger import counts, experiments, jobs, queue, workers
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import projects
from robxfer_core.ledger.tables import workers as workers_table
from robxfer_core.spec.states import AttemptOutcome

pytestmark = pytest.mark.servers

CHAIN = {"a": (), "b": ("a",), "c": ("a", "b")}


def test_a_chain_runs_in_order_and_each_job_gets_its_inputs(ledger):
    experiment = ledger.submit(CHAIN)
    assert ledger.states(experiment) == {"a": "ready", "b": "waiting", "c": "waiting"}
    first = ledger.claim()
    assert queue.claim(ledger.engine, "v", ["cpu"], 600, "cpu") is None
    ledger.publish(first)
    ledger.publish(ledger.claim())
    last = ledger.claim()
    assert [(each.field, each.index, each.key) for each in last.inputs] == [
        ("inputs", 0, first.key),
        ("inputs", 1, last.inputs[1].key),
    ]
    assert last.inputs[0].prefix == first.prefix == f"default/{first.job_id}/1"
    assert last.inputs[0].manifest["files"][0]["path"] == "result.json"
    ledger.publish(last)
    assert ledger.state(experiment) == "done"
    assert ledger.history(experiment) == [
        ("experiment", "running"),
        ("a", "running"),
        ("a", "done"),
        ("b", "ready"),
        ("b", "running"),
        ("b", "done"),
        ("c", "ready"),
        ("c", "running"),
        ("c", "done"),
        ("experiment", "done"),
    ]


def test_a_commit_is_on_disk_before_it_is_answered(ledger):
    asked = {"sqlite": ("PRAGMA synchronous", 2), "postgresql": ("SHOW synchronous_commit", "on")}
    statement, full = asked[ledger.engine.dialect.name]
    with read(ledger.engine) as connection:
        assert connection.exec_driver_sql(statement).scalar() == full


def test_a_job_that_takes_one_result_twice_waits_for_it_once(ledger):
    experiment = ledger.submit({"a": (), "b": ("a", "a")})
    assert ledger.drain() == ["a", "b"]
    assert ledger.state(experiment) == "done"


def test_priority_first_then_age_and_only_the_queues_asked_for(ledger):
    ledger.submit({"old": ()})
    ledger.submit({"young": ()})
    ledger.submit({"urgent": ()}, priority=5)
    ledger.submit({"elsewhere": ()}, queue="gpu", priority=9)
    assert ledger.drain() == ["urgent", "old", "young"]
    assert ledger.claim(queue_name="gpu").queue == "gpu"


def test_a_claim_says_for_which_experiments_it_is(ledger):
    first, second, ended = (ledger.submit({"a": [], "a~again": []}) for _ in range(3))
    experiments.cancel(ledger.engine, "default", ended)
    assert ledger.claim().experiments == [first, second]


def test_a_job_is_not_claimed_before_its_time(ledger):
    ledger.submit({"a": ()})
    ledger.finish(ledger.claim(), "failed")
    assert queue.claim(ledger.engine, "w", ["cpu"], 30, "cpu") is None
    assert queue.sweep(ledger.engine) == []
    ledger.set_job("a", not_before=0.0)
    assert queue.sweep(ledger.engine) == ["cpu"]


def test_a_quota_holds_back_a_project_and_is_named(ledger):
    ledger.submit({"a": (), "b": ()})
    with write(ledger.engine) as connection:
        connection.execute(update(projects).values(quota=1))
    ours = ledger.claim()
    assert queue.claim(ledger.engine, "w", ["cpu"], 30, "cpu") is None
    workers.heartbeat(ledger.engine, "w", ["cpu"], 2, "cpu", {})
    held = jobs.get(ledger.engine, "default", ledger.job_id("b"))
    assert [each.reason for each in held.waiting_for] == ["quota"]
    ledger.publish(ours)
    assert ledger.claim().params["name"] == "b"


def test_a_slot_takes_jobs_of_as_many_gpus_as_it_has(ledger):
    ledger.submit({"one": ()}, queue="t")
    ledger.submit({"four": ()}, queue="t", gpus=4)  # waits in the queue t4

    def taken(gpus):
        claim = queue.claim(ledger.engine, "w", ["t", "t4"], 30, "cuda", gpus)
        return claim and (claim.params["name"], claim.gpus)

    assert [taken(2), taken(4), taken(4), taken(1)] == [None, ("four", 4), None, ("one", 1)]
    ledger.submit({"more": ()}, queue="t", gpus=4)
    assert taken(None) == ("more", 4)  # by as many processes


def test_a_job_moves_with_its_gpus_to_the_queue_named_last(ledger):
    ledger.submit({"a": ()}, queue="gpu", gpus=2)
    ledger.submit({"a": ()}, queue="gpu")
    assert queue.claim(ledger.engine, "w", ["gpu2"], 30, "cuda", 2) is None
    claim = queue.claim(ledger.engine, "w", ["gpu"], 30, "cuda", 1)
    assert claim is not None
    assert (claim.queue, claim.gpus) == ("gpu", 1)


def test_why_a_job_waits(ledger):
    def reasons(name):
        return jobs.get(ledger.engine, "default", ledger.job_id(name)).waiting_for

    experiment = ledger.submit({**CHAIN, "x": ()}, queue="gpu")
    assert [(each.reason, each.detail) for each in reasons("c")] == [
        ("inputs", "needs a (ready), b (waiting)"),
    ]
    assert reasons("c")[0].jobs == [ledger.job_id("a"), ledger.job_id("b")]
    start = "start a worker with ROBXFER_QUEUES=gpu"
    assert reasons("a")[0].detail == f"no live worker serves the queue gpu; {start}"
    ledger.submit({"m": ()}, queue="gpu", gpus=2)
    assert reasons("m")[0].detail == (f"no live worker serves the queue gpu2; {start}2 and ROBXFER_GPUS_PER_SLOT=2")
    ledger.submit({"m": ()}, queue="cpu", gpus=3)
    assert reasons("m")[0].detail == "no live worker serves the queue cpu3; start a worker with ROBXFER_QUEUES=cpu3"
    workers.heartbeat(ledger.engine, "w", ["gpu", "cpu"], 1, "cuda", {})
    assert reasons("a")[0].detail == "the 1 slots of the queue gpu are busy; 0 jobs come before it"
    assert reasons("x")[0].detail == "the 1 slots of the queue gpu are busy; 1 jobs come before it"
    workers.mark_gone(ledger.engine, "w")
    assert reasons("a")[0].reason == "worker"
    ledger.claim(queue_name="gpu")
    assert reasons("a") == []
    experiments.cancel(ledger.engine, "default", experiment)
    assert reasons("x") == []


def test_workers_and_what_they_read(ledger):
    assert workers.known_datasets(ledger.engine) is None
    workers.heartbeat(ledger.engine, "w1", ["cpu"], 2, "cpu", {"digits": {"classes": 10}})
    workers.heartbeat(ledger.engine, "w2", ["gpu"], 1, "cuda", {"mnist": {}})
    workers.heartbeat(ledger.engine, "w1", ["cpu", "big"], 3, "cpu", {"digits": {"classes": 5}})
    assert [(each.id, each.queues, each.slots) for each in workers.list_live(ledger.engine)] == [
        ("w1", ["cpu", "big"], 3),
        ("w2", ["gpu"], 1),
    ]
    assert workers.known_datasets(ledger.engine) == {"digits": {"classes": 5}, "mnist": {}}
    with write(ledger.engine) as connection:
        connection.execute(update(workers_table).where(workers_table.c.id == "w2").values(seen_at=0.0))
    assert workers.known_datasets(ledger.engine) == {"digits": {"classes": 5}}  # what is live counts, while any is
    workers.mark_gone(ledger.engine, "w1")
    assert workers.list_live(ledger.engine) == []
    assert workers.known_datasets(ledger.engine) == {"digits": {"classes": 5}, "mnist": {}}


def test_figures(ledger):
    ledger.submit({"a": (), "b": (), "c": ()})
    ledger.finish(ledger.claim(), "failed")
    ledger.publish(ledger.claim())
    ledger.publish(ledger.claim())
    assert counts.queue_depth(ledger.engine) == {("cpu", "ready"): 1}
    ended = counts.AttemptCounter().read(ledger.engine)
    done = ended["train", "cpu", AttemptOutcome.SUCCEEDED]
    assert (done.flops, done.count) == (2e9, 2)
    assert done.seconds >= 0
    assert {key: each.count for key, each in ended.items()} == {
        ("train", "cpu", "failed"): 1,
        ("train", "cpu", "succeeded"): 2,
    }
