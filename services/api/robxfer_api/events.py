"""Event streams: one thread reads the ledger for all streams and hands each event to its subscribers.

A stream holds neither a thread nor a database connection while it waits. Its queue is bounded: a client that reads
too slowly is disconnected after what is in its queue, and resumes by its Last-Event-ID. A client whose token has ended
is disconnected at once; when it resumes, it gets 401.
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

PAGE_SIZE = 500
"""Events that are read at a time."""
QUEUE_SIZE = 1000
"""Events that may wait for one client before it is disconnected."""
RECONNECT_MS = 1000
TOKEN_CHECK_S = 2.0
"""Seconds between checks of the subscribers' tokens."""

log = logging.getLogger(__name__)


class Subscriber:
    """One client of an experiment's stream, and the events that wait for it.

    Args:
        experiment_id: The experiment.
        job_ids: Ids of its jobs.
        token_id: Id of the client's token; None in open mode.
    """

    def __init__(self, experiment_id: str, job_ids: frozenset[str], token_id: str | None) -> None:
        self.experiment_id = experiment_id
        self.job_ids = job_ids
        self.token_id = token_id
        self.revoked = False
        self.joined = asyncio.Event()
        """Set once the broadcaster hands over every new event; earlier ones are read from the ledger."""
        self.ended = False
        self._queue: asyncio.Queue[EventView | None] = asyncio.Queue(QUEUE_SIZE + 1)

    def offer(self, event: EventView) -> bool:
        """Enqueues an event if it is of this experiment or of one of its jobs.

        Returns:
            False where the queue is full.
        """
        of_job = event.experiment_id is None and event.job_id in self.job_ids
        if event.experiment_id == self.experiment_id or of_job:
            if self._queue.qsize() >= QUEUE_SIZE:
                return False
            self._queue.put_nowait(event)
        return True

    def end(self) -> None:
        """Disconnects the client once it has got what waits for it."""
        if not self.ended:
            self.ended = True
            self.joined.set()
            self._queue.put_nowait(None)

    def revoke(self) -> None:
        """Disconnects the client at once."""
        self.revoked = True
        self.end()

    async def next(self) -> EventView | None:
        """Waits for the next event; None where the client is to be disconnected."""
        event = await self._queue.get()
        return None if self.revoked else event


class EventBroadcaster:
    """Reads new events in one thread, only while there are subscribers, and hands them out on the event loop.

    Args:
        engine: The ledger's engine.
        poll_s: Seconds between reads.
    """

    def __init__(self, engine: Engine, poll_s: float = 0.2) -> None:
        self._engine = engine
        self._poll_s = poll_s
        self.subscribers: set[Subscriber] = set()  # changed on the event loop only
        self._wake = threading.Event()
        self.failing = False
        """Whether the last read of the ledger failed."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Starts the thread; to be called on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Ends all streams; their clients may resume at another process."""
        self._closed = True
        for subscriber in self.subscribers:
            subscriber.end()
        self._wake.set()

    @contextmanager
    def subscribe(self, experiment_id: str, job_ids: frozenset[str], token_id: str | None) -> Iterator[Subscriber]:
        """Subscribes a client for the length of the block."""
        subscriber = Subscriber(experiment_id, job_ids, token_id)
        self.subscribers.add(subscriber)
        self._wake.set()
        if self._closed:
            subscriber.end()
        try:
            yield subscriber
        finally:
            self.subscribers.discard(subscriber)

    def _run(self) -> None:
        last_id: int | None = None
        checked_at = 0.0
        while not self._closed:
            if self.subscribers:
                self._wake.wait(self._poll_s)
            else:
                last_id = None
                self._wake.wait()
            self._wake.clear()
            try:
                if last_id is None:
                    last_id = events.last(self._engine)
                if time.monotonic() > checked_at + TOKEN_CHECK_S:
                    self._check_tokens()
                    checked_at = time.monotonic()
                new = events.after(self._engine, last_id, PAGE_SIZE)
            except SQLAlchemyError as error:
                if not self.failing:
                    log.warning("cannot read events; trying again: %s", error)
                self.failing = True
                continue
            self.failing = False
            if new:
                last_id = new[-1].id
            if len(new) == PAGE_SIZE:
                self._wake.set()
            self._call(self._hand_out, [event_view(event) for event in new])

    def _call(self, function: Callable[[Any], None], argument: Any) -> None:
        """Calls a function on the event loop."""
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop is closed
            self._closed = True

    def _check_tokens(self) -> None:
        """Disconnects subscribers whose token has expired or is revoked."""
        used = {subscriber.token_id for subscriber in list(self.subscribers) if subscriber.token_id}
        invalid = used - tokens.valid_ids(self._engine, used) if used else used
        if invalid:
            self._call(self._revoke, invalid)

    def _revoke(self, token_ids: Collection[str]) -> None:
        for subscriber in self.subscribers:
            if subscriber.token_id in token_ids:
                subscriber.revoke()

    def _hand_out(self, new: Sequence[EventView]) -> None:
        for subscriber in list(self.subscribers):
            # A subscriber that joins now reads these events from the ledger, and gets all later ones here.
            if not subscriber.joined.is_set():
                subscriber.joined.set()
            elif not all(map(subscriber.offer, new)):
                subscriber.end()


async def event_stream(
    broadcaster: EventBroadcaster, engine: Engine, caller: Caller, experiment_id: str, last_id: int
) -> AsyncIterator[ServerSentEvent]:
    """Streams an experiment's events.

    Args:
        broadcaster: Hands over new events.
        engine: The ledger's engine.
        caller: Who follows.
        experiment_id: An experiment of the caller's project.
        last_id: Only events after this id.

    Yields:
        Past events, then new ones as they happen, and `end` once the experiment has ended.
    """
    yield ServerSentEvent(retry=RECONNECT_MS, comment=experiment_id)
    job_ids = frozenset(await run_in_threadpool(experiments.job_ids, engine, caller.project, experiment_id))
    with broadcaster.subscribe(experiment_id, job_ids, caller.token_id) as subscriber:
        await subscriber.joined.wait()
        state = await run_in_threadpool(experiments.get_state, engine, caller.project, experiment_id)
        while past := await run_in_threadpool(events.for_experiment, engine, experiment_id, last_id, PAGE_SIZE):
            for row in past:
                if subscriber.revoked:
                    return
                event, last_id = event_view(row), row.id
                state = _experiment_state(event) or state
                yield _message(event)
        while state not in ENDED_EXPERIMENT_STATES:
            event = await subscriber.next()
            if event is None:
                return
            if event.id > last_id:
                last_id = event.id
                state = _experiment_state(event) or state
                yield _message(event)
        yield _message(EventView(id=last_id, type="end", experiment_id=experiment_id, data={"state": state}))


def _experiment_state(event: EventView) -> str | None:
    """The experiment's new state, if the event is about that."""
    return event.data.get("state") if event.type == "state" and event.job_id is None else None


def _message(event: EventView) -> ServerSentEvent:
    return ServerSentEvent(event=event.type, id=str(event.id), data=event)
