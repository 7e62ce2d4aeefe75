"""Folders of a worker's own: numbered, locked while it lives, and taken over by the next one when it is gone."""

import fcntl
import os
import shutil
from pathlib import Path


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
        return True

    def close(self) -> None:
        """Let the folder go; it stays as it is."""
        os.close(self._lock)


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
