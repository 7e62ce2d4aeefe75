"""Manifests: the files of an artifact with their sizes and sha256, verified whenever they are written or read."""

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from robxfer_core.spec.records import FileEntry, Manifest

from .store import Missing, StopCheck, Store, check_name, file_chunks, never_stop


class Corrupt(Exception):
    """A file differs from its manifest. The message names the file and both values."""


class ArtifactInfo(NamedTuple):
    """What a manifest says of the folder as a whole."""

    type: str
    """The type of the artifact, or `checkpoint`."""
    kind: str
    """The kind of the job."""
    key: str
    """The key of the job."""


def file_sha256(path: Path, check: StopCheck = never_stop) -> str:
    """Compute the sha256 of a file, in hex, calling `check` before each MiB."""
    digest = hashlib.sha256()
    for chunk in file_chunks(path, check):
        digest.update(chunk)
    return digest.hexdigest()


def describe(folder: Path, info: ArtifactInfo, check: StopCheck = never_stop) -> Manifest:
    """Build the manifest of a folder, with its files ordered by path.

    Args:
        folder: The folder; subfolders included.
        info: What the folder holds.
        check: Called before each MiB that is read.

    Raises:
        ValueError: It holds a link, something that is no plain file, or a name that no store takes.
    """
    files: list[FileEntry] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{name} is no plain file; an artifact holds plain files alone")
        if path.is_file():
            files.append({"path": check_name(name), "size": path.stat().st_size, "sha256": file_sha256(path, check)})
    return {"files": files, "type": info.type, "kind": info.kind, "key": info.key}


def publish_folder(
    store: Store, prefix: str, folder: Path, info: ArtifactInfo, check: StopCheck = never_stop
) -> Manifest:
    """Store every file of a folder under `prefix`.

    Args:
        store: Where to.
        prefix: The files become the objects `prefix/path`.
        folder: The folder.
        info: What the folder holds.
        check: Called before each MiB that is read; every file is read twice.

    Returns:
        The manifest, which the store does not keep.
    """
    manifest = describe(folder, info, check)
    for entry in manifest["files"]:
        store.put(f"{prefix}/{entry['path']}", folder / entry["path"], check)
    return manifest


def fetch_files(
    store: Store,
    prefix: str,
    manifest: Manifest,
    dest: Path,
    only: str | None = None,
    check: StopCheck = never_stop,
) -> None:
    """Fetch the files of a manifest into a new folder, which appears whole and verified, or not at all.

    Args:
        store: Where from.
        prefix: The files are the objects `prefix/path`.
        manifest: The files.
        dest: The folder to create.
        only: Fetch this one file of the manifest alone.
        check: Called before each file and at each chunk.

    Raises:
        Corrupt: A file is missing or differs from the manifest.
        ValueError: `only` is not in the manifest.
    """
    entries = [entry for entry in manifest["files"] if only in (None, entry["path"])]
    if only is not None and not entries:
        raise ValueError(f"{prefix} has no file {only}")
    partial = dest.with_name(f".{dest.name}.{uuid.uuid4().hex}")
    partial.mkdir(parents=True)
    try:
        for entry in entries:
            check()
            path, name = partial / check_name(entry["path"]), f"{prefix}/{entry['path']}"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                chunks = store.stream(name)
            except Missing as error:
                raise Corrupt(f"{name} is not in the store") from error
            with path.open("xb") as file:  # a copy, never a link: a reader must not be able to change the store
                for chunk in verified(_with_check(chunks, check), entry, name):
                    file.write(chunk)
        partial.rename(dest)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _with_check(chunks: Iterable[bytes], check: StopCheck) -> Iterator[bytes]:
    for chunk in chunks:
        check()
        yield chunk


def verified(chunks: Iterable[bytes], entry: FileEntry, name: str) -> Iterator[bytes]:
    """Pass on the chunks of a file, the last one only once the whole fits its manifest entry.

    So a reader never receives the whole of a wrong file.

    Args:
        chunks: The file's bytes.
        entry: Its size and sha256.
        name: The name that an error gives.

    Raises:
        Corrupt: Size or sha256 differ; raised in place of the last chunk.
    """
    digest, size, held = hashlib.sha256(), 0, b""
    for chunk in filter(None, chunks):
        digest.update(chunk)
        size += len(chunk)
        if size > entry["size"]:
            break
        if held:
            yield held
        held = chunk
    if size != entry["size"]:
        raise Corrupt(f"{name} has {'more than ' if size > entry['size'] else ''}{size} bytes, not {entry['size']}")
    if digest.hexdigest() != entry["sha256"]:
        raise Corrupt(f"{name} has sha256 {digest.hexdigest()}, not the {entry['sha256']} of its manifest")
    if held:
        yield held
