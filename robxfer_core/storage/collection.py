"""Garbage collection: removes from the store what the ledger no longer needs (see ledger/retention.py for what).

Names that the ledger does not know are left alone, so that a store with the wrong database loses nothing.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice

from sqlalchemy import Engine

from robxfer_core.ledger import retention, uploads
from robxfer_core.ledger.retention import Attempt

from .store import Store, StoredObject

BATCH = 500  # prefixes about which the ledger is asked at once
PARTS_S = 86_400.0  # no object takes so long to come
ATTEMPT = re.compile(r"([^/]+)/(job_[^/]+)/([1-9]\d{0,8})")
CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Removed:
    """A prefix of the store that was removed, or would be."""

    reason: str
    """attempt (it ended and left nothing), checkpoint (not the one to go on from, or old), artifact (old), upload,
    part (of an object that never came whole; how many bytes, the store does not say)."""
    name: str
    objects: int
    bytes: int


@dataclass
class _Size:
    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.objects, self.bytes = self.objects + 1, self.bytes + size


@dataclass
class _Prefix:
    """What lies under `project/job/attempt`."""

    name: str
    all: _Size = field(default_factory=_Size)
    checkpoints: dict[str, _Size] = field(default_factory=dict)


def remove(engine: Engine, store: Store, older_s: float | None = None, dry_run: bool = False) -> Iterator[Removed]:
    """Remove, while it is iterated, what nobody needs; with older_s (seconds) what has been of no use for so long too.

    Takes constant memory. May be broken off, and run beside workers, submissions and another of itself.
    """
    prefixes = _prefixes(store.walk())
    while batch := list(islice(prefixes, BATCH)):
        for removed in list(_attempts(engine, batch, older_s, dry_run)):
            if not dry_run:
                store.delete(removed.name)
            yield removed
    yield from _uploads(engine, store, dry_run)
    for name in store.abort_incomplete(PARTS_S, dry_run):
        yield Removed("part", name, 1, 0)


def _prefixes(found: Iterable[StoredObject]) -> Iterator[_Prefix]:
    for name, objects in groupby(found, lambda each: "/".join(each.name.split("/", 3)[:3])):
        prefix = _Prefix(name)
        for each in objects:
            prefix.all.add(each.size)
            part = each.name.removeprefix(f"{name}/").partition("/")[0]
            if CHECKPOINT.fullmatch(part):
                prefix.checkpoints.setdefault(f"{name}/{part}", _Size()).add(each.size)
        yield prefix


def _attempts(engine: Engine, batch: list[_Prefix], older_s: float | None, dry_run: bool) -> Iterator[Removed]:
    named = {
        Attempt(match[1], match[2], int(match[3])): prefix
        for prefix in batch
        if (match := ATTEMPT.fullmatch(prefix.name))
    }
    for attempt, fate in retention.fates(engine, list(named), older_s, dry_run).items():
        prefix = named[attempt]
        if fate.reason is not None:
            yield Removed(fate.reason, prefix.name, prefix.all.objects, prefix.all.bytes)
            continue
        for name, size in prefix.checkpoints.items():
            if name != fate.checkpoint:
                yield Removed("checkpoint", name, size.objects, size.bytes)


def _uploads(engine: Engine, store: Store, dry_run: bool) -> Iterator[Removed]:
    """By the ledger's rows: of one that broke off the store may list nothing, and its row goes all the same."""
    after, seen = "", None
    while after != seen:
        seen = after
        after, doomed = retention.unneeded_uploads(engine, seen, BATCH, dry_run)
        for upload in doomed:
            if not dry_run:
                store.delete(upload.prefix)
                uploads.drop(engine, upload.id)
            yield Removed("upload", upload.prefix, 1, upload.bytes)
