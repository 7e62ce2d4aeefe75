"""Event streams: whole, in order, once, resumable, ended, and cheap; on SQLite and on PostgreSQL."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sqlalchemy import update

from robxfer_api import events as api_events
from robxfer_api.rate_limit import ConcurrencyLimiter
from robxfer_core.client import ApiError
from robxfer_core.ledger import events, tables, tokens
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import now, write
from robxfer_core.ledger.events import append, experiment_event
from robxfer_core.spec.wire.jobs import EventView
from tests.service.servers import PATIENCE_S

Spec = Callable[..., dict[str, Any]]
Until = Callable[[Callable[[], bool]], None]


class Listener(threading.Thread):
    """A client that follows an experiment to its end."""

    def __init__(self, service: Any, id: str, last: int = 0) -> None:
        super().__init__(daemon=True)
        self.seen: list[EventView] = []
        self._service, self._id, self._last = service, id, last
        self.start()

    def run(self) -> None:
        with self._service.client() as client:
            for event in client.events(self._id, self._last):
                self.seen.append(event)

    def all(self) -> list[EventView]:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.seen


def recorded(service: Any, id: str) -> list[int]:
    return [event.id for event in events.for_experiment(service.engine, id, 0, 10_000)]


def test_followers_see_every_event_once_in_order_and_an_end(service_on_both: Any, small: Spec, until: Until) -> None:
    service = service_on_both
    id = service.submit(small())
    early = [Listener(service, id) for _ in range(3)]
    until(lambda: all(listener.seen for listener in early))
    service.publish(service.claim())
    middle = Listener(service, id)
    claim = service.claim()
    Fence(service.engine, claim.job_id, claim.attempt).renew(60.0, {"done": 1, "total": 2, "unit": "epochs"})
    Fence(service.engine, claim.job_id, claim.attempt).record(log_lines=["a line\nof two"])
    service.publish(claim)
    service.work()
    late = Listener(service, id)
    expected = recorded(service, id)
    for listener in (*early, middle, late):
        *seen, end = listener.all()
        assert [event.id for event in seen] == expected
        assert (end.type, end.data, end.id) == ("end", {"state": "done"}, expected[-1])
    by_type = {event.type: event for event in late.seen}
    assert by_type["progress"].data == {"done": 1, "total": 2, "unit": "epochs"}
    assert by_type["log"].data["line"] == "a line\nof two"


def test_a_stream_goes_on_from_the_last_id(service: Any, small: Spec) -> None:
    id = service.submit(small())
    service.work()
    expected = recorded(service, id)
    for start in (0, len(expected) // 2, len(expected) - 1):
        seen = Listener(service, id, expected[start]).all()
        assert [event.id for event in seen[:-1]] == expected[start + 1 :]
        assert seen[-1].type == "end"


def test_a_job_of_two_experiments_is_told_to_both(service: Any, small: Spec, until: Until) -> None:
    ids = [service.submit(small(name=name)) for name in ("one", "two")]
    listeners = [Listener(service, id) for id in ids]
    until(lambda: all(listener.seen for listener in listeners))
    service.work()
    for id, listener in zip(ids, listeners, strict=True):
        assert [event.id for event in listener.all()[:-1]] == recorded(service, id)


def test_a_cancelled_experiment_ends_and_a_retried_one_is_followed_again(
    service: Any, small: Spec, until: Until
) -> None:
    id = service.submit(small())
    first = Listener(service, id)
    until(lambda: bool(first.seen))
    with service.client() as client:
        client.cancel(id)
        assert first.all()[-1].data == {"state": "cancelled"}
        client.retry(id)
    second = Listener(service, id)
    until(lambda: bool(second.seen))
    service.work()
    assert second.all()[-1].data == {"state": "done"}
    assert [event.id for event in second.seen[:-1]] == recorded(service, id)


def test_a_client_outlives_a_restarted_server(
    tmp_path: Path, serve: Callable[..., Any], small: Spec, until: Until
) -> None:
    with serve(tmp_path / "data") as first:
        id = first.submit(small())
        port = int(first.url.rsplit(":", 1)[1])
        listener = Listener(first, id)
        until(lambda: bool(listener.seen))
    with serve(tmp_path / "data", port=port) as second:
        second.work()
        assert [event.id for event in listener.all()[:-1]] == recorded(second, id)


def test_a_hundred_streams_hold_up_nobody(service_on_both: Any, small: Spec, until: Until) -> None:
    service = service_on_both
    id = service.submit(small())
    with ExitStack() as stack:
        http = stack.enter_context(httpx2.Client(timeout=PATIENCE_S, limits=httpx2.Limits(max_connections=None)))
        lines: list[Iterator[str]] = []
        for _ in range(100):
            answer = stack.enter_context(http.stream("GET", f"{service.url}/v1/experiments/{id}/events"))
            assert answer.status_code == 200
            lines.append(answer.iter_lines())
        for each in lines:
            assert next(line for line in each if line.startswith("data:"))
        assert http.get(f"{service.url}/healthz").status_code == 200
        assert http.get(f"{service.url}/v1/experiments/{id}").status_code == 200
        # A stream at rest holds no connection to the database: all are back in the pool.
        until(lambda: service.server.context.engine.pool.checkedout() == 0)
        assert sum(thread.name == "events" for thread in threading.enumerate()) == 1
        service.work()
        for each in lines:
            assert any(line == "event: end" for line in each)


def test_a_stream_ends_soon_after_its_token_is_revoked_or_expires(
    tmp_path: Path, serve: Callable[..., Any], small: Spec, until: Until
) -> None:
    with serve(tmp_path / "data", access="tokens") as service, ExitStack() as stack:
        with service.client(service.token("submit")) as client:
            id = client.submit(yaml.safe_dump(small()).encode()).id
        clients = [stack.enter_context(service.client(service.token("read", name))) for name in ("a", "b", "c")]
        gone, late, held = (client.events(id) for client in clients)
        assert {next(each).experiment_id for each in (gone, late, held)} == {id}
        tokens.revoke(service.engine, "default", "a")
        with write(service.engine) as connection:
            connection.execute(update(tables.tokens).where(tables.tokens.c.name == "b").values(expires_at=now()))
        until(lambda: len(service.server.context.broadcaster.subscribers) == 1)
        for each in (gone, late):
            with pytest.raises(ApiError) as refused:
                list(each)
            assert refused.value.problem.status == 401
        service.work()
        assert list(held)[-1].type == "end"


def test_one_caller_has_so_many_streams_at_once(
    tmp_path: Path, serve: Callable[..., Any], small: Spec, until: Until
) -> None:
    with serve(tmp_path / "data", access="tokens") as service, ExitStack() as stack:
        object.__setattr__(service.server.context, "streams", ConcurrencyLimiter(2, "event streams"))
        greedy, other = ({"Authorization": f"Bearer {service.token()}"} for _ in range(2))
        with service.client(service.token()) as client:
            id = client.submit(yaml.safe_dump(small()).encode()).id
        url = f"{service.url}/v1/experiments/{id}/events"
        broadcaster = service.server.context.broadcaster
        with httpx2.stream("GET", url, headers=greedy), httpx2.stream("GET", url, headers=greedy):
            with httpx2.stream("GET", url, headers=greedy) as refused:
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
                assert refused.headers["content-type"] == "application/problem+json"
            with httpx2.stream("GET", url, headers=other) as answer:
                assert answer.status_code == 200
        until(lambda: not broadcaster.subscribers)

        def again() -> bool:
            answer = stack.enter_context(httpx2.stream("GET", url, headers=greedy))
            return answer.status_code == 200

        until(again)


def test_a_slow_client_is_let_go_and_resumes(
    service: Any, small: Spec, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_events, "QUEUE_SIZE", 20)
    id = service.submit(small())
    with httpx2.stream("GET", f"{service.url}/v1/experiments/{id}/events", timeout=PATIENCE_S) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("data:"))
        # Far more than the sockets' buffers and the queue hold: the client, which does not read, must be let go.
        for _ in range(60):
            with write(service.engine) as connection:
                line = experiment_event("default", id, "log", line="x" * 200_000)
                append(connection, [line] * 5)
        until(lambda: not service.server.context.broadcaster.subscribers)
        got = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]
    expected = recorded(service, id)
    assert len(got) < len(expected) - 1
    last = got[-1]["id"]
    assert [event["id"] for event in got] == [each for each in expected[1:] if each <= last]
    service.work()
    rest = Listener(service, id, last).all()
    assert [event.id for event in rest[:-1]] == [each for each in recorded(service, id) if each > last]


def test_the_reader_rests_while_nobody_follows(service: Any, small: Spec, until: Until) -> None:
    assert not service.server.context.broadcaster.subscribers
    id = service.submit(small())
    service.work()
    for _ in range(3):  # each time it wakes up anew
        assert Listener(service, id).all()[-1].type == "end"
        until(lambda: not service.server.context.broadcaster.subscribers)


def test_a_broken_ledger_is_tried_again(service: Any, small: Spec, until: Until) -> None:
    id = service.submit(small())
    listener = Listener(service, id)
    until(lambda: bool(listener.seen))
    with service.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO elsewhere")
    until(lambda: service.server.context.broadcaster.failing)
    with service.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO events")
    service.work()
    assert [event.id for event in listener.all()[:-1]] == recorded(service, id)


def test_a_stream_starts_behind_the_event_that_the_experiment_names(service: Any, small: Spec) -> None:
    id = service.submit(small())
    with service.client() as client:
        seen = client.get(id).last_event_id
    assert seen == recorded(service, id)[-1]
    service.work()
    streamed = httpx2.get(f"{service.url}/v1/experiments/{id}/events", params={"after": seen}).text
    ids = [int(line.removeprefix("id: ")) for line in streamed.splitlines() if line.startswith("id: ")]
    new = [id for id in recorded(service, id) if id > seen]
    assert new
    assert ids == [*new, new[-1]]  # the last is that of the `end`


def test_what_is_not_there_has_no_stream(service: Any, small: Spec) -> None:
    with service.client() as client, pytest.raises(ApiError) as refused:
        next(client.events("exp_nothing"))
    assert refused.value.problem.status == 404
    id = service.submit(small())
    answer = httpx2.get(f"{service.url}/v1/experiments/{id}/events", headers={"Last-Event-ID": "-1"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "header.last-event-id"
