"""Bodies of uploads: a file, or a folder that is packed as a tar archive while it is sent."""

import hashlib
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import UploadError

PIECE = 1 << 20


@dataclass(frozen=True)
class UploadBody:
    """Bytes that can be read several times."""

    pieces: Callable[[], Iterator[bytes]]
    """Reads the bytes from the start, in pieces."""
    size: int
    """Number of bytes."""
    sha256: str
    """In hex."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request, with the digest of RFC 9530."""
        digest = b64encode(bytes.fromhex(self.sha256)).decode()
        return {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self.size),
            "Content-Digest": f"sha-256=:{digest}:",
        }


def pack(path: Path) -> UploadBody:
    """Makes the body of an upload: the bytes of a file, or a tar archive of a folder.

    Everything is read once for the sha256, and once more each time it is sent. A folder gives the same archive
    whenever its files are the same.

    Raises:
        UploadError: The path is neither a file nor a folder, or the folder has a link or no files.
    """
    if path.is_file():
        return _measured(lambda: _read(path))
    if path.is_dir():
        files = _files(path)
        return _measured(lambda: _tar(path, files))
    raise UploadError(f"{path}: there is no such file or folder")


def _measured(pieces: Callable[[], Iterator[bytes]]) -> UploadBody:
    digest, size = hashlib.sha256(), 0
    for piece in pieces():
        digest.update(piece)
        size += len(piece)
    return UploadBody(pieces, size, digest.hexdigest())


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
