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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .refusal import BadUpload

ENTRIES = 500_000
TOTAL_BYTES = 64 << 30
"""Of all members together."""
RATIO = 200
"""Bytes of the members for each byte of the archive, from FREE_BYTES on; images are compressed already."""
FREE_BYTES = 64 << 20
NAME_BYTES = 512
DEPTH = 8
PIECE = 1 << 20
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins, one that holds something or nothing."""
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}

Take = Callable[[str, Iterator[bytes]], None]
"""What is done with a member: its name, and its bytes as they come."""


@dataclass(frozen=True)
class Names:
    """What an archive holds, by name."""

    files: list[str]
    folders: list[str]


def survey(path: Path) -> Names:
    """Judge a zip, tar or gzipped tar whole, keeping nothing of it. Raises BadUpload."""
    names = Names([], [])
    _walk(path, names, frozenset(), lambda name, pieces: None)
    return names


def extract(path: Path, wanted: Container[str], take: Take) -> None:
    """Give the files of these names to `take`, one after the other. Raises BadUpload."""
    _walk(path, Names([], []), wanted, take)


def _walk(path: Path, names: Names, wanted: Container[str], take: Take) -> None:
    with path.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        guard = _Guard(path.stat().st_size, names)
        try:
            if head[:4] in ZIP:
                _walk_zip(file, guard, wanted, take)
            elif head[:2] == b"\x1f\x8b":
                _walk_tar(_Inflated(file), guard, wanted, take)
            elif head[257:262] == b"ustar":
                _walk_tar(file, guard, wanted, take)
            else:
                got = f"bytes that begin with {head[:8].hex(' ') or 'nothing'}"
                raise BadUpload("the file", got, "an .npz, .zip, .tar or .tar.gz")
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, NotImplementedError) as error:
            raise BadUpload("the archive", f"a broken one ({error})", "a whole one") from error


class _Guard:
    """Counts what an archive has had so far, and refuses what is too much or not plain."""

    def __init__(self, size: int, names: Names) -> None:
        self.most = min(TOTAL_BYTES, max(FREE_BYTES, RATIO * size))
        self.names = names
        self._seen: set[str] = set()
        self._bytes = 0

    def name(self, name: str, kind: str) -> str:
        """A member's name, checked, without the slash at a folder's end. kind: file, folder, or what it is instead."""
        if kind not in ("file", "folder"):
            raise BadUpload(name, f"a {kind}", "plain files and folders")
        plain = name.removesuffix("/") if kind == "folder" else name
        plain = plain.removeprefix("./")
        if kind == "folder" and plain in ("", "."):
            return ""
        parts = plain.split("/")
        if len(name.encode(errors="surrogateescape")) > NAME_BYTES or len(parts) > DEPTH:
            raise BadUpload(name[:100], "a longer or deeper name", f"{NAME_BYTES} bytes and {DEPTH} levels")
        if (
            name.startswith("/")
            or any(part in ("", ".", "..") for part in parts)
            or "\\" in name
            or parts[0][1:2] == ":"
        ):
            raise BadUpload(name, "a name that leads out of the archive", "relative names")
        if not name.isprintable():
            raise BadUpload(name, "a name with characters that cannot be shown", "readable names, in UTF-8")
        if len(self._seen) >= ENTRIES:
            raise BadUpload("the archive", f"more than {ENTRIES} entries", "at most that many")
        if kind == "file" and plain in self._seen:
            raise BadUpload(name, "a name that comes twice", "each name once")
        (self.names.folders if kind == "folder" else self.names.files).append(plain)
        self._seen.add(plain)
        return plain

    def count(self, name: str, size: int) -> None:
        self._bytes += size
        if self._bytes > self.most:
            raise BadUpload(name, f"more than {self.most} bytes so far", f"at most {RATIO} times the archive's size")


def _walk_zip(file: BinaryIO, guard: _Guard, wanted: Container[str], take: Take) -> None:
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


class _Inflated:
    """A gzip file, inflated a little at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises EOFError where the end is missing."""
        while size > 0:
            if self._inflate.eof:
                rest = self._inflate.unused_data or self._file.read(PIECE)
                if not rest.strip(b"\0"):
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)  # gzip files may follow each other
                data = self._inflate.decompress(rest, size)
            else:
                rest = self._inflate.unconsumed_tail or self._file.read(PIECE)
                data = self._inflate.decompress(rest, size)
                if not rest and not data and not self._inflate.eof:
                    raise EOFError("it ends too soon")
            if data:
                return data
        return b""


KINDS = {
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}
EXTENDED_BYTES = 1 << 20


def _walk_tar(file: "BinaryIO | _Inflated", guard: _Guard, wanted: Container[str], take: Take) -> None:
    # Not by tarfile's own reader: it takes a header's extension of any length into memory, and follows sparse maps.
    given: dict[str, str] = {}
    while True:
        block = _exactly(file, tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            return
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        guard.count(info.name, tarfile.BLOCKSIZE)
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            if info.size > EXTENDED_BYTES:
                raise BadUpload("the archive", f"a header of {info.size} bytes", f"at most {EXTENDED_BYTES}")
            data = b"".join(_tar_pieces(file, info, info.name, guard))
            if info.type == tarfile.GNUTYPE_LONGNAME:
                given["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XHDTYPE:
                given |= _records(data)
            continue
        name, info.size = given.get("path", info.name), _size(given, info.size)
        given = {}
        kind = "file" if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else KINDS.get(info.type, "special file")
        plain = guard.name(name, "folder" if info.type == tarfile.DIRTYPE else kind)
        pieces = _tar_pieces(file, info, name, guard)
        if kind == "file" and plain in wanted:
            take(plain, pieces)
        for _ in pieces:  # what was not taken is passed by
            pass


def _tar_pieces(file: "BinaryIO | _Inflated", info: tarfile.TarInfo, name: str, guard: _Guard) -> Iterator[bytes]:
    left = info.size
    if left < 0:
        raise BadUpload(name, f"a size of {left}", "sizes of 0 or more")
    while left:
        piece = file.read(min(left, PIECE))
        if not piece:
            raise EOFError("it ends too soon")
        left -= len(piece)
        guard.count(name, len(piece))
        yield piece
    _exactly(file, -info.size % tarfile.BLOCKSIZE)


def _exactly(file: "BinaryIO | _Inflated", size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = file.read(size - len(data))
        if not piece:
            raise EOFError("it ends too soon")
        data += piece
    return data


def _records(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEYWORD=VALUE` of a pax header that change what follows: its path and its size."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not (space and length.isdigit() and len(length) < 8 and len(length) + 2 < int(length) <= len(data)):
            raise BadUpload("the archive", "a broken header", "a whole tar")
        word, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if word.startswith(b"GNU.sparse"):
            raise BadUpload("the archive", "a sparse file", "plain files")
        if word in (b"path", b"size"):
            found[word.decode()] = value.decode("utf-8", "surrogateescape")
        data = data[int(length) :]
    return found


def _size(given: dict[str, str], size: int) -> int:
    text = given.get("size", str(size))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadUpload("the archive", "a size that is no number", "a whole tar")
    return int(text)
