"""Archives of anybody's making, member by member: nothing is extracted under a name of theirs, and all is counted.

A zip's directory is counted before it is read, a tar is read as it comes. What is no plain file or folder, what leads
out of the archive, what comes twice and what grows too much is refused.
"""

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import BinaryIO

from .guard import ENTRIES, NAME_BYTES, PIECE, RATIO, Guard, NameGuard, Take
from .refusal import BadUpload
from .tars import Inflated, walk_tar

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins, one that holds something or nothing."""
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


def survey(path: Path) -> NameGuard:
    """Judge a zip, tar or gzipped tar whole, keeping nothing of it. Raises BadUpload."""
    names = NameGuard([], [])
    _walk(path, names, frozenset(), lambda name, pieces: None)
    return names


def extract(path: Path, wanted: Container[str], take: Take) -> None:
    """Give the files of these names to `take`, one after the other. Raises BadUpload."""
    _walk(path, NameGuard([], []), wanted, take)


def _walk(path: Path, names: NameGuard, wanted: Container[str], take: Take) -> None:
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        guard = Guard(path.stat().st_size, names)
        try:
            if head[:4] in ZIP:
                _walk_zip(file, guard, wanted, take)
            elif head[:2] == b"\x1f\x8b":
                walk_tar(Inflated(file), guard, wanted, take)
            elif head[257:262] == b"ustar":
                walk_tar(file, guard, wanted, take)
            else:
                got = f"bytes that begin with {head[:8].hex(' ') or 'nothing'}"
                raise BadUpload("the file", got, "an .npz, .zip, .tar or .tar.gz")
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, NotImplementedError) as error:
            raise BadUpload("the archive", f"a broken one ({error})", "a whole one") from error


def _walk_zip(file: BinaryIO, guard: Guard, wanted: Container[str], take: Take) -> None:
    with open_zip(file) as archive:
        named = [(guard.name(entry.orig_filename, _kind(entry)), entry) for entry in archive.infolist()]
        if sum(entry.file_size for _, entry in named) > guard.most:
            raise BadUpload("the archive", f"more than {guard.most} bytes", f"at most {RATIO} times the archive's size")
        for name, entry in named:
            if not entry.is_dir() and name in wanted:
                take(name, read_member(archive, entry, guard.count))


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """A zip whose entries have been counted before its directory is read, and all of which can be read."""
    count = _count(file)
    archive = zipfile.ZipFile(file)
    if len(archive.infolist()) != count:
        raise BadUpload(
            "the archive", f"{len(archive.infolist())} entries, and {count} in its directory", "a plain zip"
        )
    for entry in archive.infolist():
        if entry.flag_bits & 1:
            raise BadUpload(entry.orig_filename, "an encrypted file", "files without a password")
        if entry.compress_type not in METHODS:
            raise BadUpload(entry.orig_filename, f"compression {entry.compress_type}", " or ".join(METHODS.values()))
    return archive


def _count(file: BinaryIO) -> int:
    """The entries of a zip's directory, counted without reading it into memory. Raises BadUpload for too many."""
    start, size = _directory(file)
    file.seek(start)
    count = at = 0
    while at < size:
        head = file.read(46)
        if len(head) < 46 or head[:4] != b"PK\x01\x02":
            raise BadUpload("the archive", "a broken directory", "a whole zip")
        lengths = struct.unpack("<3H", head[28:34])
        if lengths[0] > NAME_BYTES:
            raise BadUpload("the archive", f"a name of {lengths[0]} bytes", f"at most {NAME_BYTES}")
        at += 46 + sum(lengths)
        file.seek(start + at)
        count += 1
        if count > ENTRIES:
            raise BadUpload("the archive", f"more than {ENTRIES} entries", "at most that many")
    file.seek(0)
    return count


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Where a zip's directory begins, and its length, by the same reading of its end as Python's zipfile has."""
    end = file.seek(0, 2)
    tail_at = max(0, end - (1 << 16) - 22)
    file.seek(tail_at)
    tail = file.read()
    plain = len(tail) >= 22 and tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0"
    at = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise BadUpload("the archive", "no end of a zip", "a whole zip")
    (size,) = struct.unpack("<L", tail[at + 12 : at + 16])
    start = tail_at + at - size
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\x06\x07" and tail[at - 76 : at - 72] == b"PK\x06\x06":
        (size,) = struct.unpack("<Q", tail[at - 36 : at - 28])
        start = tail_at + at - 76 - size
    if start < 0:
        raise BadUpload("the archive", f"a directory of {size} bytes", "one that fits in it")
    return start, size


def _kind(entry: zipfile.ZipInfo) -> str:
    mode = entry.external_attr >> 16 if entry.create_system == 3 else 0  # by Unix
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "device"
    return "folder" if entry.is_dir() else "file"


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, count: Callable[[str, int], None]) -> Iterator[bytes]:
    """A member's bytes as they come, each piece told to `count`; never more or less than its directory says."""
    size = 0
    with archive.open(entry) as member:
        while piece := member.read(PIECE):
            size += len(piece)
            count(entry.orig_filename, len(piece))
            yield piece
    if size != entry.file_size:
        raise BadUpload(entry.orig_filename, f"{size} bytes where {entry.file_size} are said", "a whole file")
