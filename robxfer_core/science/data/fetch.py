"""Kind `fetch`: a published file, from a folder of this machine or by URL."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import httpx2
import stamina

from robxfer_core.jobs.fetch import Fetch, FetchResult
from robxfer_core.jobs.run import Inputs, Run

from .uploads.refusal import BadUpload

PIECE = 1 << 20
"""Bytes between two looks at whether a checkpoint is due."""
TIMEOUT_S = 60.0
"""Seconds without a byte, after which a connection counts as broken."""
TRIES = 5
"""Attempts in a row without a byte more, after which a URL is given up."""
PAUSE_S = 1.0
"""Seconds after the first such attempt; the pause doubles with each, and up to a second is added at random."""
LASTING = (400, 401, 403, 404, 410, 451)
"""Statuses that another attempt would not change."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {"User-Agent": "robxfer", "Accept-Encoding": "identity"}


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


def fetch(spec: Fetch, inputs: Inputs, run: Run) -> FetchResult:
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
        return FetchResult(file=spec.name, source=source, sha256=found, bytes=(run.out / spec.name).stat().st_size)
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
    """Refuse an address that the operator does not allow, or whose bytes nothing vouches for on their way.

    Args:
        url: An absolute URL.
        hosts: Hosts that may be asked; `.example.org` stands for any host within example.org.
        sha256: The digest that the file will be held against, if one is known.

    Raises:
        BadUpload: The URL is malformed, names a user, another scheme than http or https, or a host that is not
            allowed; or it is http, to another machine, without a sha256.
    """
    try:
        parts = httpx2.URL(url)
        parts.host.encode("idna")  # as it will be for its address; httpx2 lets that error through
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise BadUpload(url, f"no address ({error})", "http:// or https://") from error
    if parts.scheme not in ("http", "https") or parts.userinfo:
        raise BadUpload(url, "another address than a plain one", "http:// or https:// without a user")
    if not any(parts.host == name or (name.startswith(".") and parts.host.endswith(name)) for name in hosts):
        takes = f"one of {', '.join(hosts) or 'none'}; the worker's ROBXFER_FETCH_HOSTS names them"
        raise BadUpload(url, f"the host {parts.host}", takes)
    if parts.scheme == "http" and parts.host not in LOOPBACK and sha256 is None:
        raise BadUpload(url, "http without a sha256", "https, or the sha256 of the file")


def _from_url(url: str, part: Partial, spec: Fetch, run: Run) -> None:
    """Fetch the file of a URL, attempt by attempt, as long as attempts bring more of it."""

    def check(request: httpx2.Request) -> None:  # of every redirect, too
        check_url(str(request.url), run.fetch_hosts, spec.sha256.get(spec.name))

    check_url(url, run.fetch_hosts, spec.sha256.get(spec.name))
    if part.url != url:  # another server's bytes may be of another content
        part.drop()
        part.url = url
    try:
        with httpx2.Client(
            headers=HEADERS, timeout=TIMEOUT_S, follow_redirects=True, event_hooks={"request": [check]}
        ) as client:
            while not _advance(client, part, spec, run):
                pass
    except httpx2.HTTPStatusError as error:
        raise Unfetched(f"{url}: {error.response.status_code} {error.response.reason_phrase}") from error
    except httpx2.RequestError as error:
        raise Unfetched(f"{url}: {error or type(error).__name__}") from error


def _advance(client: httpx2.Client, part: Partial, spec: Fetch, run: Run) -> bool:
    """Whether the file is whole now. If not, more of it came, and it can be gone on with at once."""
    whole = False
    for attempt in stamina.retry_context(
        on=_may_pass, attempts=TRIES, timeout=None, wait_initial=PAUSE_S, wait_max=PAUSE_S * 2**TRIES
    ):
        with attempt:
            before = part.size
            try:
                _get(client, part, spec, run)
                whole = True
            except httpx2.TransportError:
                if part.size <= before:
                    raise
    return whole


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code not in LASTING
    return isinstance(error, httpx2.TransportError)


def _get(client: httpx2.Client, part: Partial, spec: Fetch, run: Run) -> None:
    """Add what is missing of the file.

    Raises:
        httpx2.TransportError: The answer broke off, or is no continuation of what has come.
        httpx2.HTTPStatusError: The server does not have the file, or not now.
        BadUpload: The file is too large, or nothing would say whether it came whole.
    """
    sha256 = spec.sha256.get(spec.name)
    ranged = {}
    if part.size and (part.tag or sha256):
        ranged = {"Range": f"bytes={part.size}-"} | ({"If-Range": part.tag} if part.tag else {})
    with client.stream("GET", part.url, headers=ranged) as answer:
        if answer.status_code == 416:
            part.path.unlink(missing_ok=True)  # longer than the file: not its beginning
            raise httpx2.RemoteProtocolError("the server has less than was there")
        answer.raise_for_status()
        start = _start(answer, part.size)
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        if total is None and sha256 is None:
            raise BadUpload(
                part.url, "an answer without its length, and no sha256", "one of them, to see that all came"
            )
        if total is not None and total > spec.max_bytes:
            raise BadUpload(part.url, f"{total} bytes", f"at most {spec.max_bytes}")
        tag = answer.headers.get("ETag", "")
        part.tag = "" if tag.startswith("W/") else tag
        with part.path.open("ab" if start else "wb") as file:
            _copy(answer, file, start, total, part, spec, run)


def _start(answer: httpx2.Response, size: int) -> int:
    """Where in the file the answer begins: at its start, or where the `size` bytes that have come end."""
    if answer.status_code != 206:
        return 0
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != size:
        raise httpx2.RemoteProtocolError("the answer is another part of the file than the one asked for")
    return size


def _copy(
    answer: httpx2.Response, file: IO[bytes], done: int, total: int | None, part: Partial, spec: Fetch, run: Run
) -> None:
    due = done + PIECE
    for piece in answer.iter_raw():  # as it is sent: an encoding may be the file's own
        done += len(piece)
        if done > spec.max_bytes:
            raise BadUpload(part.url, f"more than {spec.max_bytes} bytes", f"at most {spec.max_bytes}")
        file.write(piece)
        if done < due:
            continue
        due = done + PIECE
        run.progress(done, total or done, "bytes")
        if run.checkpoint_due():
            file.flush()
            run.checkpoint(part.save)
    run.progress(done, total or max(done, 1), "bytes")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
