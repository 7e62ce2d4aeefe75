"""What goes by its age: artifacts and checkpoints that nobody may need any more, and history."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, update

from robxfer_core.ledger import artifacts, experiments, retention
from robxfer_core.ledger import events as history
from robxfer_core.ledger.engine import NotFound, now, write
from robxfer_core.ledger.tables import experiments as all_experiments
from robxfer_core.ledger.tables import idempotency, workers
from robxfer_core.storage import collection

from .place import DAY, Watched, amid, artifact_of, sound

pytestmark = pytest.mark.servers

ROUNDS = 8


def test_old_artifacts_go_unless_somebody_may_need_them(place):
    ledger = place.ledger
    done, live, recent = ledger.submit({"a": (), "b": ("a",)}), ledger.submit({"c": ()}), ledger.submit({"d": ()})
    pinned = ledger.submit({"p": ()})
    place.work()
    ledger.submit({"c": (), "later": ("c",)}, queue="elsewhere")
    reader = ledger.submit({"e": (), "f": ("e",)})
    place.publish(ledger.claim())
    ledger.claim()  # of f, which reads e
    experiments.cancel(ledger.engine, "default", reader)
    place.age(40)
    with write(ledger.engine) as connection:
        connection.execute(
            update(all_experiments)
            .where(all_experiments.c.id == recent)
            .values(ended_at=all_experiments.c.ended_at + 30 * DAY)
        )
    kept = artifact_of(ledger, pinned, "p")
    artifacts.pin(ledger.engine, "default", kept)
    assert place.gc() == []
    assert place.gc(days=50) == []
    expected = [("artifact", f"default/{ledger.job_id(name)}/1") for name in "ab"]
    before = place.everything()
    assert place.gc(days=30, dry_run=True) == sorted(expected)
    assert place.everything() == before
    assert place.gc(days=30) == sorted(expected)
    assert ledger.states(done) == {"a": "cancelled", "b": "cancelled"}
    assert [ledger.states(each)[name] for each, name in ((live, "c"), (recent, "d"), (pinned, "p"), (reader, "e"))] == [
        "done"
    ] * 4
    assert experiments.get_state(ledger.engine, "default", done) == "done"
    again = ledger.submit({"a": (), "b": ("a",)})
    assert ledger.states(again) == {"a": "ready", "b": "waiting"}  # computed again when asked for
    place.work()
    assert ledger.state(again) == "done"
    assert artifacts.pin(ledger.engine, "default", kept, pinned=False).pinned_at is None
    assert ("artifact", f"default/{ledger.job_id('p')}/1") in place.gc(days=30)


def test_what_waits_for_an_evicted_result_waits_for_it_again(place):
    ledger = place.ledger
    experiment = ledger.submit({"a": (), "b": (), "c": ("a", "b")}, retries=0)
    place.publish(ledger.claim())
    ledger.finish(ledger.claim(), "failed")
    assert ledger.states(experiment) == {"a": "done", "b": "failed", "c": "waiting"}
    place.age(10)
    place.gc(days=5)
    experiments.retry(ledger.engine, "default", experiment)
    assert ledger.states(experiment) == {"a": "ready", "b": "ready", "c": "waiting"}
    place.publish(ledger.claim())
    assert ledger.states(experiment)["c"] == "waiting"
    place.work()
    assert ledger.state(experiment) == "done"


def test_an_old_checkpoint_of_a_job_that_nobody_names_goes(place):
    ledger = place.ledger
    experiment = ledger.submit({"a": ()}, retries=0)
    claim = ledger.claim()
    place.checkpoint(claim, 1)
    ledger.finish(claim, "failed")
    assert place.gc(days=1) == []
    place.age(2)
    assert place.gc(days=1) == [("checkpoint", claim.prefix)]
    assert place.names() == set()
    experiments.retry(ledger.engine, "default", experiment)
    assert ledger.claim().checkpoint is None


def test_one_that_dies_half_way_leaves_the_rest_to_the_next(place):
    ledger = place.ledger
    ledger.submit({"a": (), "b": (), "c": ()})
    place.work()
    place.age(10)
    dying = Watched(place.store.root, removing=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(collection.collect(ledger.engine, dying, DAY))
    assert len(place.names()) == 3
    removed = place.gc(days=1)  # the ledger has forgotten them: they are of attempts that hold nothing
    assert len(removed) == 3
    assert place.names() == set()
    ledger.submit({"a": (), "b": (), "c": ()})
    place.work()
    sound(place)


@pytest.mark.parametrize("comes", ["submission", "retry", "pin"])
@pytest.mark.parametrize("moment", ["SELECT jobs.id, jobs.project_id, jobs.artifact_id", "DELETE FROM artifacts"])
def test_one_who_comes_to_need_an_artifact_while_it_is_evicted(place, comes, moment):
    ledger = place.ledger
    first = ledger.submit({"a": (), "c": (), "b": ("a", "c")}, retries=0)
    place.publish(ledger.claim())
    ledger.finish(ledger.claim(), "failed")
    held = artifact_of(ledger, first, "a")
    place.age(10)
    moves: dict[str, Callable[[], Any]] = {
        "submission": lambda: ledger.submit({"a": (), "other": ("a",)}),
        "retry": lambda: experiments.retry(ledger.engine, "default", first),
        "pin": lambda: artifacts.pin(ledger.engine, "default", held),
    }
    with amid(ledger, moment, moves[comes]) as result:
        place.gc(days=1)
        if comes == "pin":
            try:
                result()
            except NotFound:  # it came too late, and says so
                assert ledger.states(first)["a"] == "cancelled"
            else:
                assert ledger.states(first)["a"] == "done"
        else:
            result()
    sound(place)
    place.work()
    sound(place)
    if comes == "retry":
        assert ledger.state(first) == "done"


def test_two_collectors_at_once(place, together):
    ledger = place.ledger
    for round in range(ROUNDS):
        ledger.submit({f"{name}{round}": () for name in "abcd"}, retries=0)
        for _ in range(2):
            failed = ledger.claim()
            place.put(f"{failed.prefix}/half")
            ledger.finish(failed, "failed")
        place.work()
        place.age(10)
        ledger.submit({f"d{round}": (), f"later{round}": (f"d{round}",)}, queue="elsewhere")
        both = together(lambda: place.gc(days=1), lambda: place.gc(days=1))
        assert len({name for each in both for _, name in each}) == 3
        needed = {ledger.job_id(f"d{each}") for each in range(round + 1)}
        assert {name.split("/")[1] for name in place.names()} == needed
        sound(place)


def test_old_history_goes(place):
    ledger = place.ledger
    old, live = ledger.submit({"a": ()}), ledger.submit({"b": ()}, queue="elsewhere")
    place.work()
    with write(ledger.engine) as connection:
        for key, at in (("old", now() - 2 * DAY), ("new", now())):
            values = {"project_id": "default", "key": key, "body_sha256": "", "experiment_id": old}
            connection.execute(insert(idempotency).values(at=at, **values))
        for id, days in (("gone", 40), ("last", 35)):
            row = {"id": id, "queues": [], "slots": 1, "device": "cpu", "datasets": {}, "state": "gone"}
            connection.execute(insert(workers).values(seen_at=now() - days * DAY, **row))
    place.age(31)
    before = place.everything()
    counts = {"idempotency": 1, "workers": 1, "events": 4}
    assert retention.remove_history(ledger.engine, 30 * DAY, True) == counts
    assert place.everything() == before
    assert retention.remove_history(ledger.engine, 30 * DAY, False) == counts
    after = place.everything()
    assert ([each.key for each in after["idempotency"]], [each.id for each in after["workers"]]) == (["new"], ["last"])
    assert {each.experiment_id or each.job_id for each in after["events"]} == {live}
    assert history.for_experiment(ledger.engine, old) == []
    assert retention.remove_history(ledger.engine, None, False) == {"idempotency": 0}
