"""Who may ask for what: in tokens mode nothing but /healthz answers without a token."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Any]:
    with serve(tmp_path_factory.mktemp("closed") / "data", access="tokens") as service:
        yield service


def asks(service: Any, path: str, token: str | None = None, method: str = "GET", **more: Any) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.request(method, service.url + path, headers=headers | more.pop("headers", {}), timeout=30, **more)


@pytest.mark.parametrize(
    "path", ["/", "/static/style.css", "/openapi.json", "/metrics", "/readyz", "/v1/job-kinds", "/x"]
)
def test_nothing_answers_without_a_token(closed: Any, path: str) -> None:
    refused = asks(closed, path)
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers.get_list("www-authenticate") == ['Basic realm="robxfer", charset="UTF-8"', "Bearer"]
    assert asks(closed, path, closed.token("read")).status_code == (404 if path == "/x" else 200)
    assert httpx2.get(closed.url + path, auth=("x", closed.token("read"))).status_code != 401
    assert asks(closed, "/healthz").status_code == 200
