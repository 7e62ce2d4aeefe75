"""Garbage collection: what goes, what must never go, and what happens at once with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from robxfer_core import gc
from robxfer_core.artifacts.folder import FolderStore
from robxfer_core.ledger import artifacts, experiments, queue
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import events as events_table
from robxfer_core.ledger.tables import experiments as experiments_table
from robxfer_core.ledger.tables import jobs as jobs_table
from robxfer_core.ledger.tables import metadata

pytestmark = pytest.mark.servers

DAY = 86400.0
ROUNDS = 8


@dataclass
class Place:
    """A ledger and a store, and the moves of a worker that keeps files in it."""

    ledger: Any
    store: FolderStore
    scratch: Path

    def put(self, name: str, data: bytes = b"data") -> str:
        self.scratch.write_bytes(data)
        self.store.put(name, self.scratch)
        return name

    def publish(self, claim: queue.Claim) -> bool:
        self.put(f"{claim.prefix}/result.json", b"{}")
        return self.ledger.publish(claim)

    def checkpoint(self, claim: queue.Claim, number: int) -> str:
        prefix = f"{claim.prefix}/checkpoint-{number}"
        self.put(f"{prefix}/state")
        queue.checkpointed(self.ledger.engine, claim.job_id, claim.attempt, {"prefix": prefix})
        return prefix

    def work(self) -> None:
        while (claim := queue.claim(self.ledger.engine, "w", ["cpu"], 600.0, "cpu")) is not None:
            assert self.publish(claim)

    def names(self) -> set[str]:
        return {each.name for each in self.store.walk()}

    def gc(self, days: float | None = None, dry_run: bool = False) -> list[tuple[str, str]]:
        """What was removed, as (reason, prefix)."""
        older_s = None if days is None else days * DAY
        return sorted((each.reason, each.name) for each in gc.remove(self.ledger.engine, self.store, older_s, dry_run))

    def age(self, days: float) -> None:
        """Let all that has ended so far have ended longer ago."""
        with write(self.ledger.engine) as connection:
            for table in (jobs_table, experiments_table):
                connection.execute(update(table).values(ended_at=table.c.ended_at - days * DAY))
            connection.execute(update(events_table).values(at=events_table.c.at - days * DAY))

    def everything(self) -> dict[str, Any]:
        """All rows and all objects."""
        with read(self.ledger.engine) as connection:
            rows = {each.name: connection.execute(select(each)).all() for each in metadata.sorted_tables}
        return {"objects": self.names(), **rows}


@pytest.fixture
def place(ledger: Any, tmp_path: Path) -> Place:
    return Place(ledger, FolderStore(tmp_path / "store"), tmp_path / "scratch")


def test_of_ended_attempts_only_artifacts_and_the_checkpoint_to_go_on_from_stay(place):
    ledger = place.ledger
    ledger.submit({"a": (), "b": (), "c": ()}, backoff_s=0.0)
    lost = ledger.claim(lease_s=-1)
    place.put(f"{lost.prefix}/model.safetensors")
    queue.sweep(ledger.engine)
    won = ledger.claim()
    assert won.job_id == lost.job_id
    place.put(f"{won.prefix}/checkpoint-1/state")  # forgetting it failed
    place.publish(won)
    failed = ledger.claim()
    stale, kept = (place.checkpoint(failed, number) for number in (1, 2))
    place.put(f"{failed.prefix}/half")
    ledger.finish(failed, "failed")
    running = ledger.claim()
    assert running.job_id == failed.job_id
    place.put(f"{running.prefix}/half")
    other = ledger.claim()
    place.put(f"{other.prefix}/checkpoint-1/state")  # not yet recorded
    unknown = {
        place.put(name) for name in ("readyz/probe", "elsewhere/job_x/1/a", f"default/{won.job_id}/7/a", "a/b/c/d")
    }

    expected = sorted([("attempt", lost.prefix), ("checkpoint", stale), ("checkpoint", f"{won.prefix}/checkpoint-1")])
    before = place.everything()
    assert place.gc(dry_run=True) == expected
    assert place.everything() == before
    assert place.gc() == expected
    assert place.names() == unknown | {
        f"{won.prefix}/result.json",
        f"{kept}/state",
        f"{failed.prefix}/half",
        f"{running.prefix}/half",
        f"{other.prefix}/checkpoint-1/state",
    }
    assert place.gc() == []
    place.publish(running)
    assert place.gc() == [("attempt", failed.prefix)]  # nothing goes on from it any more


def test_how_much_went_is_told(place):
    place.ledger.submit({"a": ()}, retries=0)
    claim = place.ledger.claim()
    place.put(f"{claim.prefix}/one", b"12345")
    place.put(f"{claim.prefix}/deep/two", b"678")
    place.ledger.finish(claim, "failed")
    assert list(gc.remove(place.ledger.engine, place.store)) == [gc.Removed("attempt", claim.prefix, 2, 8)]


def test_what_a_stale_worker_uploads_late_goes_with_the_next_collection(place):
    ledger = place.ledger
    ledger.submit({"a": ()})
    stale = ledger.claim(lease_s=-1)
    queue.sweep(ledger.engine)
    place.publish(ledger.claim())
    assert place.gc() == []
    place.put(f"{stale.prefix}/late")
    assert not ledger.publish(stale)
    assert place.gc() == [("attempt", stale.prefix)]


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
            update(experiments_table)
            .where(experiments_table.c.id == recent)
            .values(ended_at=experiments_table.c.ended_at + 30 * DAY)
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
    assert experiments.state(ledger.engine, "default", done) == "done"
    again = ledger.submit({"a": (), "b": ("a",)})
    assert ledger.states(again) == {"a": "ready", "b": "waiting"}  # computed again when asked for
    place.work()
    assert ledger.state(again) == "done"
    assert artifacts.pin(ledger.engine, "default", kept, pinned=False).pinned_at is None
    assert ("artifact", f"default/{ledger.job_id('p')}/1") in place.gc(days=30)


def artifact_of(ledger: Any, experiment: str, name: str) -> str:
    found = {each.name: each.artifact_id for each in experiments.jobs_of(ledger.engine, experiment)}
    return str(found[name])


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
