"""A store in a local folder."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from .store import Missing, check_name

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

    def delete(self, prefix: str) -> None:
        shutil.rmtree(self._path(prefix), ignore_errors=True)


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
