"""Garbage collection: what goes, what must never go, and what happens at once with it."""

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from robxfer_core import gc
from robxfer_core.artifacts import Stored
from robxfer_core.artifacts.folder import FolderStore
from robxfer_core.ledger import artifacts, collect, experiments, fenced, queue
from robxfer_core.ledger import events as history
from robxfer_core.ledger import uploads as handed_in
from robxfer_core.ledger.engine import Unknown, now, read, write
from robxfer_core.ledger.ids import new_id
from robxfer_core.ledger.tables import artifacts as kept_artifacts
from robxfer_core.ledger.tables import edges, events, idempotency, jobs, metadata, uploads, workers
from robxfer_core.ledger.tables import experiments as all_experiments
from robxfer_core.plan import Plan
from robxfer_core.spec.errors import SpecError

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
        fenced.checkpointed(self.ledger.engine, claim.job_id, claim.attempt, {"prefix": prefix})
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
            for table in (jobs, all_experiments):
                connection.execute(update(table).values(ended_at=table.c.ended_at - days * DAY))
            connection.execute(update(events).values(at=events.c.at - days * DAY))

    def everything(self) -> dict[str, Any]:
        """All rows and all objects."""
        with read(self.ledger.engine) as connection:
            rows = {each.name: connection.execute(select(each)).all() for each in metadata.sorted_tables}
        return {"objects": self.names(), **rows}


class Listed(FolderStore):
    """A store that seems to hold what it was told to list."""

    def __init__(self, root: Path, objects: Iterator[Stored]) -> None:
        super().__init__(root)
        self.objects = objects

    def walk(self) -> Iterator[Stored]:
        return self.objects


class Watched(FolderStore):
    """A store that lets a test act at a moment of the collection: when it has been listed, or before a removal."""

    def __init__(self, root: Path, listed: Callable[[], Any] = int, removing: Callable[[], Any] = int) -> None:
        super().__init__(root)
        self.listed, self.removing = listed, removing

    def walk(self) -> Iterator[Stored]:
        yield from super().walk()
        self.listed()

    def delete(self, prefix: str) -> None:
        self.removing()
        super().delete(prefix)


def sound(place: Place) -> None:
    """What is done has its artifact and its files, what is ready has its inputs, what waits misses what it counts."""
    names = place.names()
    with read(place.ledger.engine) as connection:
        rows = {row.id: row for row in connection.execute(select(jobs))}
        kept = {row.id: row for row in connection.execute(select(kept_artifacts))}
        inputs: dict[str, set[str]] = {}
        for row in connection.execute(select(edges)):
            inputs.setdefault(row.job_id, set()).add(row.input_job_id)
    assert {row.artifact_id for row in rows.values() if row.artifact_id} == kept.keys()
    for row in rows.values():
        missing = sum(rows[each].state != "done" for each in inputs.get(row.id, ()))
        assert (row.state == "done") == (row.artifact_id is not None)
        if row.state == "done":
            assert f"{row.project_id}/{row.id}/{kept[row.artifact_id].attempt}/result.json" in names
        if row.state in ("ready", "running"):
            assert missing == 0
        if row.state == "waiting":
            assert row.missing == missing
        if row.checkpoint:
            assert f"{row.checkpoint['prefix']}/state" in names


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


def test_one_that_dies_half_way_leaves_the_rest_to_the_next(place):
    ledger = place.ledger
    ledger.submit({"a": (), "b": (), "c": ()})
    place.work()
    place.age(10)
    dying = Watched(place.store.root, removing=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(gc.remove(ledger.engine, dying, DAY))
    assert len(place.names()) == 3
    removed = place.gc(days=1)  # the ledger has forgotten them: they are of attempts that hold nothing
    assert len(removed) == 3
    assert place.names() == set()
    ledger.submit({"a": (), "b": (), "c": ()})
    place.work()
    sound(place)


@contextmanager
def amid(ledger: Any, statement: str, move: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Makes a move of another connection when a statement that begins so is about to be sent, and lets it wait for our
    locks. Yields what waits for the move and gives what it did."""
    with ThreadPoolExecutor(1) as other:
        made: list[Future[Any]] = []

        def look(connection: Any, cursor: Any, sent: str, *rest: Any) -> None:
            if sent.startswith(statement) and not made:
                made.append(other.submit(move))
                wait(made, 0.5)

        event.listen(ledger.engine, "before_cursor_execute", look)
        try:
            yield lambda: made[0].result()
        finally:
            event.remove(ledger.engine, "before_cursor_execute", look)


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
            except Unknown:  # it came too late, and says so
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


def test_uploads_go_a_day_after_nobody_needs_them(place):
    ledger = place.ledger

    def upload(sha: str | None, days: float, row: bool = True) -> str:
        """sha: none of one that has not come whole."""
        id = new_id("upl")
        name = place.put(f"default/uploads/{id}/upload")
        os.utime(place.store.root / name, (0.0, time.time() - days * DAY))
        if row:
            with write(ledger.engine) as connection:
                values = {"id": id, "project_id": "default", "sha256": sha or id, "bytes": 4}
                connection.execute(insert(uploads).values(created_at=now() - days * DAY, **values))
        return f"default/uploads/{id}"

    def wants(sha: str, queue: str = "cpu") -> str:
        experiment = ledger.submit({sha: ()}, queue=queue)
        ledger.set_job(sha, kind="import_dataset", params={"name": sha, "upload": sha})
        return experiment

    imported, running, wanted, fresh, never = (upload(sha, 2) for sha in ("i", "r", "w", "f", "n"))
    arriving, broken, stranger = upload(None, 0.1), upload(None, 1.1), upload("", 9, row=False)
    place.store.delete(unlisted := upload(None, 2))
    with write(ledger.engine) as connection:  # the same file was handed in again
        connection.execute(update(uploads).where(uploads.c.sha256 == "f").values(created_at=now()))
    wants("i")
    place.publish(ledger.claim())
    stopped = wants("r")
    ledger.claim()
    experiments.cancel(ledger.engine, "default", stopped)
    wants("w", "elsewhere")
    expected = sorted(("upload", name) for name in (imported, never, broken, unlisted))
    before = place.everything()
    assert place.gc(dry_run=True) == expected
    assert place.everything() == before
    assert place.gc() == expected
    assert {f"{name}/upload" for name in (running, wanted, fresh, arriving, stranger)} <= place.names()
    with read(ledger.engine) as connection:
        assert set(connection.scalars(select(uploads.c.sha256))) == {"r", "w", "f", arriving.split("/")[2]}


def hand_in(ledger: Any, id: str) -> str:
    """The id of the upload that is kept of a file whose content is `s`."""
    handed_in.begin(ledger.engine, "default", id)
    kept = handed_in.finish(ledger.engine, "default", id, "s", 4)
    assert kept is not None
    return kept.id


def test_a_collection_that_dies_between_an_uploads_row_and_its_bytes_is_finished_by_the_next(place):
    ledger, id = place.ledger, new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    assert hand_in(ledger, id) == id
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).values(created_at=now() - 2 * DAY))

    def die() -> None:
        raise OSError

    with pytest.raises(OSError):
        list(gc.remove(ledger.engine, Watched(place.store.root, removing=die)))
    assert name in place.names()
    other = new_id("upl")  # nobody finds it any more: the same content comes anew
    assert hand_in(ledger, other) == other
    assert place.gc() == [("upload", f"default/uploads/{id}")]
    assert name not in place.names()
    with read(ledger.engine) as connection:
        assert connection.scalars(select(uploads.c.id)).all() == [other]


def test_an_upload_that_was_collected_while_it_came_is_not_kept(place):
    ledger, id = place.ledger, new_id("upl")
    handed_in.begin(ledger.engine, "default", id)
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).values(created_at=now() - 2 * DAY))
    assert place.gc() == [("upload", f"default/uploads/{id}")]
    assert handed_in.finish(ledger.engine, "default", id, "s", 4) is None


@pytest.mark.parametrize("moment", ["SELECT uploads.id", "UPDATE uploads"])
def test_an_upload_that_is_named_while_it_is_collected(place, moment):
    ledger, id = place.ledger, new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    with write(ledger.engine) as connection:
        values = {"id": id, "project_id": "default", "sha256": "s", "bytes": 4}
        connection.execute(insert(uploads).values(created_at=now() - 2 * DAY, **values))
    (node,) = ledger.plan({"s": ()}).nodes
    plan = Plan((replace(node, kind="import_dataset", params={"name": "s", "upload": "s"}),))

    with amid(ledger, moment, lambda: experiments.submit(ledger.engine, "default", {"name": "x"}, plan)) as result:
        place.gc()
        try:
            result()
        except SpecError:  # it came too late, and says so
            assert name not in place.names()
        else:
            assert name in place.names()
            (given,) = ledger.claim().inputs
            assert given.prefix == f"default/uploads/{id}"


def test_an_upload_handed_in_again_stays_for_the_submission_that_follows(place):
    ledger, id, again = place.ledger, new_id("upl"), new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    hand_in(ledger, id)
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).where(uploads.c.id == id).values(created_at=now() - 2 * DAY))
    assert place.gc(dry_run=True) == [("upload", f"default/uploads/{id}")]
    assert hand_in(ledger, again) == id
    assert place.gc() == []
    assert name in place.names()
    with read(ledger.engine) as connection:  # what was brought a second time is known until its bytes are gone
        assert connection.scalar(select(uploads.c.sha256).where(uploads.c.id == again)) == again


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
    assert collect.history(ledger.engine, 30 * DAY, True) == counts
    assert place.everything() == before
    assert collect.history(ledger.engine, 30 * DAY, False) == counts
    after = place.everything()
    assert ([each.key for each in after["idempotency"]], [each.id for each in after["workers"]]) == (["new"], ["last"])
    assert {each.experiment_id or each.job_id for each in after["events"]} == {live}
    assert history.for_experiment(ledger.engine, old) == []
    assert collect.history(ledger.engine, None, False) == {"idempotency": 0}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_dry_run_says_what_a_run_does_and_nothing_is_lost(place, seed):
    """Experiments, workers and collections in any order."""
    ledger, dice = place.ledger, random.Random(seed)
    made: list[str] = []
    running: list[queue.Claim] = []

    def submit() -> None:
        chosen = sorted(dice.sample(range(6), 3))
        graph = {f"n{i}": tuple(f"n{j}" for j in range(i) if (i + j) % 3 == 0) for i in range(max(chosen) + 1)}
        made.append(ledger.submit(graph, retries=dice.randrange(2), backoff_s=0.0))

    def claim() -> None:
        taken = queue.claim(ledger.engine, "w", ["cpu"], dice.choice([600.0, -1.0]), "cpu")
        if taken is not None:
            place.put(f"{taken.prefix}/half")
            running.append(taken)

    def leave() -> None:
        if running:
            one = running.pop(dice.randrange(len(running)))
            if dice.random() < 0.5:
                place.checkpoint(one, dice.randrange(3))
            if dice.random() < 0.5:
                place.publish(one)
            else:
                ledger.finish(one, dice.choice(["failed", "preempted", "stopped"]))

    def interfere() -> None:
        act = dice.choice([experiments.cancel, experiments.retry])
        if made:
            act(ledger.engine, "default", dice.choice(made))

    def collect_garbage() -> None:
        days = dice.choice([None, 0.0, 1.0, 3.0])
        told = place.gc(days, dry_run=True)
        assert place.gc(days) == told
        assert place.gc(days, dry_run=True) == []
        sound(place)

    moves = [submit, claim, claim, claim, leave, leave, leave, interfere, collect_garbage]
    for _ in range(90):
        dice.choice(moves)()
        if dice.random() < 0.1:
            place.age(1)
        if dice.random() < 0.2:
            queue.sweep(ledger.engine)
    collect_garbage()
    made.append(ledger.submit({f"n{i}": tuple(f"n{j}" for j in range(i) if (i + j) % 3 == 0) for i in range(6)}))
    with write(ledger.engine) as connection:
        connection.execute(update(jobs).values(lease_until=0.0, retries_lost=99))
    queue.sweep(ledger.engine)
    place.work()
    assert ledger.state(made[-1]) == "done"
    sound(place)


def test_a_large_store_takes_little_memory_and_few_statements(place):
    def many() -> Iterator[Stored]:
        for job in range(10_000):
            for path in ("a", "b", "checkpoint-1/c"):
                yield Stored(f"default/job_{job:026d}/1/{path}", 1, 0.0)

    store = Listed(place.store.root, many())
    tracemalloc.start()
    try:
        with place.ledger.statements() as sent:
            assert list(gc.remove(place.ledger.engine, store)) == []  # of a job that is not known nothing goes
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert len([each for each in sent if "FROM" in each]) == 10_000 / gc.BATCH + 1  # of uploads
