"""Files and folders that the user names."""

from pathlib import Path

from .output import WRONG, fail


def read_file(path: Path) -> bytes:
    """Reads a file; where it cannot be read, exits with status 2."""
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror}", WRONG)


def make_folder(folder: Path) -> None:
    """Makes a folder for downloads before anything is computed; where it cannot be made, exits with status 2."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{folder}: {error.strerror}", WRONG)
