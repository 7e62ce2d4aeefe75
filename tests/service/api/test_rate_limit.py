"""How often and how much: rates by token and by address, bodies on every route, and a database that is away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from robxfer_api import middleware
from robxfer_api.middleware import UPLOAD_ROUTES
from robxfer_api.rate_limit import RateLimiter
from robxfer_api.routes import ALL
from robxfer_core.ledger import audit
from robxfer_core.settings import Settings

from .conftest import listening
from .test_auth import ROUTES


def as_(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_rate_is_so_many_at_once_and_then_so_many_a_minute() -> None:
    now = 0.0
    rate = RateLimiter(6, lambda: now)
    assert [rate.take("a") for _ in range(6)] == [0.0] * 6
    assert rate.take("a") == pytest.approx(10.0)
    assert rate.take("b") == 0.0
    now = 9.0
    assert rate.take("a") == pytest.approx(1.0)
    now = 10.0
    assert (rate.take("a"), rate.take("a")) == (0.0, pytest.approx(10.0))
    now = 1000.0
    assert [rate.take("a") for _ in range(7)] == [*[0.0] * 6, pytest.approx(10.0)]


def test_a_rate_forgets_who_has_not_asked_for_long() -> None:
    now = 0.0
    rate = RateLimiter(60, lambda: now)
    for n in range(100_000):
        now = n / 1000
        rate.take(str(n))
    assert len(rate._full_at) < 5_000


def test_a_rate_counts_each_of_many_threads(together: Callable[..., list[Any]]) -> None:
    rate = RateLimiter(100, lambda: 0.0)
    taken = together(*[lambda: sum(not rate.take("a") for _ in range(50))] * 8)
    assert sum(taken) == 100


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for the API's rates, however slow the machine is."""
    monkeypatch.setattr(middleware, "RateLimiter", lambda per_minute: RateLimiter(per_minute, lambda: 0.0))


@pytest.mark.usefixtures("still")
def test_who_asks_too_often_waits_and_nobody_else_does(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(tmp_path / "data", access="tokens", rate_per_minute=5, failures_per_minute=3) as service:
        hasty, calm = service.token("read"), service.token("read")
        for path in ("/", "/nothing", "/static/style.css", "/v1/workers", "/metrics"):
            assert httpx2.get(service.url + path, headers=as_(hasty)).status_code != 429
        refused = httpx2.get(f"{service.url}/v1/workers", headers=as_(hasty))
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert 0 < int(refused.headers["retry-after"]) <= 12
        assert httpx2.get(f"{service.url}/v1/workers", headers=as_(calm)).status_code == 200

        strangers = [httpx2.post(f"{service.url}/v1/experiments", headers=as_("x")).status_code for _ in range(5)]
        assert strangers == [401, 401, 401, 429, 429]
        asks = [httpx2.get(f"{service.url}/").status_code for _ in range(6)]
        assert asks == [*[401] * 5, 429], "a browser asks without its password first"
        assert httpx2.get(f"{service.url}/v1/workers", headers=as_(calm)).status_code == 200
        assert [httpx2.get(f"{service.url}/healthz").status_code for _ in range(10)] == [200] * 10
        lines = audit.page(service.engine, None)
        assert [(line.who, line.project_id, line.status) for line in lines] == [("unknown", None, 401)] * 3


@pytest.mark.usefixtures("still")
def test_in_open_mode_an_address_is_who_asks(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(tmp_path / "data", rate_per_minute=2, proxies=["127.0.0.1"]) as service:
        asks = [{}, {}, {}, {"X-Forwarded-For": "203.0.113.9"}]
        statuses = [httpx2.get(f"{service.url}/v1/workers", headers=headers).status_code for headers in asks]
        assert statuses == [200, 200, 429, 200]


@pytest.mark.usefixtures("still")
def test_no_route_is_without_limits(tmp_path: Path, serve: Callable[..., Any]) -> None:
    routes = sorted(ROUTES)  # which are those of the app: a test of the matrix
    with serve(tmp_path / "large") as service:
        large = {
            (method, path): httpx2.request(method, service.url + path, content=bytes((1 << 20) + 1), timeout=30)
            for method, path in routes
        }
        assert {route for route, answer in large.items() if answer.status_code != 413} == UPLOAD_ROUTES
    with serve(tmp_path / "often", rate_per_minute=1) as service:
        httpx2.get(f"{service.url}/nothing")
        free = {route for route in routes if httpx2.request(route[0], service.url + route[1]).status_code != 429}
        assert free == {("GET", "/healthz")}


@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]])
def test_only_proxies_of_ours_say_where_a_request_is_from(
    tmp_path: Path, serve: Callable[..., Any], proxies: list[str]
) -> None:
    with serve(tmp_path / "data", proxies=proxies) as service:
        httpx2.post(f"{service.url}/nothing", headers={"X-Forwarded-For": "203.0.113.9"})
        assert [line.address for line in audit.page(service.engine, None)] == [
            "203.0.113.9" if proxies else "127.0.0.1"
        ]


CHANGES = sorted(
    (method, route.path)  # type: ignore[attr-defined]
    for router in ALL
    for route in router.routes
    for method in route.methods - {"GET", "HEAD"}  # type: ignore[attr-defined]
)


@pytest.mark.parametrize(("method", "path"), [change for change in CHANGES if change not in UPLOAD_ROUTES])
def test_a_body_that_says_it_is_too_large_is_refused_before_anything_is_done(
    service: Any, small: Callable[..., Any], method: str, path: str
) -> None:
    id = service.submit(small())
    url = service.url + path.replace("{id}", id if "experiments" in path else "art_x")
    answer = httpx2.request(method, url, content=b" " * ((1 << 20) + 1), timeout=30)
    assert answer.status_code == 413
    assert "1048576" in answer.json()["detail"]
    with service.client() as client:
        assert client.get(id).state == "running"


def test_a_database_that_does_not_answer_is_no_mistake_of_the_service(tmp_path: Path, log: Path) -> None:
    away = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    for access, path in (("tokens", "/"), ("open", "/v1/workers")):
        settings = Settings(data_dir=tmp_path, database_url=away, access=access, port=0)  # type: ignore[arg-type]
        with listening(settings) as server:
            answer = httpx2.get(server.url + path, headers=as_("rbx_" + "a" * 43), timeout=30)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "1"
            assert httpx2.get(f"{server.url}/healthz").status_code == 200
    assert "the database does not answer" in log.read_text()
