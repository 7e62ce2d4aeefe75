"""A store in a local folder."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from .store import CHUNK_BYTES, Missing, StopCheck, StoredObject, check_name, file_chunks, never_stop


class FolderStore:
    """Objects are files below a folder.

    Each is written under a temporary name, synced and renamed, so that a crash leaves no half of it.
    """

    def __init__(self, root: Path) -> None:
        """Open the store, creating its folder where it is missing."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    def put(self, name: str, path: Path, check: StopCheck = never_stop) -> None:
        """Store a file; see `Store.put`."""
        self.write(name, file_chunks(path, check))

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store bytes as they arrive; see `Store.write`."""
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(target, chunks)

    def stream(self, name: str) -> Iterator[bytes]:
        """Read an object; see `Store.stream`."""
        try:
            file = self._path(name).open("rb")
        except FileNotFoundError as error:
            raise Missing(name) from error
        return _open_chunks(file)

    def signed_url(self, name: str, filename: str, seconds: int) -> str | None:
        """None: files of a folder have no URL."""
        return None

    def walk(self) -> Iterator[StoredObject]:
        """List every object; see `Store.walk`."""
        return _walk(self.root, "")

    def abort_incomplete(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        """Nothing: an unfinished file lies beside the finished ones and is removed with their prefix."""
        return iter(())

    def delete(self, prefix: str) -> None:
        """Remove a prefix; see `Store.delete`.

        Raises:
            OSError: Something could not be removed.
        """
        path = self._path(prefix)
        shutil.rmtree(path, ignore_errors=True)  # two may remove it at once, and each then misses entries
        if path.exists():
            raise OSError(f"{path} could not be removed")


def _walk(folder: Path, prefix: str) -> Iterator[StoredObject]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:  # removed since it was listed
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
                continue
            with contextlib.suppress(FileNotFoundError):
                stat = entry.stat(follow_symlinks=False)
                yield StoredObject(prefix + entry.name, stat.st_size, stat.st_mtime)


def _open_chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _write_whole(target: Path, chunks: Iterable[bytes]) -> None:
    partial = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with partial.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
