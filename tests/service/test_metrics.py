"""The figures at /metrics: right after attempts of every outcome, readable by Prometheus, their cost bounded."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from robxfer_api.metrics import UNSERVED_QUEUES, exposition
from robxfer_core.ledger import counts, experiments, queue, workers
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import attempts, jobs

pytestmark = pytest.mark.servers


def scrape(ledger: Any, tally: counts.AttemptCounter) -> dict[tuple[str, ...], float]:
    """Samples by (name, label values in the order of their names)."""
    families = list(text_string_to_metric_families(exposition(ledger.engine, tally).decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def set_attempt(ledger: Any, claim: queue.Claim, **values: Any) -> None:
    with write(ledger.engine) as connection:
        mine = (attempts.c.job_id == claim.job_id, attempts.c.number == claim.attempt)
        connection.execute(update(attempts).where(*mine).values(values))


def test_figures_of_attempts_of_every_outcome(ledger):
    tally = counts.AttemptCounter()
    workers.heartbeat(ledger.engine, "w", ["cpu", "idle"], 3, "cpu", {})
    ledger.submit({"a": (), "b": (), "c": (), "d": (), "e": ("a", "d")}, backoff_s=0.0)
    ledger.submit({"elsewhere": ()}, queue="lab")
    won = ledger.claim()
    set_attempt(ledger, won, waited_s=4.0)
    ledger.fence(won).publish("model", {"files": []}, publish_s=0.3)
    ledger.finish(ledger.claim(), "failed")
    lost = ledger.claim(lease_s=-1)
    queue.sweep(ledger.engine)
    set_attempt(ledger, lost, waited_s=100_000.0)
    ledger.claim()
    ledger.set_job("d", ready_at=jobs.c.ready_at - 500)
    with write(ledger.engine) as connection:
        connection.execute(update(attempts).where(attempts.c.outcome == "failed").values(waited_s=70.0))

    seen = scrape(ledger, tally)
    assert {key[1:]: value for key, value in seen.items() if key[0] == "robxfer_queue_depth"} == {
        ("cpu", "waiting"): 1, ("cpu", "ready"): 2, ("cpu", "running"): 1,
        ("lab", "waiting"): 0, ("lab", "ready"): 1, ("lab", "running"): 0,
        ("idle", "waiting"): 0, ("idle", "ready"): 0, ("idle", "running"): 0,
    }  # fmt: skip
    assert 500 <= seen["robxfer_queue_oldest_seconds", "cpu"] < 1000
    assert seen["robxfer_queue_oldest_seconds", "idle"] == 0
    assert (seen["robxfer_workers",], seen["robxfer_slots", "idle"], seen["robxfer_slots", "lab"]) == (1, 3, 0)
    assert {key[1:]: value for key, value in seen.items() if key[0] == "robxfer_attempts_total"} == {
        ("train", "succeeded"): 1, ("train", "failed"): 1, ("train", "lost"): 1,
    }  # fmt: skip
    assert seen["robxfer_lease_losses_total",] == 1
    waits = [seen["robxfer_wait_seconds_bucket", bound, "cpu"] for bound in ("1", "5", "60", "300", "86400", "+Inf")]
    assert waits == [0, 1, 1, 2, 2, 3]
    assert seen["robxfer_wait_seconds_sum", "cpu"] == 100_074.0
    assert seen["robxfer_publish_seconds_bucket", "train", "0.5"] == seen["robxfer_publish_seconds_count", "train"] == 1
    assert seen["robxfer_publish_seconds_bucket", "train", "0.1"] == 0


def test_what_nobody_wants_any_more_is_no_load(ledger):
    tally = counts.AttemptCounter()

    def depth() -> dict[str, float]:
        seen = scrape(ledger, tally)
        assert ("robxfer_queue_oldest_seconds", "cpu") not in seen or seen["robxfer_queue_oldest_seconds", "cpu"] < 500
        return {key[2]: n for key, n in seen.items() if key[:2] == ("robxfer_queue_depth", "cpu") and n}

    ledger.submit({"a": (), "b": ("a",), "c": ("b",)}, retries=0)
    first = ledger.claim()
    assert depth() == {"running": 1, "waiting": 2}
    ledger.finish(first, "failed")
    experiment = ledger.submit({"x": (), "y": ()})
    assert depth() == {"ready": 2}
    taken = ledger.claim()
    ledger.set_job("y", ready_at=jobs.c.ready_at - 500)
    experiments.cancel(ledger.engine, "default", experiment)
    ledger.set_job("y", state="ready")  # as where another made it ready at this moment
    assert depth() == {"running": 1}
    ledger.finish(taken, "stopped")
    assert depth() == {}


def test_queues_that_somebody_made_up_are_summed(ledger):
    tally = counts.AttemptCounter()
    workers.heartbeat(ledger.engine, "w", ["cpu"], 1, "cpu", {})
    ledger.submit({"served": ()})
    for n in range(UNSERVED_QUEUES + 3):
        graph = {f"{n}": ()} if n < 3 else {f"{n}": (), f"{n}b": ()}
        ledger.submit(graph, queue=f"made-up-{n}-x")
    ledger.set_job("1", ready_at=jobs.c.ready_at - 500)
    seen = scrape(ledger, tally)
    depth = {key[1]: n for key, n in seen.items() if key[0] == "robxfer_queue_depth" and key[2] == "ready"}
    assert len(depth) == UNSERVED_QUEUES + 2
    assert (depth["cpu"], depth["other"], depth["made-up-3-x"]) == (1, 3, 2)
    assert 500 <= seen["robxfer_queue_oldest_seconds", "other"] < 1000
    assert seen["robxfer_slots", "other"] == 0


def test_what_ended_long_ago_is_read_once_and_counted_once(ledger):
    tally = counts.AttemptCounter()

    def seen() -> dict[str, float]:
        return {key[2]: n for key, n in scrape(ledger, tally).items() if key[0] == "robxfer_attempts_total"}

    def end(outcome: str, ago: float) -> None:
        ledger.submit({f"{outcome}{ago}": ()}, retries=0)
        claim = ledger.claim()
        ledger.finish(claim, outcome)
        set_attempt(ledger, claim, ended_at=attempts.c.ended_at - ago)

    end("failed", 5000.0)
    end("failed", counts.COMMIT_S + 1)
    end("failed", 0.0)
    assert [seen(), seen()] == [{"failed": 3}] * 2
    end("timed_out", 100.0)  # committed late: others that ended after it were read before
    assert [seen(), seen()] == [{"failed": 3, "timed_out": 1}] * 2
    with write(ledger.engine) as connection:
        connection.execute(update(attempts).values(outcome="stopped"))
    assert seen() == {"failed": 2, "stopped": 2}  # of those long ago nothing is asked again


def test_the_cost_of_a_scrape_does_not_grow_with_history(ledger):
    tally = counts.AttemptCounter()
    ledger.submit({"a": ()})
    with ledger.statements() as sent:
        scrape(ledger, tally)
    assert len([each for each in sent if not each.startswith("BEGIN")]) <= 6
    aggregate = next(each for each in sent if "attempts" in each)
    if ledger.engine.dialect.name == "sqlite":
        with read(ledger.engine) as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {aggregate}", (0.0,) * aggregate.count("?")).all()
        assert "ix_attempts_ended_at" in str(plan)
