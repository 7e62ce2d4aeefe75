"""What all requests of one app share."""

import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Self

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy import Engine

from robxfer_core import messaging
from robxfer_core.ledger.counts import AttemptCounter
from robxfer_core.ledger.engine import connect
from robxfer_core.settings import Settings
from robxfer_core.storage import Store, open_store

from .events import EventBroadcaster
from .rate_limit import ConcurrencyLimiter
from .readiness import ReadinessChecks, service_checks

MAX_UPLOADS = 16
"""Uploads that one process receives at the same time: each occupies a thread."""
MAX_UPLOADS_PER_CALLER, MAX_STREAMS_PER_CALLER = 4, 200

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiContext:
    """What the routes of one app work with."""

    settings: Settings
    engine: Engine
    store: Store
    broadcaster: EventBroadcaster
    notifications: Executor
    """Sends notifications to workers, outside the request's time."""
    tally: AttemptCounter
    readiness: ReadinessChecks
    upload_threads: CapacityLimiter
    uploads: ConcurrencyLimiter
    streams: ConcurrencyLimiter

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Connects to what the settings name. Nothing is migrated."""
        engine = connect(settings.database_url)
        store = open_store(settings.store_url, settings)
        return cls(
            settings=settings,
            engine=engine,
            store=store,
            broadcaster=EventBroadcaster(engine),
            notifications=ThreadPoolExecutor(1, "notifications"),
            tally=AttemptCounter(),
            readiness=service_checks(settings, engine, store),
            upload_threads=CapacityLimiter(MAX_UPLOADS),
            uploads=ConcurrencyLimiter(MAX_UPLOADS_PER_CALLER, "uploads"),
            streams=ConcurrencyLimiter(MAX_STREAMS_PER_CALLER, "event streams"),
        )

    def notify_workers(self, queues: list[str]) -> None:
        """Wakes workers of the queues, best effort: a worker that is not reached finds the jobs at its next sweep."""
        if queues:
            self.notifications.submit(self._notify, queues)

    def _notify(self, queues: list[str]) -> None:
        try:
            messaging.notify(self.settings, queues)
        except Exception:
            log.exception("workers could not be notified")


def _context(request: Request) -> ApiContext:
    return request.app.state.context


Ctx = Annotated[ApiContext, Depends(_context)]
"""The context of the request's app, as a dependency of routes."""
