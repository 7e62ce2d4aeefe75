"""Experiments against a real server: submitted, planned, listed, worked off, cancelled, retried; with the client."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from robxfer_core.client import ApiError
from robxfer_core.ledger import artifacts, workers
from robxfer_core.ledger.attempts import Fence
from robxfer_core.spec.states import AttemptOutcome

from .conftest import DIGITS

Spec = Callable[..., dict[str, Any]]


def test_a_spec_is_submitted_worked_off_and_fetched(service_on_both: Any, small: Spec, tmp_path: Path) -> None:
    service = service_on_both
    body = yaml.safe_dump(small()).encode()
    with service.client() as client:
        submitted = client.submit(body)
        assert submitted.state == "running"
        assert submitted.created
        assert submitted.jobs == {"ready": 1, "waiting": 9}
        assert [node.name for node in submitted.nodes][:3] == ["digits", "source[seed=0]", "source[seed=1]"]
        assert {node.group for node in submitted.nodes} == set(small()["jobs"])

        with pytest.raises(ApiError) as early:
            client.report(submitted.id)
        assert early.value.problem.status == 404
        assert "waiting" in early.value.problem.detail
        assert "needs" in early.value.problem.detail

        assert service.work() == 10
        done = client.get(submitted.id)
        assert done.state == "done"
        assert done.jobs == {"done": 10}
        assert client.report(submitted.id) == {"schema": 1, "title": "Small", "verdicts": []}

        report = next(node for node in done.nodes if node.kind == "transfer_gap_report")
        artifact = client.artifact(str(report.artifact_id))
        assert artifact.type == "report"
        assert artifact.key == report.key
        assert {file.path for file in artifact.files} == {"report.json", "report.html", "result.json"}
        seen: list[tuple[int, int]] = []
        files = client.download(artifact.id, tmp_path / "out", lambda got, total: seen.append((got, total)))
        assert seen[-1] == (artifact.bytes, artifact.bytes)
        assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == {
            file.path: file.sha256 for file in artifact.files
        }
        assert not list((tmp_path / "out").glob(".*"))

        service.store.delete(artifacts.get(service.engine, "default", artifact.id).prefix)
        with pytest.raises(ApiError, match=rf"no longer has the file report.json of the artifact {artifact.id}"):
            client.report(submitted.id)


def test_the_same_spec_twice_computes_nothing_twice(service: Any, small: Spec) -> None:
    service.submit(small())
    assert service.work() == 10
    with service.client() as client:
        again = client.submit(yaml.safe_dump(small(name="again")).encode())
        assert again.state == "done"
        assert service.work() == 0
        wider = client.submit(yaml.safe_dump(small(name="wider", seeds=(0, 1, 2))).encode())
        assert wider.jobs == {"done": 9, "ready": 1, "waiting": 4}


def test_json_and_yaml_are_one_spec(service: Any, small: Spec) -> None:
    with service.client() as client:
        yamls = client.submit(yaml.safe_dump(small()).encode(), "yaml")
        jsons = client.submit(json.dumps(small()).encode(), "json")
        assert {node.name: node.key for node in yamls.nodes} == {node.name: node.key for node in jsons.nodes}
        assert yamls.spec == jsons.spec == small()


def test_an_idempotency_key_submits_once(service_on_both: Any, small: Spec) -> None:
    service = service_on_both
    body, other = yaml.safe_dump(small()).encode(), yaml.safe_dump(small(name="other")).encode()
    with service.client() as client:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.submit(body, idempotency_key="k-1"), range(4)))
        assert len({answer.id for answer in answers}) == 1
        assert [answer.created for answer in answers].count(True) == 1
        with pytest.raises(ApiError) as clash:
            client.submit(other, idempotency_key="k-1")
        assert clash.value.problem.status == 409
        assert "k-1" in clash.value.problem.detail
        assert len(client.list().items) == 1


def test_what_a_key_has_submitted_is_answered_though_its_data_set_is_gone(service: Any, small: Spec) -> None:
    workers.heartbeat(service.engine, "worker-1", ["cpu"], 1, "cpu", {"digits": DIGITS})
    id = service.submit(small(), "k-1")
    workers.heartbeat(service.engine, "worker-1", ["cpu"], 1, "cpu", {"other": DIGITS})
    with pytest.raises(ApiError, match=r"digits"):
        service.submit(small())
    assert service.submit(small(), "k-1") == id


def test_the_location_leads_to_the_experiment(service: Any, small: Spec) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx2.post(f"{service.url}/v1/experiments", content=json.dumps(small()), headers=headers)
    assert answer.status_code == 202
    found = httpx2.get(service.url + answer.headers["location"])
    assert found.json()["id"] == answer.json()["id"]


def test_a_plan_says_what_is_done_and_stores_nothing(service: Any, small: Spec) -> None:
    service.submit(small(seeds=(0,)))
    service.work()
    workers.heartbeat(service.engine, "worker-1", ["cpu"], 3, "cpu", {"digits": DIGITS})
    with service.client() as client:
        plan = client.plan(yaml.safe_dump(small(name="planned", seeds=(0, 1, 2))).encode())
        assert len(client.list().items) == 1
    assert plan.name == "planned"
    groups = {group.name: group for group in plan.groups}
    assert next(iter(groups)) == "digits"
    assert (groups["source"].nodes, groups["source"].jobs, groups["source"].done) == (3, 3, 1)
    assert groups["source"].after == ["digits"]
    assert set(groups["report"].after) == {"heads", "levels"}
    assert (groups["digits"].done, groups["digits"].flops) == (1, 0)
    assert plan.counts["train"].model_dump() == {"nodes": 3, "jobs": 3, "done": 1}
    states = {node.name: node.state for node in plan.nodes}
    assert states["source[seed=0]"] == "done"
    assert states["source[seed=1]"] == "new"
    assert ("digits", "source[seed=2]") in plan.edges
    assert plan.cost.slots == 3
    assert plan.cost.flops > 0
    assert plan.cost.seconds
    assert plan.cost.wall_seconds
    assert plan.cost.seconds >= plan.cost.wall_seconds > 0
    assert "train" in plan.cost.basis
    assert plan.detectable_effect is not None
    effect = plan.detectable_effect["report"]
    assert (effect["seeds"], effect["levels"], effect["effect"]) == (3, 1, None)


def test_more_seeds_detect_smaller_effects(service: Any, small: Spec) -> None:
    workers.heartbeat(service.engine, "worker-1", ["cpu"], 1, "cpu", {"digits": DIGITS})

    def effect(seeds: int) -> float:
        spec = small(seeds=tuple(range(seeds)))
        spec["jobs"]["source"]["matrix"]["threat.eps"] = [0.0, 0.5]
        with service.client() as client:
            found = client.plan(yaml.safe_dump(spec).encode()).detectable_effect
        assert found
        assert (found["report"]["n_test"], found["report"]["levels"]) == (449, 2)
        return found["report"]["effect"]

    few, many = effect(3), effect(10)
    assert 0.01 < many < few < 1


def test_pages_are_walked_newest_first_and_filtered(service: Any, small: Spec) -> None:
    ids = [service.submit(small(name=f"n{i % 2}", labels={"parity": str(i % 2)})) for i in range(5)]
    service.work()
    with service.client() as client:
        walked, cursor = [], None
        while True:
            page = client.list(limit=2, cursor=cursor)
            walked += [row.id for row in page.items]
            cursor = page.next
            if cursor is None:
                break
            assert len(page.items) == 2
        assert walked == ids[::-1]
        assert [row.id for row in client.list(name="n1").items] == [ids[3], ids[1]]
        assert [row.id for row in client.list(label="parity=0").items] == [ids[4], ids[2], ids[0]]
        assert client.list(state="running").items == []
        assert len(client.list(state="done").items) == 5


def test_cancel_and_retry_are_idempotent(service: Any, small: Spec) -> None:
    id = service.submit(small())
    with service.client() as client:
        assert client.cancel(id).state == "cancelled"
        assert client.cancel(id).state == "cancelled"
        assert client.get(id).jobs == {"cancelled": 10}
        assert service.work() == 0
        assert client.retry(id).state == "running"
        assert client.retry(id).state == "running"
        assert service.work() == 10
        assert client.retry(id).state == "done"
        assert client.cancel(id).state == "done"


def test_a_job_tells_its_attempts_its_error_and_what_it_waits_for(service: Any, small: Spec) -> None:
    id = service.submit(small(run={"retries": 0}))
    with service.client() as client:
        nodes = {node.name: node for node in client.get(id).nodes}
        first = client.job(nodes["digits"].job_id)
        assert [reason.reason for reason in first.waiting_for] == ["worker"]
        waiting = client.job(nodes["source[seed=0]"].job_id)
        assert waiting.waiting_for[0].reason == "inputs"
        assert waiting.waiting_for[0].jobs == [first.id]
        assert [(each.field, each.job_id) for each in waiting.inputs] == [("dataset", first.id)]

        claim = service.claim()
        assert Fence(service.engine, claim.job_id, 1).record(
            metrics=[("loss", 1, 0.5), ("loss", 2, 0.25)], log_lines=["a", "b"]
        )
        assert Fence(service.engine, claim.job_id, 1).record(metrics=[("acc", 1, float("nan"))])
        Fence(service.engine, claim.job_id, 1).finish(AttemptOutcome.FAILED, {"message": "no such file"})
        failed = client.job(first.id)
        assert (failed.state, failed.outcome, failed.error) == ("failed", "failed", {"message": "no such file"})
        assert [(each.number, each.outcome, each.worker_id) for each in failed.attempts] == [(1, "failed", "worker-1")]
        assert client.get(id).state == "failed"

        rows, cursor = [], None
        for _ in range(3):
            page = client.metrics(first.id, cursor, limit=1)
            rows += [(row.name, row.step, row.value) for row in page.items]
            cursor = page.next
        assert rows == [("acc", 1, None), ("loss", 1, 0.5), ("loss", 2, 0.25)]
        page = client.logs(first.id, limit=1)
        assert [line.data["line"] for line in page.items] == ["a"]
        assert [line.data["line"] for line in client.logs(first.id, page.next).items] == ["b"]
        with pytest.raises(ApiError) as odd:
            client.logs(first.id, "odd")
        assert odd.value.problem.errors[0].at == "query.cursor"
