"""What a service says of itself: its lists, its health and figures, its page and its routes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from robxfer_core.client import Client, Unreachable
from robxfer_core.jobs.registry import KINDS
from robxfer_core.ledger import workers

from .conftest import DIGITS

Spec = Callable[..., dict[str, Any]]


def test_lists_say_what_there_is(service: Any, small: Spec) -> None:
    with service.client() as client:
        assert client.datasets().readable is None
        assert client.workers().items == []
        workers.heartbeat(service.engine, "worker-1", ["cpu", "big"], 2, "cpu", {"digits": DIGITS})
        service.submit(small())
        service.work()
        assert client.datasets().readable == {"digits": DIGITS}
        assert [each.kind for each in client.datasets().artifacts.items] == ["dataset"]
        assert [each.type for each in client.models().items] == ["model", "model"]
        assert len(client.models(limit=1).items) == 1
        assert [(each.id, each.queues, each.slots) for each in client.workers().items] == [
            ("worker-1", ["cpu", "big"], 2)
        ]
        kinds = {each.kind: each for each in client.job_kinds().items}
    assert kinds.keys() == KINDS.keys()
    train = {each.name: each for each in kinds["train"].parameters}
    assert train["dataset"].required
    assert train["epochs"].default == 30
    assert train["threat"].default == {"norm": "l2", "eps": 0.0}
    assert "random start" in train["epochs"].meaning
    assert kinds["train"].takes["init"] == ["train", "import_model"]
    assert kinds["train"].json_schema["properties"]["ema"]


def test_kinds_of_jobs_say_what_their_results_hold(service: Any) -> None:
    with service.client() as client:
        kinds = {kind.kind: kind for kind in client.job_kinds().items}
    for kind in kinds.values():
        assert [result.name for result in kind.results] == [model.__name__ for model in KINDS[kind.kind].RESULTS]
        models = [*(result.fields for result in kind.results), *kind.result_parts.values()]
        fields = [field for model in models for field in model]
        assert all(field.meaning and field.type for field in fields), kind.kind
        assert all(field.unit for field in fields if "number" in field.type or "integer" in field.type), kind.kind
    (result,) = kinds["evaluate"].results
    clean = next(field for field in result.fields if field.name == "clean")
    assert (clean.type, clean.unit, clean.optional) == ("number", "fraction from 0 to 1", False)
    assert result.json_schema["properties"]["clean"]["type"] == "number"
    robust = next(field for field in kinds["train"].result_parts["HoldoutCurves"] if field.name == "robust")
    assert (robust.type, robust.unit) == ("list of numbers", "fraction from 0 to 1")


def test_health_readiness_and_metrics(service: Any, small: Spec) -> None:
    assert httpx2.get(f"{service.url}/healthz").json() == {"ok": True, "missing": {}}
    assert httpx2.get(f"{service.url}/readyz").json() == {"ok": True, "missing": {}}
    workers.heartbeat(service.engine, "worker-1", ["cpu"], 2, "cpu", {"digits": DIGITS})
    service.submit(small())
    service.publish(service.claim())
    answer = httpx2.get(f"{service.url}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert samples['robxfer_queue_depth{queue="cpu",state="ready"}'] == "2.0"
    assert samples['robxfer_queue_depth{queue="cpu",state="waiting"}'] == "7.0"
    assert samples['robxfer_attempts_total{kind="dataset",outcome="succeeded"}'] == "1.0"
    assert samples["robxfer_workers"] == "1.0"
    assert samples['robxfer_slots{queue="cpu"}'] == "2.0"


def test_readiness_names_what_is_missing(
    tmp_path: Path, serve: Callable[..., Any], small: Spec, until: Callable[..., None]
) -> None:
    closed = "redis://127.0.0.1:1/0"
    with serve(tmp_path / "data", broker_url=closed) as service:
        with service.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")

        def missing() -> dict[str, str]:
            answer = httpx2.get(f"{service.url}/readyz", timeout=30)
            assert answer.status_code == 503
            assert "127.0.0.1:1" not in answer.text
            return answer.json()["missing"]

        until(lambda: missing().keys() == {"broker", "migrations"})  # on a busy machine others may be slow
        assert "robxfer migrate" in missing()["migrations"]
        # A bell that cannot be rung fails no submission: the queued row is what counts.
        assert service.submit(small())


def test_the_page_is_self_contained_and_strict(service: Any, small: Spec) -> None:
    id = service.submit(small(name="a b"))
    for path in ("/", f"/experiments/{id}"):
        page = httpx2.get(service.url + path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in page.text.replace("http-equiv", "")
        assert "<script>" not in page.text
        assert "style=" not in page.text
    for name in ("style.css", "common.js", "index.js", "experiment.js", "icon.svg"):
        assert httpx2.get(f"{service.url}/static/{name}").status_code == 200
    assert "innerHTML" not in httpx2.get(f"{service.url}/static/experiment.js").text


def test_openapi_describes_every_route(service: Any) -> None:
    paths = httpx2.get(f"{service.url}/openapi.json").json()["paths"]
    assert {
        "/v1/experiments", "/v1/experiments/plan", "/v1/experiments/{id}", "/v1/experiments/{id}/cancel",
        "/v1/experiments/{id}/retry", "/v1/experiments/{id}/events", "/v1/experiments/{id}/report", "/v1/jobs/{id}",
        "/v1/jobs/{id}/metrics", "/v1/jobs/{id}/logs", "/v1/artifacts/{id}", "/v1/artifacts/{id}/files/{path}",
        "/v1/artifacts/{id}/pin",
        "/v1/models", "/v1/datasets", "/v1/workers", "/v1/job-kinds", "/healthz", "/readyz", "/metrics",
    } <= paths.keys()  # fmt: skip
    assert "application/yaml" in paths["/v1/experiments"]["post"]["requestBody"]["content"]


def test_a_service_that_is_not_there_is_unreachable() -> None:
    with Client("http://127.0.0.1:1", timeout=1) as client, pytest.raises(Unreachable, match=r"127[.]0[.]0[.]1:1"):
        client.get("exp_x")


def test_client_and_api_import_no_more_than_they_need() -> None:
    code = (
        "import sys, robxfer_core.client as client\n"
        "assert not {'torch', 'fastapi', 'sqlalchemy', 'celery'} & sys.modules.keys()\n"
        "import robxfer_api.serve\n"
        "assert not {'torch', 'torchvision'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
