"""An attempt: what it may write until another takes its place, how it may end, and what that spends."""

import math

import pytest
from sqlalchemy import select

from robxfer_core.ledger import events, jobs, queue
from robxfer_core.ledger.attempts import LeaseStatus
from robxfer_core.ledger.engine import read
from robxfer_core.ledger.tables import jobs as jobs_table

pytestmark = pytest.mark.servers


def test_an_attempt_writes_until_another_takes_its_place(ledger):
    experiment = ledger.submit({"a": ()})
    old = ledger.claim("w1", lease_s=-1)
    fence = ledger.fence(old)
    assert fence.renew(-1, {"done": 1, "total": 2, "unit": "epoch"}) == LeaseStatus(held=True, wanted=True)
    assert fence.record(metrics=[("loss", 1, 0.5)], log_lines=["one", "two\0"])
    assert fence.save_checkpoint({"prefix": "here"})
    assert queue.sweep(ledger.engine) == ["cpu"]
    new = ledger.claim("w2")
    assert (new.attempt, new.checkpoint) == (2, {"prefix": "here"})

    assert fence.renew(30, {"done": 2}) == LeaseStatus(held=False, wanted=False)
    assert not fence.record(metrics=[("loss", 1, 9.0)], log_lines=["late"])
    assert not fence.save_checkpoint({"prefix": "late"})
    assert not ledger.publish(old)
    assert not ledger.finish(old, "failed")

    assert ledger.publish(new)
    assert not ledger.publish(new)
    found = jobs.get(ledger.engine, "default", old.job_id)
    assert [(each.number, each.worker_id, each.outcome) for each in found.attempts] == [
        (1, "w1", "lost"),
        (2, "w2", "succeeded"),
    ]
    assert found.attempts[1].seconds is not None
    assert jobs.list_metrics(ledger.engine, old.job_id) == [jobs.MetricRecord("loss", 1, 0.5)]
    logs = events.for_job(ledger.engine, old.job_id, "log")
    assert [each.data["line"] for each in logs] == ["one", "two\0"]
    assert ledger.state(experiment) == "done"


def test_measured_values_are_upserted(ledger):
    ledger.submit({"a": ()})
    ours = ledger.claim()
    many = [("loss", step, float(step)) for step in range(5_100)]
    assert ledger.fence(ours).record(metrics=many)
    again = [("loss", 3, 1.0), ("loss", 3, -3.0), ("accuracy", 1, math.nan)]
    assert ledger.fence(ours).record(metrics=again)
    first = jobs.list_metrics(ledger.engine, ours.job_id, limit=3)
    assert [(each.name, each.step, each.value) for each in first] == [
        ("accuracy", 1, None),
        ("loss", 0, 0.0),
        ("loss", 1, 1.0),
    ]
    rest = jobs.list_metrics(ledger.engine, ours.job_id, after=("loss", 2), limit=20_000)
    assert (rest[0].step, rest[0].value, len(rest)) == (3, -3.0, 5_097)


def pause_of(ledger, name):
    """Seconds from the end of its last attempt until the job is tried again; it is then let go on at once."""
    with read(ledger.engine) as connection:
        row = connection.execute(select(jobs_table).where(jobs_table.c.id == ledger.job_id(name))).one()
    ledger.set_job(name, not_before=0.0)
    return round(row.not_before - row.ended_at) if row.not_before else 0


def test_failures_spend_retries_and_back_off_doubling(ledger):
    experiment = ledger.submit({"a": (), "b": ("a",), "other": ()}, retries=2)
    pauses = []
    for outcome in ("failed", "timed_out"):
        ours = ledger.claim()
        assert ours.params["name"] == "a"
        assert ledger.finish(ours, outcome)
        found = jobs.get(ledger.engine, "default", ours.job_id)
        assert (found.state, found.outcome, found.error) == ("ready", outcome, {"message": outcome})
        assert [each.reason for each in found.waiting_for] == ["backoff", "worker"]
        pauses.append(pause_of(ledger, "a"))
    assert pauses == [5, 10]
    for outcome in ("failed", "timed_out"):  # each outcome has a budget of its own
        assert ledger.finish(ledger.claim(), outcome)
        assert ledger.states(experiment)["a"] == "ready"
        ledger.set_job("a", not_before=0.0)
    assert jobs.get(ledger.engine, "default", ours.job_id).spent == {"failed": 2, "timed_out": 2}
    assert ledger.finish(ledger.claim(), "failed")
    assert ledger.state(experiment) == "running"  # the other one may still run
    ledger.drain()
    assert ledger.states(experiment) == {"a": "failed", "b": "waiting", "other": "done"}
    assert ledger.state(experiment) == "failed"


def test_out_of_memory_is_not_tried_again_unless_asked(ledger):
    asked = ledger.submit({"b": ()}, retries={"out_of_memory": 1}, backoff_s=0.0)
    ledger.finish(ledger.claim(), "out_of_memory")
    assert ledger.drain() == ["b"]
    assert ledger.state(asked) == "done"
    experiment = ledger.submit({"a": ()}, retries=5)
    ledger.finish(ledger.claim(), "out_of_memory")
    assert ledger.states(experiment) == {"a": "failed"}
    assert ledger.state(experiment) == "failed"


def test_preemption_spends_nothing(ledger):
    experiment = ledger.submit({"a": ()}, retries=0)
    for _ in range(5):
        assert ledger.finish(ledger.claim(), "preempted")
    assert ledger.drain() == ["a"]
    assert ledger.state(experiment) == "done"


def test_the_third_loss_without_progress_fails_the_job(ledger):
    experiment = ledger.submit({"a": ()}, retries=20)
    for _ in range(5):  # a checkpoint is progress
        ours = ledger.claim(lease_s=-1)
        assert ledger.fence(ours).save_checkpoint({"prefix": "here"})
        queue.sweep(ledger.engine)
        assert pause_of(ledger, "a") == 0
    pauses = []
    for state in ("ready", "failed"):
        ledger.claim(lease_s=-1)
        queue.sweep(ledger.engine)
        assert ledger.states(experiment) == {"a": state}
        pauses.append(pause_of(ledger, "a"))
    assert pauses == [5, 0]
    assert ledger.state(experiment) == "failed"
    assert queue.sweep(ledger.engine) == []


def test_progress_forgives_losses_alone(ledger):
    ledger.submit({"a": ()}, retries=5, backoff_s=3.0)
    pauses = []
    for outcome in ("failed", "lost", "lost", "failed"):
        ours = ledger.claim()
        assert ledger.finish(ours, outcome)
        pauses.append(pause_of(ledger, "a"))
    assert pauses == [3, 3, 6, 12]
    ours = ledger.claim()
    assert ledger.fence(ours).save_checkpoint({})
    assert jobs.get(ledger.engine, "default", ours.job_id).spent == {"failed": 2}


def test_a_sweep_leaves_alone_what_is_held(ledger):
    ledger.submit({"a": ()})
    ours = ledger.claim()
    assert queue.sweep(ledger.engine) == []
    assert ledger.publish(ours)


def test_an_attempt_that_succeeded_is_not_ended_as_one_that_did_not(ledger):
    ledger.submit({"a": ()})
    with pytest.raises(ValueError, match="publish"):
        ledger.finish(ledger.claim(), "succeeded")
