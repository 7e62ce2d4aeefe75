"""Counts what an archive holds, and refuses what is too much, no plain file, or leads out of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
Take = Callable[[str, Iterator[bytes]], None]
"""What is done with a member: its name, and its bytes as they come."""


@dataclass(frozen=True)
class NameGuard:
    """What an archive holds, by name."""

    files: list[str]
    folders: list[str]


class Guard:
    """Counts what an archive has had so far, and refuses what is too much or not plain."""

    def __init__(self, size: int, names: NameGuard) -> None:
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
