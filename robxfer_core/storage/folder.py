"""A store in a local folder."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from .store import PIECE, Check, Missing, Stored, check_name, pieces_of, unchecked


class FolderStore:
    """Objects are files below a folder; each is written aside, synced and renamed, so that a crash leaves no half."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    def put(self, name: str, path: Path, check: Check = unchecked) -> None:
        self.write(name, pieces_of(path, check))

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, pieces)

    def stream(self, name: str) -> Iterator[bytes]:
        try:
            file = self._path(name).open("rb")
        except FileNotFoundError as error:
            raise Missing(name) from error
        return _pieces(file)

    def sign(self, name: str, filename: str, seconds: int) -> str | None:
        return None

    def walk(self) -> Iterator[Stored]:
        return _walk(self.root, "")

    def abandon(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        return iter(())  # what is not whole lies beside what is, and goes with it

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


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece


def _write(target: Path, pieces: Iterable[bytes]) -> None:
    aside = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
