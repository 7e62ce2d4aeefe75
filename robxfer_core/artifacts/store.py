"""What a store of artifacts does, whichever it is."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_PART = re.compile(r"[A-Za-z0-9_=+@,-][A-Za-z0-9_=+@,. -]*")


class Missing(Exception):
    """The store has no object of this name."""


class Unavailable(Exception):
    """The store does not answer, or says that it cannot: another try may go well."""


@dataclass(frozen=True)
class Stored:
    """An object as a store lists it."""

    name: str
    size: int
    modified: float
    """Seconds since the epoch, by the store's clock."""


class Store(Protocol):
    """Named, immutable objects. Names are relative paths such as `project/job/attempt/model.json` (see check_name)."""

    def put(self, name: str, path: Path) -> None:
        """Keep a file's bytes under a name; readers see the whole object or none."""
        ...

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep bytes under a name as they come, holding few of them; readers see the whole object or none.

        What `pieces` raises leaves nothing under the name.
        """
        ...

    def fetch(self, name: str, dest: Path) -> None:
        """Write an object to a file, which appears whole or not at all. Raises Missing."""
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

    def delete(self, prefix: str) -> None:
        """Remove every object whose name starts with `prefix/`. Nothing there is no error."""
        ...


def check_name(name: str) -> str:
    """The name itself, if it is relative and each part is plain (no `..`, no leading dot, no odd characters).

    Raises ValueError otherwise, so that no name can leave its prefix or its folder.
    """
    if len(name) > 800 or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name[:200]!r} is no name for a stored file")
    return name
