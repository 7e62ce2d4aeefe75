"""Copies of artifacts on the worker's disk: fetched once, verified, dropped by least use, never while they are held."""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Copy:
    size: int = 0
    holders: int = 0
    used: float = 0.0
    here: bool = False
    fetching: threading.Lock = field(default_factory=threading.Lock)


class Cache:
    """Folders by name below `root`, which is this process's own. `limit` bounds the bytes of those not held."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit
        self._lock = threading.Lock()
        self._copies: dict[str, _Copy] = {}
        root.mkdir(parents=True, exist_ok=True)
        for folder in root.iterdir():
            if folder.name.startswith("."):  # a copy that was never finished
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._copies[folder.name] = _Copy(_size(folder), 0, folder.stat().st_mtime, here=True)

    @contextmanager
    def hold(self, name: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The folder of that name, which stays until the block ends. `fetch(folder)` makes it whole where it is not."""
        with self._lock:
            copy = self._copies.setdefault(name, _Copy())
            copy.holders += 1
        path = self.root / name
        try:
            with copy.fetching:  # two slots that want the same fetch it once
                if not (copy.here and path.is_dir()):
                    aside = self.root / f".{name}.new"
                    shutil.rmtree(aside, ignore_errors=True)  # of a fetch that broke off
                    fetch(aside)
                    copy.size = _protect(aside)
                    aside.rename(path)  # only what no loss of power can empty has its name
                    copy.here = True
            yield path
        finally:
            with self._lock:
                copy.holders -= 1
                if copy.here:
                    with contextlib.suppress(FileNotFoundError):  # somebody emptied the cache: it is fetched anew
                        os.utime(path)
                        copy.used = path.stat().st_mtime
                self._evict()

    def _evict(self) -> None:
        total = sum(copy.size for copy in self._copies.values())
        for name, copy in sorted(self._copies.items(), key=lambda item: item[1].used):
            if copy.holders or (copy.here and total <= self.limit):
                continue
            doomed = self.root / f".{name}"
            if copy.here:
                with contextlib.suppress(FileNotFoundError):
                    (self.root / name).rename(doomed)  # a crash half way must not leave half a copy under its name
                shutil.rmtree(doomed, ignore_errors=True)
            total -= copy.size
            del self._copies[name]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _protect(folder: Path) -> int:
    """Make the files read-only, since a job only reads them, and have all on the disk; returns their size."""
    size = 0
    for path in [*folder.rglob("*"), folder]:
        fd = os.open(path, os.O_RDONLY)
        try:
            if path.is_file():
                os.fchmod(fd, 0o444)
                size += os.fstat(fd).st_size
            os.fsync(fd)
        finally:
            os.close(fd)
    return size
