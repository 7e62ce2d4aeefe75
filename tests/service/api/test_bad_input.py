"""What cannot be taken is refused before anything is stored: 422 problem+json with its place, what it got and takes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sqlalchemy import Engine, func, select

from robxfer_core.ledger import tables, workers
from robxfer_core.ledger.engine import read

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> Iterator[Any]:
    with serve(tmp_path_factory.mktemp("bad") / "data") as service:
        digits = {"shape": [1, 8, 8], "classes": 10, "train": 1348, "test": 449}
        workers.heartbeat(service.engine, "worker-1", ["cpu"], 1, "cpu", {"digits": digits})
        yield service


def _set(*path: str | int, value: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        holder: Any = spec
        for part in path[:-1]:
            holder = holder.setdefault(part, {}) if isinstance(holder, dict) else holder[part]
        holder[path[-1]] = value

    return change


CASES: dict[str, tuple[Change, str, str]] = {
    "unknown key": (_set("jobs", "source", "epoch", value=3), "jobs.source.epoch", "epoch"),
    "unknown key on top": (_set("job", value={}), "job", "job"),
    "wrong type": (_set("jobs", "source", "epochs", value="3"), "jobs.source.epochs", "3"),
    "eps below 0": (_set("jobs", "source", "threat", value={"eps": -0.5}), "jobs.source.threat.eps", "-0.5"),
    "no such job": (_set("jobs", "features", "model", value="sauce"), "jobs.features.model", "sauce"),
    "cycle": (_set("jobs", "source", "init", value="source"), "jobs.source", "source"),
    "no such data set": (_set("jobs", "digits", "name", value="cifar10"), "jobs.digits.name", "cifar10"),
    "no such class": (_set("jobs", "digits", "classes", value=[0, 42]), "jobs.digits.classes", "42"),
    "model that does not fit": (_set("jobs", "source", "arch", value={"name": "resnet18"}), "jobs.source.arch", "8x8"),
    "matrix too large": (
        _set("jobs", "source", "matrix", value={"seed": list(range(10_001))}),
        "jobs.source.matrix",
        "10001",
    ),
    "unknown kind": (_set("jobs", "source", "kind", value="trane"), "jobs.source.kind", "trane"),
    "no name": (lambda spec: spec.pop("name"), "name", "nothing"),
}


def stored(engine: Engine) -> dict[str, int]:
    with read(engine) as connection:
        names = ("experiments", "jobs", "nodes", "edges", "events", "idempotency")
        return {
            name: connection.scalar(select(func.count()).select_from(tables.metadata.tables[name])) or 0
            for name in names
        }


def refuse(api: Any, body: bytes, media: str, path: str = "/v1/experiments") -> dict[str, Any]:
    answer = httpx2.post(api.url + path, content=body, headers={"Content-Type": media}, timeout=30)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert {"type", "title", "detail"} <= problem.keys()
    assert all(each["takes"] for each in problem["errors"])
    assert not any(stored(api.engine).values())
    return problem


@pytest.mark.parametrize("path", ["/v1/experiments", "/v1/experiments/plan"])
@pytest.mark.parametrize("media", ["application/json", "application/yaml"])
@pytest.mark.parametrize("case", CASES)
def test_each_wrong_spec_is_refused_at_its_place(
    api: Any, small: Callable[..., dict[str, Any]], case: str, media: str, path: str
) -> None:
    change, at, got = CASES[case]
    spec = small()
    change(spec)
    body = json.dumps(spec) if media == "application/json" else yaml.safe_dump(spec)
    problem = refuse(api, body.encode(), media, path)
    found = {each["at"]: each["got"] for each in problem["errors"]}
    assert at in found, found
    assert got in found[at]


TWICE_YAML = b"name: a\njobs:\n  one: {kind: dataset, name: digits}\n  one: {kind: dataset, name: digits}\n"
TWICE_JSON = b'{"name": "a", "jobs": {"one": {"kind": "dataset"}, "one": {"kind": "dataset"}}}'
RAW: dict[str, tuple[bytes, str, str]] = {
    "two jobs of one name, YAML": (TWICE_YAML, "yaml", "jobs.one"),
    "two jobs of one name, JSON": (TWICE_JSON, "json", "one"),
    "exploding anchors": (
        b"name: a\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)),
        "yaml",
        "a4",
    ),
    "an anchor in itself": (b"name: a\njobs: &a {one: *a}\n", "yaml", "jobs"),
    "a tag that would run code": (b"name: !!python/object/apply:os.system [id]\n", "yaml", "name"),
    "broken YAML": (b"name: [a\n", "yaml", "line 2"),
    "broken JSON": (b'{"name": ', "json", ""),
    "NaN": (b'{"name": "a", "jobs": {"one": {"kind": "train", "label_smoothing": NaN}}}', "json", ""),
    "no UTF-8": (b"\xff\xfe\x00", "yaml", ""),
    "nothing": (b"", "yaml", ""),
    "a list": (b"[1, 2]", "json", ""),
    "deep": (b"[" * 20_000, "json", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", RAW)
def test_hostile_bytes_are_refused(api: Any, case: str) -> None:
    body, media, at = RAW[case]
    problem = refuse(api, body, f"application/{media}")
    assert problem["errors"]
    assert any(at in each["at"] if at else not each["at"] for each in problem["errors"]), problem


def test_a_body_beyond_the_limit_is_not_read_to_its_end(api: Any) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"#" * (1 << 16)

    for content in (b"#" * ((1 << 20) + 1), endless()):
        headers = {"Content-Type": "application/yaml"}
        answer = httpx2.post(f"{api.url}/v1/experiments", content=content, headers=headers, timeout=30)
        assert answer.status_code == 413
        assert "Large" in answer.json()["title"]  # which Python's versions word differently
    assert not any(stored(api.engine).values())


@pytest.mark.parametrize("media", ["text/plain", "", "multipart/form-data"])
def test_other_media_are_refused(api: Any, media: str) -> None:
    answer = httpx2.post(f"{api.url}/v1/experiments", content=b"name: a", headers={"Content-Type": media}, timeout=30)
    assert answer.status_code == 415
    assert "application/yaml" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("state=odd", "state"),
        ("name=%00", "name"),
        ("cursor=%21", "cursor"),
    ],
)
def test_wrong_queries_name_their_field(api: Any, query: str, at: str) -> None:
    answer = httpx2.get(f"{api.url}/v1/experiments?{query}", timeout=30)
    assert answer.status_code == 422, answer.text
    assert f"query.{at}" in {each["at"] for each in answer.json()["errors"]}


OF_EXPERIMENT = ("", "/events", "/report")
OF_JOB = ("", "/metrics", "/logs")
ABSENT = [
    *(f"/v1/experiments/exp_x{rest}" for rest in OF_EXPERIMENT),
    *(f"/v1/jobs/job_x{rest}" for rest in OF_JOB),
    *("/v1/artifacts/art_x", "/v1/artifacts/art_x/files/a", "/v1/experiments/%00", "/v1/nothing", "/nothing"),
]


@pytest.mark.parametrize("path", ABSENT)
def test_what_is_not_there_is_a_problem(api: Any, path: str) -> None:
    answer = httpx2.get(api.url + path, timeout=30)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404


def test_a_method_that_is_not_there_is_a_problem(api: Any) -> None:
    answer = httpx2.delete(f"{api.url}/v1/experiments", timeout=30)
    assert answer.status_code == 405
    assert answer.json()["title"] == "Method Not Allowed"
    assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


def test_an_unforeseen_error_tells_nothing_of_the_inside(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(tmp_path / "data") as service:
        with service.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE workers RENAME TO elsewhere")
        answer = httpx2.get(f"{service.url}/v1/workers", timeout=30)
        assert answer.status_code == 500
        assert answer.json()["detail"] == "The server's log says more."
        assert "workers" not in answer.text
        assert httpx2.get(f"{service.url}/healthz", timeout=30).status_code == 200
