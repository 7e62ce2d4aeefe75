"""What is uploaded: a file, or a folder that is packed as a tar archive while it is sent."""

import hashlib
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import UploadError

PIECE = 1 << 20


@dataclass(frozen=True)
class Parcel:
    """Bytes that can be read again and again, with their number and their sha256."""

    pieces: Callable[[], Iterator[bytes]]
    size: int
    sha256: str

    @property
    def headers(self) -> dict[str, str]:
        digest = b64encode(bytes.fromhex(self.sha256)).decode()
        return {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.size),
            "Content-Digest": f"sha-256=:{digest}:",
        }


def pack(path: Path) -> Parcel:
    """A file as it is, or a folder as a tar archive that is the same whenever its files are.

    All of it is read once, for its sha256, and again for each time that it is sent. Raises UploadError for what is
    neither file nor folder, and for links in a folder.
    """
    if path.is_file():
        return _measured(lambda: _read(path))
    if path.is_dir():
        files = _files(path)
        return _measured(lambda: _tar(path, files))
    raise UploadError(f"{path}: there is no such file or folder")


def _measured(pieces: Callable[[], Iterator[bytes]]) -> Parcel:
    digest, size = hashlib.sha256(), 0
    for piece in pieces():
        digest.update(piece)
        size += len(piece)
    return Parcel(pieces, size, digest.hexdigest())


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _files(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if not _hidden(path.relative_to(folder))]
    links = [path for path in found if path.is_symlink()]
    if links:
        raise UploadError(f"{links[0]} is a link; takes plain files, so that nothing is sent from elsewhere")
    files = [path for path in found if path.is_file()]
    if not files:
        raise UploadError(f"{folder} holds no files")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _tar(folder: Path, files: list[Path]) -> Iterator[bytes]:
    for path in files:
        info = tarfile.TarInfo(path.relative_to(folder).as_posix())
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        sent = 0
        for piece in _read(path):
            sent += len(piece)
            yield piece
        if sent != info.size:
            raise UploadError(f"{path} has changed while it was read")
        yield bytes(-sent % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
