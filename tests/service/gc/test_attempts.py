"""What goes of ended attempts: all but artifacts and the checkpoint to go on from."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from robxfer_core.ledger import queue
from robxfer_core.ledger.retention import Removal
from robxfer_core.storage import StoredObject, collection
from robxfer_core.storage.folder import FolderStore

from .place import Watched, sound

pytestmark = pytest.mark.servers


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
        place.put(name)
        for name in (
            "readyz/probe",
            "elsewhere/job_x/1/a",
            f"default/{won.job_id}/7/a",
            "a/b/c/d",
            "default/uploads/upl_x/upload",
        )
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
    assert list(collection.collect(place.ledger.engine, place.store)) == [
        collection.Removed(Removal.ATTEMPT, claim.prefix, 2, 8)
    ]


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


@pytest.mark.parametrize("moment", ["listed", "removing"])
def test_an_attempt_that_publishes_meanwhile_keeps_its_files(place, moment):
    ledger = place.ledger
    ledger.submit({"a": (), "b": ()}, retries=0)
    running, failed = ledger.claim(), ledger.claim()
    place.put(f"{running.prefix}/result.json")
    place.put(f"{failed.prefix}/half")
    ledger.finish(failed, "failed")
    place.store = Watched(place.store.root, **{moment: lambda: ledger.publish(running)})
    assert place.gc() == [("attempt", failed.prefix)]
    assert place.names() == {f"{running.prefix}/result.json"}
    sound(place)


def test_an_attempt_that_starts_and_publishes_meanwhile_keeps_its_files(place):
    ledger = place.ledger
    ledger.submit({"a": ()}, backoff_s=0.0)
    first = ledger.claim()
    place.put(f"{first.prefix}/half")
    ledger.finish(first, "failed")
    again: list[queue.Claim] = []

    def work() -> None:
        again.append(ledger.claim())
        place.publish(again[0])

    place.store = Watched(place.store.root, removing=work)
    assert place.gc() == [("attempt", first.prefix)]
    assert place.names() == {f"{again[0].prefix}/result.json"}
    sound(place)


class Listed(FolderStore):
    """A store that seems to hold what it was told to list."""

    def __init__(self, root: Path, objects: Iterator[StoredObject]) -> None:
        super().__init__(root)
        self.objects = objects

    def walk(self) -> Iterator[StoredObject]:
        return self.objects


def test_a_large_store_takes_little_memory_and_few_statements(place):
    def many() -> Iterator[StoredObject]:
        for job in range(10_000):
            for path in ("a", "b", "checkpoint-1/c"):
                yield StoredObject(f"default/job_{job:026d}/1/{path}", 1, 0.0)

    store = Listed(place.store.root, many())
    tracemalloc.start()
    try:
        with place.ledger.statements() as sent:
            assert list(collection.collect(place.ledger.engine, store)) == []  # of a job that is not known nothing goes
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert len([each for each in sent if "FROM" in each]) == 10_000 / collection.BATCH + 1  # of uploads
