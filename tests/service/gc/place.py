"""A ledger and a store for tests of what is collected, and what holds of both at any time."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import event, select, update

from robxfer_core.ledger import experiments, queue
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import artifacts as kept_artifacts
from robxfer_core.ledger.tables import edges, events, jobs, metadata
from robxfer_core.ledger.tables import experiments as all_experiments
from robxfer_core.storage import StoredObject, collection
from robxfer_core.storage.folder import FolderStore

DAY = 86400.0


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
        self.ledger.fence(claim).save_checkpoint(
            {"files": [], "type": "checkpoint", "kind": claim.kind, "key": claim.key, "prefix": prefix}
        )
        return prefix

    def work(self) -> None:
        while (claim := queue.claim(self.ledger.engine, "w", ["cpu"], 600.0, "cpu")) is not None:
            assert self.publish(claim)

    def names(self) -> set[str]:
        return {each.name for each in self.store.walk()}

    def gc(self, days: float | None = None, dry_run: bool = False) -> list[tuple[str, str]]:
        """What was removed, as (reason, prefix)."""
        older_s = None if days is None else days * DAY
        return sorted(
            (each.reason, each.name) for each in collection.collect(self.ledger.engine, self.store, older_s, dry_run)
        )

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


class Watched(FolderStore):
    """A store that lets a test act at a moment of the collection: when it has been listed, or before a removal."""

    def __init__(self, root: Path, listed: Callable[[], Any] = int, removing: Callable[[], Any] = int) -> None:
        super().__init__(root)
        self.listed, self.removing = listed, removing

    def walk(self) -> Iterator[StoredObject]:
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


def artifact_of(ledger: Any, experiment: str, name: str) -> str:
    found = {each.name: each.artifact_id for each in experiments.list_nodes(ledger.engine, experiment)}
    return str(found[name])


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
