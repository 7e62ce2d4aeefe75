"""Fetching an artifact's files: written aside, checked, renamed, and never outside the folder asked for."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import httpx2
import stamina
from pydantic import ValidationError

from robxfer_core.spec.wire.artifacts import ArtifactView, FileView
from robxfer_core.spec.wire.base import ProblemView

from .errors import ApiError, DownloadError, Unreachable

TRIES = 4


def download_files(
    http: httpx2.Client, artifact: ArtifactView, dest: Path, on_progress: Callable[[int, int], None]
) -> list[Path]:
    """Fetches all files of the artifact into `dest`. Raises DownloadError, ApiError, Unreachable."""
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
    """Where a manifest's path lies in `dest`. Raises DownloadError if it would leave it, by a symbolic link even."""
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
    aside, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    digest, got = hashlib.sha256(), 0
    try:
        with os.fdopen(aside, "wb") as out, http.stream("GET", url) as response:
            if not response.is_success:
                raise _refusal(response)
            for piece in response.iter_bytes(1 << 20):
                got += len(piece)
                if got > file.size:
                    break  # more than was promised: not worth fetching to its end
                digest.update(piece)
                out.write(piece)
                on_progress(got)
        if got != file.size or digest.hexdigest() != file.sha256:
            raise DownloadError(
                f"{file.path} did not come as its manifest says ({file.size} bytes, {file.sha256[:12]}...)"
            )
        os.chmod(name, 0o644)  # mkstemp's files are the owner's alone
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _refusal(response: httpx2.Response) -> ApiError:
    content = response.read()
    try:
        return ApiError(ProblemView.model_validate_json(content))
    except ValidationError:
        return ApiError(ProblemView(title=response.reason_phrase or "Error", status=response.status_code))
