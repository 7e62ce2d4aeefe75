"""Folders of a worker's own: numbered, locked while it lives, and taken over by the next one when it is gone.

The lock's file says on which host its holder lives, and its time when that was last seen to go about its rounds.
"""

import fcntl
import os
import shutil
import socket
import time
from pathlib import Path

MARKED_S = 90.0  # longer than a round can take while a dead database is waited for


class OwnFolder:
    """The first of ROOT/0, ROOT/1, ... that no living process holds. What an earlier holder left is still in it."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        number = 0
        while not self._take(root, number):
            number += 1
        self.path = root / str(number)
        self.path.mkdir(exist_ok=True)

    def _take(self, root: Path, number: int) -> bool:
        self._lock = os.open(root / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            return False
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, socket.gethostname().encode(), 0)
        return True

    def mark(self) -> None:
        """Say that the holder goes about its rounds."""
        os.utime(self._lock)

    def close(self) -> None:
        """Let the folder go; it stays as it is."""
        os.close(self._lock)


def marked(root: Path, within_s: float = MARKED_S) -> bool:
    """Whether a worker of this host goes about its rounds; a database that is away is no matter.

    A container is a host of its own, so its health check can ask this where containers share the folder.
    """
    host, since = socket.gethostname(), time.time() - within_s
    return any(lock.read_text() == host and lock.stat().st_mtime > since for lock in root.glob("*.lock"))


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
