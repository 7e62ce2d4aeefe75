"""Who may ask for what: every route with every kind of token, pages of other sites, other projects, other hosts."""

import base64
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from fastapi import FastAPI
from starlette.routing import Mount, Route

from robxfer_api.routes import ALL
from robxfer_cli.main import main
from robxfer_core.ledger import projects, tokens

UNLIMITED = {"rate_per_minute": 100_000, "failures_per_minute": 100_000}

# What each route asks for, and how it answers who has it: a route that is not here fails the test below.
ROUTES: dict[tuple[str, str], tuple[str | None, int]] = {
    ("GET", "/healthz"): (None, 200),
    ("GET", "/readyz"): ("read", 200),
    ("GET", "/metrics"): ("read", 200),
    ("GET", "/openapi.json"): ("read", 200),
    ("GET", "/"): ("read", 200),
    ("GET", "/experiments/{id}"): ("read", 200),
    ("GET", "/static/style.css"): ("read", 200),
    ("GET", "/v1/experiments"): ("read", 200),
    ("POST", "/v1/experiments"): ("submit", 202),
    ("POST", "/v1/experiments/plan"): ("read", 200),
    ("GET", "/v1/experiments/{id}"): ("read", 200),
    ("POST", "/v1/experiments/{id}/cancel"): ("submit", 200),
    ("POST", "/v1/experiments/{id}/retry"): ("submit", 200),
    ("GET", "/v1/experiments/{id}/events"): ("read", 200),
    ("GET", "/v1/experiments/{id}/report"): ("read", 200),
    ("GET", "/v1/jobs/{id}"): ("read", 200),
    ("GET", "/v1/jobs/{id}/metrics"): ("read", 200),
    ("GET", "/v1/jobs/{id}/logs"): ("read", 200),
    ("GET", "/v1/artifacts/{id}"): ("read", 200),
    ("POST", "/v1/artifacts/{id}/pin"): ("submit", 200),
    ("DELETE", "/v1/artifacts/{id}/pin"): ("submit", 200),
    ("GET", "/v1/artifacts/{id}/files/{path:path}"): ("read", 200),
    ("GET", "/v1/models"): ("read", 200),
    ("GET", "/v1/datasets"): ("read", 200),
    ("POST", "/v1/models"): ("submit", 202),
    ("POST", "/v1/datasets"): ("submit", 202),
    ("GET", "/v1/workers"): ("read", 200),
    ("GET", "/v1/job-kinds"): ("read", 200),
    ("GET", "/v1/tokens"): ("admin", 200),
    ("DELETE", "/v1/tokens/{id}"): ("admin", 200),
    ("GET", "/v1/audit"): ("admin", 200),
}
UPLOADS = {"/v1/datasets": "?name=x", "/v1/models": "?arch=resnet18"}
SCOPES = ("read", "submit", "admin")


@dataclass
class House:
    """A service that asks for tokens, with something of the project default's for each route, and callers."""

    service: Any
    body: bytes
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx2.Response:
        """Sends what the route takes, for the id of ours that it is about."""
        url = self.service.url + self.filled(path)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if path in ("/v1/experiments", "/v1/experiments/plan") and method == "POST":
            headers["Content-Type"] = "application/yaml"
            more.setdefault("content", self.body)
        if path in UPLOADS and method == "POST":
            url += UPLOADS[path]
            headers["Content-Type"] = "application/octet-stream"
            more.setdefault("content", b"a file")
        return httpx2.request(method, url, headers=headers | more.pop("headers", {}), timeout=30, **more)

    def filled(self, path: str) -> str:
        ours = next((id for what, id in self.ids.items() if what in path.split("/")), "none")
        return path.replace("{path:path}", "result.json").replace("{id}", ours)


@pytest.fixture(scope="module")
def house(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any], small: Callable[..., Any]
) -> Iterator[House]:
    with serve(tmp_path_factory.mktemp("closed") / "data", access="tokens", **UNLIMITED) as service:
        made = House(service, yaml.safe_dump(small(seeds=(0,))).encode())
        projects.create(service.engine, "other")
        made.tokens = {scope: service.token(scope, scope) for scope in SCOPES}
        made.tokens["other"] = service.token("admin", "stranger", "other")
        made.tokens["expired"] = service.token("admin", expires_s=-1.0)
        made.tokens["revoked"] = service.token("admin", "gone")
        tokens.revoke(service.engine, "default", "gone")
        spare, _ = tokens.create(service.engine, "default", "spare", "read")
        with service.client(made.tokens["submit"]) as client:
            id = client.submit(made.body).id
            service.work()
            view = client.get(id)
        report = next(node for node in view.nodes if node.kind == "transfer_gap_report")
        made.ids = {"experiments": id, "jobs": report.job_id, "artifacts": str(report.artifact_id), "tokens": spare.id}
        yield made


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """All that the app answers to."""
    own = [route for router in ALL for route in router.routes] + [
        each for each in app.routes if isinstance(each, Route)
    ]
    found = {(method, route.path) for route in own for method in route.methods or () if method != "HEAD"}  # type: ignore[attr-defined]
    return found | {("GET", f"{each.path}/style.css") for each in app.routes if isinstance(each, Mount)}


def test_every_route_is_in_the_matrix(house: House) -> None:
    assert routes_of(house.service.server.config.app) == ROUTES.keys()


UNKNOWN = {
    "none": None,
    "short": "x",
    "garbage": "garbage",
    "never made": "rbx_" + "a" * 43,
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_with_every_kind_of_token(house: House, method: str, path: str) -> None:
    needed, fine = ROUTES[method, path]
    asked = {name: house.ask(method, path, token) for name, token in (UNKNOWN | house.tokens).items()}
    statuses = {name: answer.status_code for name, answer in asked.items()}
    if needed is None:
        assert set(statuses.values()) == {fine}
        return
    strangers = [*UNKNOWN, "expired", "revoked"]
    assert {name: statuses[name] for name in strangers} == dict.fromkeys(strangers, 401)
    assert len({asked[name].text for name in strangers}) == 1, "which of them it is, is told to nobody"
    assert asked["none"].headers.get_list("www-authenticate") == ['Basic realm="robxfer", charset="UTF-8"', "Bearer"]
    allowed = SCOPES[SCOPES.index(needed) :]
    assert {name: statuses[name] for name in SCOPES} == {name: fine if name in allowed else 403 for name in SCOPES}
    for name in set(SCOPES) - set(allowed):
        assert asked[name].json()["detail"] == f"This takes a token of scope {needed}; {name} has {name}."
    of_an_id = "{id}" in path and path.startswith("/v1")
    assert statuses["other"] == (404 if of_an_id else fine)
    if of_an_id:
        mine = house.filled(path).split("/")[3]
        absent = f"{mine[:4]}0{mine[5:]}"
        there = asked["other"].json()
        nowhere = httpx2.request(
            method,
            house.service.url + house.filled(path).replace(mine, absent),
            headers={"Authorization": f"Bearer {house.tokens['other']}"},
            timeout=30,
        )
        assert nowhere.json() == {**there, "detail": there["detail"].replace(mine, absent)}


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/docs", "/healthz/", "//healthz", "/static/..%2fhealthz"])
def test_paths_that_are_not_there_are_told_to_nobody(house: House, path: str) -> None:
    assert house.ask("GET", path).status_code == 401
    assert house.ask("POST", "/healthz").status_code == 401


def test_a_token_may_come_as_a_browsers_password(house: House) -> None:
    url = f"{house.service.url}/v1/experiments"
    assert httpx2.get(url, auth=("anybody", house.tokens["read"])).status_code == 200
    assert httpx2.get(url, auth=("anybody", "wrong")).status_code == 401
    for odd in ("Basic", "Basic !", f"Basic {base64.b64encode(b'no colon').decode()}", f"Token {house.tokens['read']}"):
        assert httpx2.get(url, headers={"Authorization": odd}).status_code == 401
    for raw in (b"Bearer", b"Bearer rbx_\xe9", b"Basic \xff\xfe", b"Basic 4Q=="):
        assert httpx2.get(url, headers={b"Authorization": raw}).status_code == 401


def test_the_command_line_takes_its_token_from_a_file(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "token"
    monkeypatch.setenv("ROBXFER_TOKEN_FILE", str(kept))
    monkeypatch.setattr(sys, "argv", ["robxfer", "show", house.ids["experiments"], "--server", house.service.url])
    for token, status, said in ((house.tokens["read"], 0, "done"), (house.tokens["revoked"], 2, "Unauthorized")):
        kept.write_text(f"{token}\n")
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == status
        assert said in "".join(capsys.readouterr())


def test_an_experiment_says_who_asked_for_it(house: House) -> None:
    with house.service.client(house.tokens["read"]) as client:
        assert client.get(house.ids["experiments"]).created_by == "submit"
        assert client.list().items[-1].created_by == "submit"


def test_a_token_that_is_revoked_ends_at_once(house: House) -> None:
    given = house.service.token("read", "short")
    with house.service.client(given) as short, house.service.client(house.tokens["admin"]) as admin:
        short.list()
        token = next(each for each in admin.tokens().items if each.name == "short")
        assert token.used_at is not None
        assert admin.revoke_token(token.id).revoked_at is not None
        assert admin.revoke_token(token.id).revoked_at == admin.tokens().items[0].revoked_at
        assert house.ask("GET", "/v1/workers", given).status_code == 401
        assert {each.name for each in admin.tokens().items}.isdisjoint({"stranger"})
        assert "sha256" not in house.ask("GET", "/v1/tokens", house.tokens["admin"]).text


def test_in_open_mode_every_route_answers_without_a_token(service: Any, small: Callable[..., Any]) -> None:
    house = House(service, yaml.safe_dump(small(seeds=(0,))).encode())
    spare, _ = tokens.create(service.engine, "default", "spare", "read")
    id = service.submit(small(seeds=(0,)))
    service.work()
    with service.client() as client:
        report = next(node for node in client.get(id).nodes if node.kind == "transfer_gap_report")
    house.ids = {"experiments": id, "jobs": report.job_id, "artifacts": str(report.artifact_id), "tokens": spare.id}
    answered = {route: house.ask(*route).status_code for route in ROUTES}
    assert answered == {route: fine for route, (_, fine) in ROUTES.items()}


def status_of(service: Any, head: str) -> int:
    """Sends a request as it is written."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), 30) as connection:
        connection.sendall(head.encode())
        return int(connection.makefile("rb").readline().split()[1])


LOCAL = ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "[::1]", "127.8.8.8"]
ELSEWHERE = ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "0.0.0.0", "10.0.0.1", "a@127.0.0.1", ""]


def test_in_open_mode_a_name_that_was_made_to_point_here_is_refused(service: Any) -> None:
    for host in LOCAL:
        assert status_of(service, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n") == 200, host
    for host in ELSEWHERE:
        for path in ("/", "/v1/experiments", "/static/style.css", "/nothing"):
            assert status_of(service, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n") == 421, host
    assert status_of(service, "GET / HTTP/1.0\r\n\r\n") == 421
    refused = httpx2.get(service.url, headers={"Host": "evil.example"})
    assert refused.headers["content-type"] == "application/problem+json"
    assert "evil.example" in refused.json()["detail"]


PAGES = [
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "http://127.0.0.1:1"}, False),
    ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, False),
]


@pytest.mark.parametrize(("headers", "own"), PAGES)
def test_pages_of_other_sites_change_nothing(house: House, service: Any, headers: dict[str, str], own: bool) -> None:
    path = f"/v1/experiments/{house.ids['experiments']}"
    for url, auth in ((house.service.url, ("x", house.tokens["submit"])), (service.url, None)):
        there = 200 if url == house.service.url else 404
        asked = httpx2.post(f"{url}{path}/cancel", headers=headers, auth=auth, timeout=30)
        assert asked.status_code == (there if own else 403)
        assert httpx2.get(url + path, headers=headers, auth=auth, timeout=30).status_code == there
        if own:
            asked = httpx2.post(f"{url}{path}/cancel", headers={**headers, "Origin": url}, auth=auth, timeout=30)
            assert asked.status_code == there
