"""Kind `fetch`: a published file, from a folder of this machine or by URL."""

import hashlib
import http.client
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from robxfer_core.jobs.imports import Fetch
from robxfer_core.jobs.run import Inputs, Run

from .uploads.refusal import BadUpload

PIECE = 1 << 20
TIMEOUT_S = 60.0
"""Without a byte, after which a connection counts as broken."""
TRIES = 5
"""Of a URL, in a row without a byte more; after each the pause doubles."""
PAUSE_S = 1.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AWAY = (URLError, http.client.HTTPException, OSError)


class Unfetched(ConnectionError):
    """The file was to be had nowhere. The message says why, place by place."""


@dataclass
class Partial:
    """What has come so far, and from where: bytes are only added to those of the same content."""

    path: Path
    url: str = ""
    tag: str = ""
    """The server's ETag."""

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def take(self, path: Path) -> None:
        """A whole file of this machine, in place of what came."""
        self.drop()
        shutil.copyfile(path, self.path)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.url = self.tag = ""

    def save(self, folder: Path) -> None:
        if self.path.exists():
            shutil.copyfile(self.path, folder / "part")
        (folder / "state.json").write_text(json.dumps({"url": self.url, "tag": self.tag}))

    def restore(self, folder: Path) -> None:
        told = json.loads((folder / "state.json").read_text())
        self.url, self.tag = told["url"], told["tag"]
        if (folder / "part").exists():
            shutil.copyfile(folder / "part", self.path)


def fetch(spec: Fetch, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Leave the file, under its name. Resumes where it was interrupted.

    The folder comes first, then URL by URL: what is not the content named, too large or on a host that the operator
    does not allow is no reason to give up the others. Raises Unfetched, which says why of each, where none has it.
    """
    part = Partial(run.out / f".{spec.name}.part")
    if run.resume is not None:
        part.restore(run.resume)
    why: list[str] = []
    for source, get in _sources(spec, part, run):
        try:
            get()
            _check_content(part, source, spec)
        except (BadUpload, Unfetched) as error:
            part.drop()
            why.append(str(error))
            run.log(f"not taken: {error}")
            continue
        found = _sha256(part.path)
        part.path.rename(run.out / spec.name)
        run.log(f"{spec.name} from {source}: sha256 {found}")
        return {"file": spec.name, "source": source, "sha256": found, "bytes": (run.out / spec.name).stat().st_size}
    told = "; ".join(why) or "no URL is named, and it lies in no folder here"
    raise Unfetched(f"{spec.name}: {told}; put it into {spec.folder}/ under ROBXFER_DATA_ROOT")


def _sources(spec: Fetch, part: Partial, run: Run) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each place where the file may be, and what brings it from there to the partial file."""
    local = run.data_root / spec.folder / spec.name if run.data_root else None
    if local is not None and local.is_file():
        yield f"{spec.folder}/{spec.name}", lambda: part.take(local)
    for url in spec.urls:
        whole = url + spec.name if url.endswith("/") else url
        yield whole, partial(_from_url, whole, part, spec, run)


def _check_content(part: Partial, source: str, spec: Fetch) -> None:
    if part.size > spec.max_bytes:
        raise BadUpload(source, f"{part.size} bytes", f"at most {spec.max_bytes}")
    named = spec.sha256.get(spec.name)
    if named is not None and (found := _sha256(part.path)) != named:
        raise BadUpload(source, f"a file of sha256 {found}", f"one of {named}")


def check_url(url: str, hosts: Sequence[str], sha256: str | None) -> None:
    """Raise BadUpload unless the operator allows the host (`.example.org`: any host within), and the bytes are safe on
    their way: by https, or held against a sha256, or on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadUpload(url, f"no address ({error})", "http:// or https://") from error
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or parts.username or parts.password:
        raise BadUpload(url, "another address than a plain one", "http:// or https:// without a user")
    if not any(host == allowed or (allowed.startswith(".") and host.endswith(allowed)) for allowed in hosts):
        takes = f"one of {', '.join(hosts) or 'none'}; the worker's ROBXFER_FETCH_HOSTS names them"
        raise BadUpload(url, f"the host {host}", takes)
    if parts.scheme == "http" and host not in LOOPBACK and sha256 is None:
        raise BadUpload(url, "http without a sha256", "https, or the sha256 of the file")


def _from_url(url: str, part: Partial, spec: Fetch, run: Run) -> None:
    """The file of a URL, tried again while that brings more of it."""
    check_url(url, run.fetch_hosts, spec.sha256.get(spec.name))
    if part.url != url:  # another server's bytes may be of another content
        part.drop()
        part.url = url
    idle, reason = 0, ""
    while idle < TRIES:
        before = part.size
        try:
            return _get(url, part, spec, run)
        except HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code in (400, 401, 403, 404, 410, 451):
                break
        except AWAY as error:
            reason = str(error) or type(error).__name__
        idle = 0 if part.size > before else idle + 1
        if idle < TRIES:
            time.sleep(PAUSE_S * 2**idle)
    raise Unfetched(f"{url}: {reason}")


def _get(url: str, part: Partial, spec: Fetch, run: Run) -> None:
    """Add what is missing of the file. Raises OSError where the answer breaks off, BadUpload where it is too large."""
    sha256 = spec.sha256.get(spec.name)
    headers = {"User-Agent": "robxfer", "Accept-Encoding": "identity"}
    if part.size and (part.tag or sha256):
        headers["Range"] = f"bytes={part.size}-"
        if part.tag:
            headers["If-Range"] = part.tag
    opener = build_opener(_Redirects(lambda target: check_url(target, run.fetch_hosts, sha256)))
    try:
        answer = opener.open(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code != 416:
            raise
        part.path.unlink(missing_ok=True)  # longer than the file: not its beginning
        raise ConnectionError("the server has less than was there") from error
    with answer:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range") or "")
        goes_on = answer.status == 206 and told is not None and int(told[1]) == part.size
        length = answer.headers.get("Content-Length") or ""
        start = part.size if goes_on else 0
        total = start + int(length) if length.isdecimal() else None
        if total is None and sha256 is None:
            raise BadUpload(url, "an answer of no told length, and no sha256", "either, to know that all has come")
        tag = answer.headers.get("ETag") or ""
        part.tag = "" if tag.startswith("W/") else tag
        if total is not None and total > spec.max_bytes:
            raise BadUpload(url, f"{total} bytes", f"at most {spec.max_bytes}")
        with part.path.open("ab" if goes_on else "wb") as file:
            _copy(answer, file, start, total, url, spec, run, part)
    if total is not None and part.size != total:
        raise ConnectionError(f"{part.size} of {total} bytes came")


def _copy(
    answer: Any, file: IO[bytes], done: int, total: int | None, url: str, spec: Fetch, run: Run, part: Partial
) -> None:
    while piece := answer.read(PIECE):
        done += len(piece)
        if done > spec.max_bytes:
            raise BadUpload(url, f"more than {spec.max_bytes} bytes", f"at most {spec.max_bytes}")
        file.write(piece)
        run.progress(done, total or max(done, 1), "bytes")
        if run.checkpoint_due():
            file.flush()
            run.checkpoint(part.save)


class _Redirects(HTTPRedirectHandler):
    """Follows a redirect only to where a URL may lead."""

    def __init__(self, check: Callable[[str], None]) -> None:
        self.check = check

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
