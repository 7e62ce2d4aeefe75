"""The interface of a store, whichever it is."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 20
MAX_NAME = 800
"""Characters of an object's name."""
StopCheck = Callable[[], None]
"""Called at every chunk while files move. It ends the transfer by raising, and what it raises reaches the caller."""
_PART = re.compile(r"[A-Za-z0-9_=+@,-][A-Za-z0-9_=+@,. -]*")


class Missing(Exception):
    """The store has no object of this name."""


class Unavailable(Exception):
    """The store does not answer, or reports an error of its own. Another try may succeed."""


def never_stop() -> None:
    """The stop check of a transfer that nothing ends early."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a store lists it."""

    name: str
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch, by the store's clock."""


class Store(Protocol):
    """Named, immutable objects.

    Names are relative paths such as `project/job/attempt/model.json` (see `check_name`). Every method raises
    ValueError for another name, and Unavailable where the store does not answer.
    """

    def put(self, name: str, path: Path, check: StopCheck = never_stop) -> None:
        """Store a file. Readers see the whole object or none.

        Args:
            name: The object's name.
            path: The file.
            check: Called before each chunk. If it raises, nothing is left under the name.
        """
        ...

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store bytes as they arrive, holding few of them in memory. Readers see the whole object or none.

        Args:
            name: The object's name.
            chunks: The bytes. If the iterable raises, nothing is left under the name.
        """
        ...

    def stream(self, name: str) -> Iterator[bytes]:
        """Read an object in chunks of at most 1 MiB.

        Raises:
            Missing: There is no such object. Raised by the call, not by the first chunk.
        """
        ...

    def signed_url(self, name: str, filename: str, seconds: int) -> str | None:
        """Sign a URL from which anyone may fetch an object.

        Args:
            name: The object's name.
            filename: The name under which a browser saves it.
            seconds: How long the URL is valid.

        Returns:
            The URL; None where the store cannot sign.
        """
        ...

    def walk(self) -> Iterator[StoredObject]:
        """List every object, in constant memory.

        Objects that share a prefix follow one another. An object written or removed meanwhile may be listed or not.
        """
        ...

    def abort_incomplete(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        """Remove the stored parts of objects that never became whole. Such parts are not among the objects.

        Args:
            older_s: Only those begun at least so many seconds ago.
            dry_run: List them and remove nothing.

        Yields:
            The names of the objects that they were parts of.
        """
        ...

    def delete(self, prefix: str) -> None:
        """Remove every object whose name starts with `prefix/`. There may be none."""
        ...


def file_chunks(path: Path, check: StopCheck) -> Iterator[bytes]:
    """Read a file in chunks of at most 1 MiB, calling `check` before each."""
    with path.open("rb") as file:
        check()
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            check()


def check_name(name: str) -> str:
    """Return an object's name if no store could be left by it.

    Args:
        name: A relative path of plain parts: no `..`, no leading dot, none but letters, digits and `_=+@,. -`; at most
            800 characters.

    Raises:
        ValueError: The name is of another form.
    """
    if len(name) > MAX_NAME or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name[:200]!r} is no name for a stored file")
    return name
