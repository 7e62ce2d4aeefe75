"""Event streams: one thread reads the ledger for all of them and hands each event to the queues of those who follow.

A stream holds neither a thread nor a database connection while it waits. Its queue is bounded: a client that reads too
slowly is let go once it has what is in its queue, and goes on from there by its Last-Event-ID. One whose token holds no
more is let go with nothing: where it goes on, it is told why.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.sse import ServerSentEvent
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from robxfer_core.ledger import events, experiments, tokens
from robxfer_core.spec.states import ENDED_EXPERIMENT_STATES
from robxfer_core.spec.wire.jobs import EventView

from .auth import Caller
from .views import event_view

PAGE = 500  # events read at a time
DEPTH = 1000  # events that wait for one client before it is let go
RECONNECT_MS = 1000
TOKENS_S = 2.0  # between looks at whether the tokens of those who follow still hold

log = logging.getLogger(__name__)


class Follower:
    """One client's place: an experiment, its jobs, and the events that wait for the client."""

    def __init__(self, experiment_id: str, jobs: frozenset[str], token_id: str | None) -> None:
        self.experiment_id = experiment_id
        self.jobs = jobs
        self.token_id = token_id
        self.revoked = False
        self.joined = asyncio.Event()
        self.ended = False
        self._queue: asyncio.Queue[EventView | None] = asyncio.Queue(DEPTH + 1)

    def offer(self, event: EventView) -> bool:
        """Puts an event of this experiment in the queue; False where the queue is full."""
        if event.experiment_id == self.experiment_id or (event.experiment_id is None and event.job_id in self.jobs):
            if self._queue.qsize() >= DEPTH:
                return False
            self._queue.put_nowait(event)
        return True

    def end(self) -> None:
        """Lets the client go after what waits for it."""
        if not self.ended:
            self.ended = True
            self.joined.set()
            self._queue.put_nowait(None)

    def revoke(self) -> None:
        """Lets the client go, whatever waits for it."""
        self.revoked = True
        self.end()

    async def next(self) -> EventView | None:
        """The next event; none where the client is let go."""
        event = await self._queue.get()
        return None if self.revoked else event


class Fan:
    """Reads new events, in one thread and only while somebody follows, and hands them out on the event loop."""

    def __init__(self, engine: Engine, poll_s: float = 0.2) -> None:
        self._engine = engine
        self._poll_s = poll_s
        self.followers: set[Follower] = set()  # changed on the event loop alone
        self._poke = threading.Event()
        self.troubled = False
        """Whether the last look at the ledger failed."""
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Ends all streams; their clients may resume elsewhere."""
        self._closed = True
        for follower in self.followers:
            follower.end()
        self._poke.set()

    @contextmanager
    def follow(self, experiment_id: str, jobs: frozenset[str], token_id: str | None) -> Iterator[Follower]:
        follower = Follower(experiment_id, jobs, token_id)
        self.followers.add(follower)
        self._poke.set()
        if self._closed:
            follower.end()
        try:
            yield follower
        finally:
            self.followers.discard(follower)

    def _read(self) -> None:
        last: int | None = None
        looked_at = 0.0
        while not self._closed:
            if self.followers:
                self._poke.wait(self._poll_s)
            else:
                last = None
                self._poke.wait()
            self._poke.clear()
            try:
                if last is None:
                    last = events.last(self._engine)
                if time.monotonic() > looked_at + TOKENS_S:
                    self._look_at_tokens()
                    looked_at = time.monotonic()
                found = events.after(self._engine, last, PAGE)
            except SQLAlchemyError as error:
                if not self.troubled:
                    log.warning("cannot read events; trying again: %s", error)
                self.troubled = True
                continue
            self.troubled = False
            if found:
                last = found[-1].id
            if len(found) == PAGE:
                self._poke.set()
            self._call(self._hand_out, [event_view(row) for row in found])

    def _call(self, do: Callable[[Any], None], what: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(do, what)
        except RuntimeError:  # the loop is closed
            self._closed = True

    def _look_at_tokens(self) -> None:
        """Lets those go whose token holds no more."""
        given = {follower.token_id for follower in list(self.followers) if follower.token_id}
        gone = given - tokens.holding(self._engine, given) if given else given
        if gone:
            self._call(self._revoke, gone)

    def _revoke(self, gone: Collection[str]) -> None:
        for follower in self.followers:
            if follower.token_id in gone:
                follower.revoke()

    def _hand_out(self, found: Sequence[EventView]) -> None:
        for follower in list(self.followers):
            # Who is not joined yet replays from the ledger what was found so far, and gets what is found from now on.
            if not follower.joined.is_set():
                follower.joined.set()
            elif not all(map(follower.offer, found)):
                follower.end()


async def stream(
    fan: Fan, engine: Engine, caller: Caller, experiment_id: str, last: int
) -> AsyncIterator[ServerSentEvent]:
    """An experiment's events after the id `last`, then the new ones as they come; `end` once it has ended."""
    project = caller.project
    yield ServerSentEvent(retry=RECONNECT_MS, comment=experiment_id)
    jobs = frozenset(await run_in_threadpool(experiments.job_ids, engine, project, experiment_id))
    with fan.follow(experiment_id, jobs, caller.token_id) as follower:
        await follower.joined.wait()
        state = await run_in_threadpool(experiments.state, engine, project, experiment_id)
        while found := await run_in_threadpool(events.for_experiment, engine, experiment_id, last, PAGE):
            for row in found:
                if follower.revoked:
                    return
                event, last = event_view(row), row.id
                state = _state(event) or state
                yield _line(event)
        while state not in ENDED_EXPERIMENT_STATES:
            event = await follower.next()
            if event is None:
                return
            if event.id > last:
                last = event.id
                state = _state(event) or state
                yield _line(event)
        yield _line(EventView(id=last, type="end", experiment_id=experiment_id, data={"state": state}))


def _state(event: EventView) -> str | None:
    """The state that an experiment's own state event tells."""
    return event.data.get("state") if event.type == "state" and event.job_id is None else None


def _line(event: EventView) -> ServerSentEvent:
    return ServerSentEvent(event=event.type, id=str(event.id), data=event)
