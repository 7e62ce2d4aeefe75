"""The manifest of an artifact: its named files with their sizes and sha256, checked at both ends of every journey."""

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .store import Check, Missing, Store, check_name, pieces_of, unchecked


class Corrupt(Exception):
    """A file is not what its manifest says. The message names the file, what was found and what was expected."""


def file_sha256(path: Path, check: Check = unchecked) -> str:
    """sha256 of a file, in hex, read in pieces, with a call of `check` before each."""
    digest = hashlib.sha256()
    for piece in pieces_of(path, check):
        digest.update(piece)
    return digest.hexdigest()


def describe(folder: Path, type: str, kind: str, key: str, check: Check = unchecked) -> dict[str, Any]:
    """The manifest of a folder's files, ordered by path. Raises ValueError on links and on what is no plain file."""
    files = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{name} is no plain file; an artifact holds plain files alone")
        if path.is_file():
            files.append({"path": check_name(name), "size": path.stat().st_size, "sha256": file_sha256(path, check)})
    return {"files": files, "type": type, "kind": kind, "key": key}


def publish_folder(
    store: Store, prefix: str, folder: Path, type: str, kind: str, key: str, check: Check = unchecked
) -> dict[str, Any]:
    """Put every file of a folder under `prefix` and return the manifest. It is for the caller to keep.

    `check` is called before each MiB that is read, and ends it by what it raises.
    """
    manifest = describe(folder, type, kind, key, check)
    for entry in manifest["files"]:
        store.put(f"{prefix}/{entry['path']}", folder / entry["path"], check)
    return manifest


def fetch_manifest(
    store: Store,
    prefix: str,
    manifest: dict[str, Any],
    dest: Path,
    only: str | None = None,
    check: Check = unchecked,
) -> None:
    """Fetch a manifest's files (or the one named `only`) into `dest`, which appears whole, verified, or not at all.

    `check` is called before each file and at each piece, and ends it by what it raises. Raises Corrupt if a file is
    missing or differs from the manifest, ValueError if `only` is not in the manifest.
    """
    wanted = [entry for entry in manifest["files"] if only in (None, entry["path"])]
    if only is not None and not wanted:
        raise ValueError(f"{prefix} has no file {only}")
    aside = dest.with_name(f".{dest.name}.{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    try:
        for entry in wanted:
            check()
            path, name = aside / check_name(entry["path"]), f"{prefix}/{entry['path']}"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pieces = store.stream(name)
            except Missing as error:
                raise Corrupt(f"{name} is not in the store") from error
            with path.open("xb") as file:  # a copy, never a link: a reader must not be able to change the store
                for piece in checked(_each(pieces, check), entry, name):
                    file.write(piece)
        aside.rename(dest)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _each(pieces: Iterable[bytes], check: Check) -> Iterator[bytes]:
    for piece in pieces:
        check()
        yield piece


def checked(pieces: Iterable[bytes], entry: dict[str, Any], name: str) -> Iterator[bytes]:
    """The pieces of a file, of which the last is held back until size and sha256 are those of its manifest entry.

    Raises Corrupt, naming the file, in place of the last piece: who reads on can never have the whole of a wrong file.
    """
    digest, size, held = hashlib.sha256(), 0, b""
    for piece in filter(None, pieces):
        digest.update(piece)
        size += len(piece)
        if size > entry["size"]:
            break
        if held:
            yield held
        held = piece
    if size != entry["size"]:
        raise Corrupt(f"{name} has {'more than ' if size > entry['size'] else ''}{size} bytes, not {entry['size']}")
    if digest.hexdigest() != entry["sha256"]:
        raise Corrupt(f"{name} has sha256 {digest.hexdigest()}, not the {entry['sha256']} of its manifest")
    if held:
        yield held
