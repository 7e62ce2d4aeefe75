"""A store in a local folder."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from .store import Missing, Stored, check_name

PIECE = 1 << 20


class FolderStore:
    """Objects are files below a folder; each is written aside, synced and renamed, so that a crash leaves no half."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    def put(self, name: str, path: Path) -> None:
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(path, target)

    def fetch(self, name: str, dest: Path) -> None:
        try:
            _copy(
                self._path(name), dest, sync=False
            )  # a copy, never a link: a reader must not be able to change the store
        except FileNotFoundError as error:
            raise Missing(name) from error

    def stream(self, name: str) -> Iterator[bytes]:
        try:
            file = self._path(name).open("rb")
        except FileNotFoundError as error:
            raise Missing(name) from error

        def pieces() -> Iterator[bytes]:
            with file:
                while piece := file.read(PIECE):
                    yield piece

        return pieces()

    def sign(self, name: str, filename: str, seconds: int) -> str | None:
        return None

    def walk(self) -> Iterator[Stored]:
        return _walk(self.root, "")

    def delete(self, prefix: str) -> None:
        path = self._path(prefix)
        shutil.rmtree(path, ignore_errors=True)  # of two that remove it at once, each finds things gone
        if path.exists():
            raise OSError(f"{path} could not be removed")


def _walk(folder: Path, prefix: str) -> Iterator[Stored]:
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
                yield Stored(prefix + entry.name, stat.st_size, stat.st_mtime)


def _copy(source: Path, target: Path, sync: bool = True) -> None:
    aside = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with source.open("rb") as reader, aside.open("xb") as writer:
            shutil.copyfileobj(reader, writer, PIECE)
            if sync:
                writer.flush()
                os.fsync(writer.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
