"""Garbage collection: walks the store and removes what the ledger no longer needs (see ledger/collect.py for what).

Names that the ledger does not know are left alone, so that a store with the wrong database loses no result.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice

from sqlalchemy import Engine

from .artifacts import Store, Stored
from .ledger import collect
from .ledger.collect import Attempt, Upload

BATCH = 500  # prefixes about which the ledger is asked at once
ATTEMPT = re.compile(r"([^/]+)/(job_[^/]+)/([1-9]\d{0,8})")
UPLOAD = re.compile(r"([^/]+)/uploads/(upl_[^/]+)")
CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Removed:
    """A prefix of the store that was removed, or would be."""

    reason: str
    """attempt (it ended and left nothing), checkpoint (not the one to go on from, or old), artifact (old), upload."""
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
    """What lies under `project/job/attempt` or `project/uploads/id`."""

    name: str
    all: _Size = field(default_factory=_Size)
    checkpoints: dict[str, _Size] = field(default_factory=dict)
    modified: float = 0.0


def remove(engine: Engine, store: Store, older_s: float | None = None, dry_run: bool = False) -> Iterator[Removed]:
    """Remove, while it is iterated, what nobody needs; with older_s (seconds) what has been of no use for so long too.

    Takes constant memory. May be broken off, and run beside workers, submissions and another of itself.
    """
    prefixes = _prefixes(store.walk())
    while batch := list(islice(prefixes, BATCH)):
        for removed in [*_attempts(engine, batch, older_s, dry_run), *_uploads(engine, batch, dry_run)]:
            if not dry_run:
                store.delete(removed.name)
            yield removed


def _prefixes(found: Iterable[Stored]) -> Iterator[_Prefix]:
    for name, objects in groupby(found, lambda each: "/".join(each.name.split("/", 3)[:3])):
        prefix = _Prefix(name)
        for each in objects:
            prefix.all.add(each.size)
            prefix.modified = max(prefix.modified, each.modified)
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
    for attempt, fate in collect.fates(engine, list(named), older_s, dry_run).items():
        prefix = named[attempt]
        if fate.reason is not None:
            yield Removed(fate.reason, prefix.name, prefix.all.objects, prefix.all.bytes)
            continue
        for name, size in prefix.checkpoints.items():
            if name != fate.checkpoint:
                yield Removed("checkpoint", name, size.objects, size.bytes)


def _uploads(engine: Engine, batch: list[_Prefix], dry_run: bool) -> Iterator[Removed]:
    named = {
        Upload(match[1], match[2], prefix.modified): prefix
        for prefix in batch
        if (match := UPLOAD.fullmatch(prefix.name))
    }
    doomed = collect.unneeded_uploads(engine, list(named), dry_run) if named else ()
    for upload, prefix in named.items():
        if upload.id in doomed:
            yield Removed("upload", prefix.name, prefix.all.objects, prefix.all.bytes)
