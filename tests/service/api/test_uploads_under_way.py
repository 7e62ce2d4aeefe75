"""While an upload comes: how much, how slow and how many at once, and what fails meanwhile."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from anyio import CapacityLimiter

from robxfer_api import uploads as api_uploads
from robxfer_api.context import MAX_UPLOADS_PER_CALLER
from robxfer_core.client import ApiError
from robxfer_core.ledger.tables import experiments, uploads

from .uploading import count, kept, nothing_is_left, post

Serve = Callable[..., Any]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit(tmp_path: Path, serve: Serve, declared: bool) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    with serve(tmp_path / "data", max_upload_gb=0.001) as service:
        body = (bytes(1 << 10) for _ in range(1 << 12))
        if declared:
            with service.client() as client, pytest.raises(ApiError) as refused:
                client.import_dataset(tmp_path / "big", "x")
            assert (refused.value.problem.status, "1000000 bytes" in refused.value.problem.detail) == (413, True)
        else:
            assert post(service, "/v1/datasets?name=x", body).status_code == 413
        assert nothing_is_left(service)
        assert post(service, "/v1/datasets?name=x", bytes(1_000_000)).status_code == 202


def begin(service: Any, **headers: str) -> socket.socket:
    """An upload of which a part has come."""
    at = urlsplit(service.url)
    sender = socket.create_connection((at.hostname or "", at.port or 0))
    sender.sendall(b"POST /v1/datasets?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n")
    sender.sendall("".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode())
    sender.sendall(b"Content-Length: 9000000\r\n\r\n" + bytes(3 << 20))
    return sender


def test_a_sender_that_breaks_off_or_falls_silent_leaves_nothing(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    with begin(service):
        until(lambda: any(name.endswith(".part") for name in kept(service)))
    until(lambda: nothing_is_left(service))

    monkeypatch.setattr(api_uploads, "IDLE_TIMEOUT_S", 0.3)
    with begin(service) as sender:
        assert sender.recv(1000).startswith(b"HTTP/1.1 408")
    until(lambda: nothing_is_left(service))


def test_a_sender_that_is_too_slow_leaves_nothing(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    monkeypatch.setattr(api_uploads, "PATIENCE_S", 0.0)
    with begin(service):  # a minute has passed, and it was fast enough
        until(lambda: any(name.endswith(".part") for name in kept(service)))
    until(lambda: nothing_is_left(service))

    monkeypatch.setattr(api_uploads, "MIN_BYTES_PER_S", 1e15)
    with begin(service) as sender:
        answer = b""
        while b"}" not in answer and (piece := sender.recv(10_000)):  # head and body may come one after the other
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"a second" in answer
    until(lambda: nothing_is_left(service))


def test_one_caller_does_not_take_all_the_room_for_uploads(
    tmp_path: Path, serve: Serve, until: Callable[..., None]
) -> None:
    with serve(tmp_path / "data", access="tokens") as service, ExitStack() as stack:
        greedy, other = (f"Bearer {service.token()}" for _ in range(2))
        for n in range(MAX_UPLOADS_PER_CALLER):
            stack.enter_context(begin(service, Authorization=greedy))
            until(lambda n=n: len([name for name in kept(service) if name.endswith(".part")]) == n + 1)
        answer = post(service, "/v1/datasets?name=x", b"data", Authorization=greedy)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert answer.headers["content-type"] == "application/problem+json"
        assert post(service, "/v1/datasets?name=x", b"data", Authorization=other).status_code == 202
        stack.close()
        until(lambda: post(service, "/v1/datasets?name=x", b"data", Authorization=greedy).status_code == 202)


def test_more_at_once_than_there_is_room_for_are_told_to_come_again(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    object.__setattr__(service.server.context, "upload_threads", CapacityLimiter(1))
    with begin(service):
        until(lambda: any(name.endswith(".part") for name in kept(service)))
        answer = post(service, "/v1/datasets?name=x", b"data")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert httpx2.get(f"{service.url}/v1/experiments").status_code == 200
    until(lambda: post(service, "/v1/datasets?name=x", b"data").status_code == 202)


def test_a_store_that_does_not_take_it(service: Any) -> None:
    (service.scratch / "store/default").write_text("no folder")
    answer = post(service, "/v1/datasets?name=x", b"data")
    told = "The upload could not be stored; send it again."
    assert (answer.status_code, answer.json()["detail"]) == (503, told)
    assert count(service, uploads) == count(service, experiments) == 0


def test_an_upload_of_which_the_ledger_does_not_say_whether_it_is_kept(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is never without its bytes: whoever sends them again finds both."""
    finish = api_uploads.uploads.finish

    def unheard(*given: Any) -> None:
        finish(*given)
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(api_uploads.uploads, "finish", unheard)
        assert post(service, "/v1/datasets?name=x", b"data").status_code == 503
    assert post(service, "/v1/datasets?name=x", b"data").status_code == 202
    assert count(service, uploads) == 1
    (given,) = service.claim().inputs
    assert b"".join(service.store.stream(f"{given.prefix}/upload")) == b"data"
