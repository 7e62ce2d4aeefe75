"""Garbage collection: removes from the store what the ledger no longer needs (`ledger/retention.py` decides).

Names that the ledger does not know are left alone, so that a store used with the wrong database loses nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice

from sqlalchemy import Engine

from robxfer_core.ledger import retention, uploads
from robxfer_core.ledger.retention import AttemptId, Removal

from .store import Store, StoredObject

BATCH = 500
"""Prefixes about which the ledger is asked at once."""
INCOMPLETE_S = 86_400.0
"""Parts of an object that is not whole after so many seconds are removed: no object takes so long."""
ATTEMPT_PREFIX = re.compile(r"([^/]+)/(job_[^/]+)/([1-9]\d{0,8})")
CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Removed:
    """A prefix of the store that was removed, or that a dry run would remove."""

    reason: Removal
    name: str
    """The prefix; of a part, the object that it belongs to."""
    objects: int
    bytes: int
    """0 for a part: the store does not say."""


@dataclass
class _Size:
    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.objects, self.bytes = self.objects + 1, self.bytes + size


@dataclass
class _Prefix:
    """The objects under `project/job/attempt`."""

    name: str
    total: _Size = field(default_factory=_Size)
    checkpoints: dict[str, _Size] = field(default_factory=dict)


def collect(engine: Engine, store: Store, older_s: float | None = None, dry_run: bool = False) -> Iterator[Removed]:
    """Remove, while it is iterated, what nothing needs.

    Takes constant memory. It may be broken off, and run beside workers, submissions and another collection.

    Args:
        engine: The ledger's database.
        store: The store.
        older_s: Also remove artifacts and checkpoints of jobs that no running experiment names, nor one that ended
            within so many seconds.
        dry_run: Remove nothing.

    Yields:
        What was removed, or would be.
    """
    prefixes = _prefixes(store.walk())
    while batch := list(islice(prefixes, BATCH)):
        for removed in list(_unneeded_prefixes(engine, batch, older_s, dry_run)):
            if not dry_run:
                store.delete(removed.name)
            yield removed
    yield from _remove_uploads(engine, store, dry_run)
    for name in store.abort_incomplete(INCOMPLETE_S, dry_run):
        yield Removed(Removal.PART, name, 1, 0)


def _prefixes(objects: Iterable[StoredObject]) -> Iterator[_Prefix]:
    for name, members in groupby(objects, lambda stored: "/".join(stored.name.split("/", 3)[:3])):
        prefix = _Prefix(name)
        for stored in members:
            prefix.total.add(stored.size)
            folder = stored.name.removeprefix(f"{name}/").partition("/")[0]
            if CHECKPOINT_FOLDER.fullmatch(folder):
                prefix.checkpoints.setdefault(f"{name}/{folder}", _Size()).add(stored.size)
        yield prefix


def _unneeded_prefixes(engine: Engine, batch: list[_Prefix], older_s: float | None, dry_run: bool) -> Iterator[Removed]:
    by_attempt = {
        AttemptId(match[1], match[2], int(match[3])): prefix
        for prefix in batch
        if (match := ATTEMPT_PREFIX.fullmatch(prefix.name))
    }
    for attempt_id, decision in retention.decide(engine, list(by_attempt), older_s, dry_run).items():
        prefix = by_attempt[attempt_id]
        if decision.removal is not None:
            yield Removed(decision.removal, prefix.name, prefix.total.objects, prefix.total.bytes)
            continue
        for name, size in prefix.checkpoints.items():
            if name != decision.checkpoint:
                yield Removed(Removal.CHECKPOINT, name, size.objects, size.bytes)


def _remove_uploads(engine: Engine, store: Store, dry_run: bool) -> Iterator[Removed]:
    """Go by the ledger's rows: of an upload that broke off the store may list nothing, and its row goes as well."""
    after, previous = "", None
    while after != previous:
        previous = after
        after, unneeded = retention.unneeded_uploads(engine, previous, BATCH, dry_run)
        for upload in unneeded:
            if not dry_run:
                store.delete(upload.prefix)
                uploads.delete_row(engine, upload.id)
            yield Removed(Removal.UPLOAD, upload.prefix, 1, upload.bytes)
