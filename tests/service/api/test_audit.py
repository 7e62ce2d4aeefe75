"""Who did what: a line in the trail before anything is changed, and a line in the log for each request."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sqlalchemy import func, select

from robxfer_cli.main import main
from robxfer_core.client import ApiError
from robxfer_core.ledger import audit, projects, tables
from robxfer_core.ledger.engine import read

Spec = Callable[..., dict[str, Any]]


def test_what_was_asked_for_is_in_the_trail_granted_or_not(
    tmp_path: Path, serve: Callable[..., Any], small: Spec
) -> None:
    body = yaml.safe_dump(small()).encode()
    with serve(tmp_path / "data", access="tokens") as service:
        projects.create(service.engine, "other")
        given = {scope: service.token(scope, scope) for scope in ("read", "submit", "admin")}
        stranger = service.token("admin", "stranger", "other")
        with service.client(given["submit"]) as client:
            id = client.submit(body).id
            client.get(id)
            with pytest.raises(ApiError):
                client.submit(b"name: [")
        with service.client(given["read"]) as client, pytest.raises(ApiError, match="scope submit; read has read"):
            client.cancel(id)
        with service.client(stranger) as client, pytest.raises(ApiError):
            client.cancel(id)
        httpx2.post(f"{service.url}/v1/experiments/{id}/cancel")
        with service.client(given["admin"]) as client:
            made = next(each for each in client.tokens().items if each.name == "read")
            client.revoke_token(made.id)
            lines = client.audit().items
            first = client.audit(limit=2)
            second = client.audit(limit=2, cursor=first.next)
            assert first.items + second.items == lines
            with pytest.raises(ApiError) as odd:
                client.audit(cursor="odd")
            assert odd.value.problem.errors[0].at == "query.cursor"
        cancel = "POST /v1/experiments/{id}/cancel"
        assert [(line.who, line.action, line.subject, line.status) for line in lines] == [
            ("admin", "DELETE /v1/tokens/{id}", made.id, 200),
            ("read", cancel, id, 403),
            ("submit", "POST /v1/experiments", None, 422),
            ("submit", "POST /v1/experiments", id, 202),
        ]
        assert {line.address for line in lines} == {"127.0.0.1"}
        assert lines[1].token_id == made.id
        others = [line for line in audit.page(service.engine, None) if line.project_id != "default"]
        assert [(line.project_id, line.who, line.subject, line.status) for line in others] == [
            (None, "unknown", id, 401),
            ("other", "stranger", id, 404),
        ]


def test_nothing_is_changed_without_its_line(service: Any, small: Spec) -> None:
    with service.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    headers = {"Content-Type": "application/json"}
    asked = httpx2.post(f"{service.url}/v1/experiments", content=json.dumps(small()), headers=headers)
    assert asked.status_code == 503
    with read(service.engine) as connection:
        assert connection.scalar(select(func.count()).select_from(tables.experiments)) == 0


def test_strangers_write_nothing_odd_into_the_trail(service_on_both: Any) -> None:
    for path in ("/%00%0a%1b[31m", "/" + "x" * 5000, "/v1/experiments/exp_x/cancel%0d"):
        assert httpx2.post(service_on_both.url + path).status_code in (404, 405)
    lines = audit.page(service_on_both.engine, "default")
    assert len(lines) == 3
    assert all(line.action.isprintable() and len(line.action) < 400 for line in lines)


def of(log: Path, request: str) -> list[dict[str, Any]]:
    """The lines that a request has caused."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line.get("request") == request]


def test_each_request_is_a_line_in_the_log(
    tmp_path: Path, serve: Callable[..., Any], small: Spec, log: Path, until: Callable[..., None]
) -> None:
    with serve(tmp_path / "data", access="tokens") as service:
        token = service.token("submit", "anna")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        given = {**headers, "X-Request-ID": "r-1"}
        asked = httpx2.post(f"{service.url}/v1/experiments?x=y", content=json.dumps(small()), headers=given)
        assert asked.headers["x-request-id"] == "r-1"
        job = asked.json()["nodes"][0]["job_id"]
        other = httpx2.get(f"{service.url}/v1/jobs/{job}/logs", headers={**headers, "X-Request-ID": "bad id"})
        made = other.headers["x-request-id"]
        assert made != "bad id"
        refused = httpx2.get(f"{service.url}/v1/jobs/{job}", headers={"Authorization": "Bearer rbx_hush"})
        stranger = refused.headers["x-request-id"]
        until(lambda: all(of(log, each) for each in ("r-1", made, stranger)))
    (line,) = of(log, "r-1")
    assert line["ms"] > 0
    expected = {
        "event": "request", "level": "info", "method": "POST", "path": "/v1/experiments", "route": "/v1/experiments",
        "status": 202, "caller": "anna", "project": "default", "address": "127.0.0.1", "experiment": asked.json()["id"],
    }  # fmt: skip
    assert expected.items() <= line.items()
    (line,) = of(log, made)
    assert {"route": "/v1/jobs/{id}/logs", "job": job, "status": 200}.items() <= line.items()
    (line,) = of(log, stranger)
    assert {"route": None, "job": job, "status": 401, "caller": None, "project": None}.items() <= line.items()
    assert token not in log.read_text()
    assert "rbx_" not in log.read_text()


def test_a_token_where_an_id_is_asked_for_is_not_written_down(
    tmp_path: Path, serve: Callable[..., Any], log: Path, until: Callable[..., None]
) -> None:
    with serve(tmp_path / "data", access="tokens") as service:
        token = service.token("admin")
        headers = {"Authorization": f"Bearer {token}"}
        for path in (f"/v1/tokens/{token}", f"/v1/{'x' * 280}{token}", f"/%72bx_{token[4:]}/{token}"):
            httpx2.delete(service.url + path, headers={**headers, "X-Request-ID": token})
        httpx2.get(f"{service.url}/{token[:30].lower()}", headers={**headers, "X-Request-ID": "r-secret"})
        until(lambda: of(log, "r-secret"))
        lines = audit.page(service.engine, None)
    assert [line.action for line in lines[::2]] == ["DELETE /rbx_.../rbx_...", "DELETE /v1/tokens/rbx_..."]
    written = log.read_text() + str(lines)
    assert token[4:20] not in written
    (line,) = of(log, "r-secret")
    assert line["path"] == "/rbx_..."
    assert "subject" not in line


def test_an_unforeseen_error_is_in_the_log_without_its_variables(
    service: Any, log: Path, until: Callable[..., None]
) -> None:
    with service.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE workers RENAME TO elsewhere")
    headers = {"X-Request-ID": "r-broken", "Cookie": "hush"}
    assert httpx2.get(f"{service.url}/v1/workers", headers=headers).status_code == 500
    until(lambda: "no such table: workers" in log.read_text())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = next(line for line in lines if "no such table: workers" in json.dumps(line))
    assert (told["logger"], told["level"]) == ("uvicorn.error", "error")
    assert '"locals"' not in json.dumps(told)
    assert "hush" not in log.read_text()
    assert [line["status"] for line in of(log, "r-broken") if line["event"] == "request"] == [500]


def test_what_an_operator_does_is_in_the_trail(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ROBXFER_DATABASE_URL", database_url)
    monkeypatch.setenv("ROBXFER_DATA_DIR", str(tmp_path / "data"))

    def robxfer(*words: str, status: int = 0) -> str:
        """What a command says, where all goes well on its standard output."""
        monkeypatch.setattr(sys, "argv", ["robxfer", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert (ended.value.code or 0) == status, said
        return said.err if status else said.out

    robxfer("project", "create", "lab", "--quota", "3")
    secret = robxfer("token", "create", "anna", "--project", "lab", "--scope", "admin", "--expires", "30d").strip()
    assert secret.startswith("rbx_")
    assert "anna" in robxfer("token", "list", "--project", "lab")
    assert "lab" in robxfer("project", "list")
    robxfer("token", "revoke", "anna", "--project", "lab")
    robxfer("token", "revoke", secret, "--project", "lab", status=2)
    for words, why in {
        ("token", "create", "anna", "--project", "lab"): "has, or had, a token anna",
        ("token", "create", "anna", "--project", "none"): "no project none",
        ("token", "create", "bob", "--expires", "soon"): "takes a number and m, h or d",
        ("project", "create", "No Name"): "takes up to 40 small letters",
    }.items():
        assert why in robxfer(*words, status=2)
    robxfer("gc", "--older-than", "30", "--dry-run")
    robxfer("gc", "--older-than", "30")
    trail = robxfer("audit", "--json")
    lines = [(line["project_id"], line["who"], line["action"], line["status"]) for line in json.loads(trail)]
    assert lines == [
        (None, "operator", "gc --older-than 30", 200),
        (None, "operator", "project create", 400),
        ("lab", "operator", "token create", 400),
        ("lab", "operator", "token revoke", 400),
        ("lab", "operator", "token revoke", 200),
        ("lab", "operator", "token create", 200),
        (None, "operator", "project create", 200),
    ]
    assert secret not in trail
