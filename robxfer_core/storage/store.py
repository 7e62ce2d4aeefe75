"""What a store of artifacts does, whichever it is."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PIECE = 1 << 20  # bytes read at once
Check = Callable[[], None]
"""Called again and again while files move; ends that by what it raises."""
_PART = re.compile(r"[A-Za-z0-9_=+@,-][A-Za-z0-9_=+@,. -]*")


class Missing(Exception):
    """The store has no object of this name."""


class Unavailable(Exception):
    """The store does not answer, or says that it cannot: another try may go well."""


def unchecked() -> None:
    """The check of who would not break off."""


@dataclass(frozen=True)
class Stored:
    """An object as a store lists it."""

    name: str
    size: int
    modified: float
    """Seconds since the epoch, by the store's clock."""


class Store(Protocol):
    """Named, immutable objects. Names are relative paths such as `project/job/attempt/model.json` (see check_name)."""

    def put(self, name: str, path: Path, check: Check = unchecked) -> None:
        """Keep a file's bytes under a name; readers see the whole object or none.

        `check` is called before each MiB; what it raises leaves nothing under the name.
        """
        ...

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep bytes under a name as they come, holding few of them; readers see the whole object or none.

        What `pieces` raises leaves nothing under the name.
        """
        ...

    def stream(self, name: str) -> Iterator[bytes]:
        """An object's bytes in pieces of at most 1 MiB. Raises Missing before the first piece."""
        ...

    def sign(self, name: str, filename: str, seconds: int) -> str | None:
        """A URL that anyone may fetch for a while, saved as `filename`; None where the store cannot sign."""
        ...

    def walk(self) -> Iterator[Stored]:
        """Every object, in constant memory; those that share a prefix come one after another. What is written or
        removed meanwhile may be among them or not."""
        ...

    def abandon(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        """Give up the parts that have come of objects since so long ago (seconds) without the object being whole.

        They are among no objects; names what they were to be. With dry_run nothing is given up.
        """
        ...

    def delete(self, prefix: str) -> None:
        """Remove every object whose name starts with `prefix/`. Nothing there is no error."""
        ...


def pieces_of(path: Path, check: Check) -> Iterator[bytes]:
    """A file's bytes in pieces of at most 1 MiB, with a call of `check` before each."""
    with path.open("rb") as file:
        check()
        while piece := file.read(PIECE):
            yield piece
            check()


def check_name(name: str) -> str:
    """The name itself, if it is relative and each part is plain (no `..`, no leading dot, no odd characters).

    Raises ValueError otherwise, so that no name can leave its prefix or its folder.
    """
    if len(name) > 800 or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name[:200]!r} is no name for a stored file")
    return name
