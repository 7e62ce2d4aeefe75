"""Published files: whole or not at all, gone on with where they broke off, from where they may come alone."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stamina
from pydantic import ValidationError

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Inputs, LocalRun, Preempted
from robxfer_core.science.data.fetch import TRIES, Unfetched, check_url
from robxfer_core.science.data.uploads.refusal import BadUpload

DATA = bytes(range(256)) * 20_000  # 5 MB
SHA = hashlib.sha256(DATA).hexdigest()
NAMED = {"weights.ckpt": SHA}
HERE = ("127.0.0.1",)


@contextmanager
def serving(
    breaks: tuple[int, ...] = (),
    tag: str | None = '"1"',
    redirect: str | None = None,
    data: bytes = DATA,
    told: bool = True,
    refusals: int = 0,
    shift: int = 0,
) -> Iterator[Any]:
    """A server of `data` at /a/weights.ckpt. Its n-th answer ends after breaks[n] bytes. Yields (base URL, ranges).

    It refuses the first `refusals` requests with 503, and a range begins `shift` bytes later than was asked.
    """
    ranges: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if redirect:
                self.send_response(302)
                self.send_header("Location", redirect)
                self.end_headers()
                return
            if not self.path.startswith("/a/"):
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            ranges.append(asked)
            if len(ranges) <= refusals:
                self.send_error(503)
                return
            same = self.headers.get("If-Range", tag) == tag
            start = shift + int(asked.removeprefix("bytes=").rstrip("-")) if asked and same else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Encoding", "gzip")  # of the file itself, as servers of .tar.gz say
            if told:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            number = len(ranges) - 1
            self.wfile.write(data[start : start + breaks[number]] if number < len(breaks) else data[start:])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", ranges
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pause() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES, cap=True):
        yield


def run_fetch(run: LocalRun, **params: Any) -> LocalRun:
    compute("fetch", {"file": "weights.ckpt", **params}, Inputs({}), run)
    return run


def test_a_file_that_broke_off_is_gone_on_with(tmp_path: Path) -> None:
    with serving(breaks=(2_000_000, 1_000_000)) as (base, ranges):
        run = run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"], sha256=NAMED)
    assert (run.out / "weights.ckpt").read_bytes() == DATA
    assert ranges == [None, "bytes=2000000-", "bytes=3000000-"]
    assert sorted(path.name for path in run.out.iterdir()) == ["result.json", "weights.ckpt"]
    assert SHA in run.lines[-1]


def test_an_interrupted_fetch_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    with serving() as (base, ranges):
        first = LocalRun(tmp_path / "a", fetch_hosts=HERE, stop_at=3)
        with pytest.raises(Preempted):
            run_fetch(first, urls=[f"{base}a/weights.ckpt"])
        run = run_fetch(LocalRun(tmp_path / "b", fetch_hosts=HERE, resume=first.saved), urls=[f"{base}a/weights.ckpt"])
    assert (run.out / "weights.ckpt").read_bytes() == DATA
    assert first.saved is not None
    size = (first.saved / "part").stat().st_size
    assert 3 << 20 <= size < len(DATA)
    assert ranges == [None, f"bytes={size}-"]


def test_without_a_tag_or_a_sha256_it_begins_again(tmp_path: Path) -> None:
    """What came first may be of another content."""
    with serving(breaks=(2_000_000,), tag=None) as (base, ranges):
        run = run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])
    assert (run.out / "weights.ckpt").read_bytes() == DATA
    assert ranges == [None, None]


@pytest.mark.parametrize("refusals", [TRIES - 1, TRIES])
def test_a_server_that_is_busy_is_asked_again_a_few_times(tmp_path: Path, refusals: int) -> None:
    with serving(refusals=refusals) as (base, ranges):
        if refusals == TRIES:
            with pytest.raises(Unfetched, match="503 Service Unavailable"):
                run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])
        else:
            run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])
            assert (tmp_path / "out" / "weights.ckpt").read_bytes() == DATA
    assert len(ranges) == TRIES


def test_another_part_than_the_one_asked_for_is_not_taken(tmp_path: Path) -> None:
    reason = "another part of the file"
    with serving(breaks=(2_000_000,), shift=1) as (base, ranges), pytest.raises(Unfetched, match=reason):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])
    assert ranges == [None, *["bytes=2000000-"] * TRIES]
    assert not (tmp_path / "out" / "weights.ckpt").exists()


def test_a_server_that_is_gone_is_told_by_the_reason(tmp_path: Path) -> None:
    with serving() as (base, _):
        pass
    with pytest.raises(Unfetched, match=r"/a/weights.ckpt: .*refused"):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])


def test_files_of_a_family_are_named_by_eps(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for eps, name in ((0.25, "w_eps0.25"), (3.0, "w_eps3"), (0.0, "w_eps0")):
        (tmp_path / "models" / name).write_bytes(name.encode())
        run = LocalRun(tmp_path / name, data_root=tmp_path)
        compute("fetch", {"file": "w_eps{eps}", "eps": eps}, Inputs({}), run)
        assert (run.out / name).read_bytes() == name.encode()
    for wrong in (
        {"file": "w_eps{eps}"},
        {"file": "w", "eps": 1.0},
        {"file": "{0.__class__}"},
        {"file": "../w"},
        {"file": "result.json"},
    ):
        with pytest.raises(ValidationError):
            compute("fetch", wrong, Inputs({}), LocalRun(tmp_path / "wrong"))


def test_a_mirror_is_asked_where_the_first_has_nothing(tmp_path: Path) -> None:
    with serving() as (base, _):
        run = run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}nowhere/", f"{base}a/"], sha256=NAMED)
    assert run.lines[0].startswith("not taken")
    assert run.lines[0].endswith("404 Not Found")
    assert (run.out / "weights.ckpt").read_bytes() == DATA


def test_a_file_that_is_here_is_taken_and_nobody_asked(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.ckpt").write_bytes(DATA)
    run = run_fetch(
        LocalRun(tmp_path / "run", data_root=tmp_path, fetch_hosts=HERE), urls=["http://127.0.0.1:9/"], sha256=NAMED
    )
    assert (run.out / "weights.ckpt").read_bytes() == DATA
    with pytest.raises(Unfetched, match=r"models/weights.ckpt: got a file of sha256"):
        run_fetch(LocalRun(tmp_path / "other", data_root=tmp_path), sha256={"weights.ckpt": "0" * 64})


def test_a_wrong_file_here_or_there_does_not_keep_from_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.ckpt").write_bytes(b"of another time")
    with serving(data=b"<html>moved</html>") as (wrong, _), serving() as (right, ranges):
        urls = ["https://not.allowed.test/", f"{wrong}a/", f"{right}a/"]
        run = LocalRun(tmp_path / "run", data_root=tmp_path, fetch_hosts=HERE)
        run_fetch(run, urls=urls, sha256=NAMED)
    assert (run.out / "weights.ckpt").read_bytes() == DATA
    assert ranges == [None]  # nothing of the others' bytes is gone on with
    assert [line.split(":")[0] for line in run.lines[:3]] == ["not taken"] * 3


def test_an_answer_that_may_have_broken_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    with serving(told=False) as (base, _):
        with pytest.raises(Unfetched, match="without its length"):
            run_fetch(LocalRun(tmp_path / "a", fetch_hosts=HERE), urls=[f"{base}a/"])
        run = run_fetch(LocalRun(tmp_path / "b", fetch_hosts=HERE), urls=[f"{base}a/"], sha256=NAMED)
    assert (run.out / "weights.ckpt").read_bytes() == DATA


def test_another_content_than_the_one_named_is_refused(tmp_path: Path) -> None:
    with serving() as (base, _), pytest.raises(Unfetched, match=f"sha256 {SHA}; takes one of 0000"):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"], sha256={"weights.ckpt": "0" * 64})
    assert not (tmp_path / "out" / "weights.ckpt").exists()


def test_more_than_was_allowed_is_refused(tmp_path: Path) -> None:
    with serving() as (base, _), pytest.raises(Unfetched, match="takes at most 1000"):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"], max_bytes=1000)


def test_where_nobody_has_it_the_error_says_what_to_do(tmp_path: Path) -> None:
    with serving() as (base, _), pytest.raises(Unfetched, match=r"404 Not Found; put it into models/ under ROBXFER"):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}b/"])
    with pytest.raises(Unfetched, match="no URL is named"):
        run_fetch(LocalRun(tmp_path / "none"))


def test_a_redirect_leads_only_to_where_files_may_come_from(tmp_path: Path) -> None:
    with serving() as (base, ranges), serving(redirect=f"{base}a/weights.ckpt") as (first, _):
        run_fetch(LocalRun(tmp_path / "allowed", fetch_hosts=HERE), urls=[f"{first}a/"])
        assert ranges == [None]
    where = "http://169.254.169.254/latest/meta-data"
    reason = r"got the host 169\.254\.169\.254; takes one of 127\.0\.0\.1"
    with serving(redirect=where) as (base, _), pytest.raises(Unfetched, match=reason):
        run_fetch(LocalRun(tmp_path, fetch_hosts=HERE), urls=[f"{base}a/"])


@pytest.mark.parametrize(
    ("url", "sha256", "reason"),
    [
        ("https://evil.test/x", SHA, "the host evil.test"),
        ("https://example.org.evil.test/x", SHA, "the host"),
        ("https://notexample.org/x", SHA, "the host"),
        ("file:///etc/passwd", SHA, "another address"),
        ("https://example.org:port/x", SHA, "no address"),
        ("https://a..example.org/x", SHA, "no address"),
        ("https:///example.org/x", SHA, "the host"),
        ("https://example.org\\@evil.test/x", SHA, "another address"),
        ("https://evil.test#@example.org/", SHA, "the host evil.test"),
        ("https://user:word@example.org/x", SHA, "another address"),
        ("http://example.org/x", None, "http without a sha256"),
    ],
)
def test_addresses_that_are_not_asked(url: str, sha256: str | None, reason: str) -> None:
    with pytest.raises(BadUpload, match=reason):
        check_url(url, ("example.org", ".example.org"), sha256)


def test_addresses_that_are_asked() -> None:
    for url in ("https://example.org/x", "https://cdn.example.org/x", "https://EXAMPLE.org/x"):
        check_url(url, ("example.org", ".example.org"), None)
    check_url("http://example.org/x", ("example.org",), SHA)
