"""What the service needs to be ready: its database, migrated; the broker; the store, which must take and give."""

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from celery import Celery
from minio.error import S3Error

from robxfer_core import messaging
from robxfer_core.ledger import migrate

if TYPE_CHECKING:
    from .context import Context

PATIENCE_S = 5.0
BROKER_S = 2
PROBE = "readyz/probe"
WORD = b"robxfer"
SILENT = f"does not answer within {PATIENCE_S:g} s"


class Needs:
    """Asks for all needs at once, each in a thread of its own, so that one that is silent holds up no answer.

    One that is still asked for is not asked for again: whoever asks meanwhile waits for the same answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, Future[str | None]] = {}

    def missing(self, ctx: "Context") -> dict[str, str]:
        """What is not there or cannot be used, and how that showed; no addresses and no secrets."""
        asked = {what: self._ask(what, check, ctx) for what, check in CHECKS.items()}
        wait(asked.values(), PATIENCE_S)
        found = {what: answer.result() if answer.done() else SILENT for what, answer in asked.items()}
        if found["database"]:
            del found["migrations"]  # nobody can tell
        return {what: lack for what, lack in found.items() if lack}

    def _ask(self, what: str, check: "Check", ctx: "Context") -> Future[str | None]:
        with self._lock:
            earlier = self._asked.get(what)
            if earlier is not None and not earlier.done():
                return earlier
            answer: Future[str | None] = Future()
            self._asked[what] = answer
        threading.Thread(target=lambda: answer.set_result(_lack(check, ctx)), name=f"needs-{what}", daemon=True).start()
        return answer


def _lack(check: "Check", ctx: "Context") -> str | None:
    try:
        return check(ctx)
    except S3Error as error:
        return f"cannot be used ({error.code})"
    except Exception as error:  # each driver has its own ways to say that nobody answers
        return f"cannot be used ({type(error).__name__})"


def _database(ctx: "Context") -> str | None:
    with ctx.engine.connect():
        return None


def _migrations(ctx: "Context") -> str | None:
    at, head = migrate.current(ctx.settings.database_url), migrate.head()
    return None if at == head else f"at {at or 'none'}, takes {head}: run `robxfer migrate`"


def _broker(ctx: "Context") -> str | None:
    with _ringer(ctx.settings.broker_url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_S)
        return None


def _store(ctx: "Context") -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        word = Path(folder) / "word"
        word.write_bytes(WORD)
        ctx.store.put(PROBE, word)
    return None if b"".join(ctx.store.stream(PROBE)) == WORD else "does not give back what it was given"


@cache
def _ringer(url: str) -> Celery:
    return messaging.make_app(url, broker_connection_timeout=BROKER_S)


Check = Callable[["Context"], str | None]
CHECKS: dict[str, Check] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "store": _store,
}
