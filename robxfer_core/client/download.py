"""Downloads an artifact's files: to temporary files that are checked and renamed, never outside the folder."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import httpx2
import stamina

from robxfer_core.spec.wire.artifacts import ArtifactView, FileView

from .errors import DownloadError, Unreachable, api_error

TRIES = 4


def download_files(
    http: httpx2.Client, artifact: ArtifactView, dest: Path, on_progress: Callable[[int, int], None]
) -> list[Path]:
    """Downloads all files of an artifact.

    Args:
        http: A client with the service's base URL and its token.
        artifact: The manifest.
        dest: Folder for the files.
        on_progress: Called with the bytes received so far and the bytes in all.

    Returns:
        Paths of the files, in the manifest's order.

    Raises:
        DownloadError: A file does not match its manifest, or its path would lie outside `dest`.
        ApiError: The service refuses the request.
        Unreachable: The service does not answer.
    """
    dest.mkdir(parents=True, exist_ok=True)
    targets = [inside(dest, file.path) for file in artifact.files]
    total, done = sum(file.size for file in artifact.files), 0
    for file, target in zip(artifact.files, targets, strict=True):
        url = f"/v1/artifacts/{artifact.id}/files/{quote(file.path)}"
        _fetch(http, url, file, target, lambda part, before=done: on_progress(before + part, total))
        done += file.size
    on_progress(done, total)
    return targets


def inside(dest: Path, path: str) -> Path:
    """Resolves a manifest's path in `dest`.

    Raises:
        DownloadError: The path would lie outside `dest`, if only by a symbolic link.
    """
    parts = PurePosixPath(path).parts
    plain = bool(parts) and not any(part in ("/", "..", ".") or "\\" in part or ":" in part for part in parts)
    target = dest.joinpath(*parts) if plain else dest
    root = dest.resolve()
    if not plain or not target.parent.resolve().is_relative_to(root) or target.is_dir():
        raise DownloadError(f"the manifest's path {path!r} does not lie in {dest}")
    return target


def _fetch(http: httpx2.Client, url: str, file: FileView, target: Path, on_progress: Callable[[int], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        for attempt in stamina.retry_context(
            on=(httpx2.TransportError, DownloadError), attempts=TRIES, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
        ):
            with attempt:
                _fetch_once(http, url, file, target, on_progress)
    except httpx2.TransportError as error:
        raise Unreachable(f"{http.base_url}: {error or type(error).__name__}") from error


def _fetch_once(
    http: httpx2.Client, url: str, file: FileView, target: Path, on_progress: Callable[[int], None]
) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    digest, got = hashlib.sha256(), 0
    try:
        with os.fdopen(descriptor, "wb") as out, http.stream("GET", url) as response:
            if not response.is_success:
                raise api_error(response)
            for piece in response.iter_bytes(1 << 20):
                got += len(piece)
                if got > file.size:
                    break  # more than the manifest says
                digest.update(piece)
                out.write(piece)
                on_progress(got)
        if got != file.size or digest.hexdigest() != file.sha256:
            raise DownloadError(
                f"{file.path} does not match its manifest ({file.size} bytes, sha256 {file.sha256[:12]}...)"
            )
        os.chmod(temporary, 0o644)  # mkstemp makes files that only the owner can read
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
