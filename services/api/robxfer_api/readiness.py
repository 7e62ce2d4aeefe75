"""Readiness: whether the database, the broker and the store answer."""

import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import cache
from pathlib import Path

from celery import Celery
from minio.error import S3Error
from sqlalchemy import Engine

from robxfer_core import messaging
from robxfer_core.ledger import migrate
from robxfer_core.settings import Settings
from robxfer_core.storage import Store

TIMEOUT_S = 5.0
BROKER_TIMEOUT_S = 2
PROBE_NAME = "readyz/probe"
PROBE_CONTENT = b"robxfer"
NO_ANSWER = f"does not answer within {TIMEOUT_S:g} s"

Check = Callable[[], str | None]
"""Returns what is wrong, or None; raises where a server cannot be used."""


class ReadinessChecks:
    """Runs all checks at once, each in a thread of its own, so that a server that hangs does not delay the others.

    A check that is still running is not started again: everyone who asks meanwhile waits for the same result.

    Args:
        checks: Checks by the name of what they check.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = threading.Lock()
        self._running: dict[str, Future[str | None]] = {}

    def failures(self) -> dict[str, str]:
        """Runs the checks.

        Returns:
            What is wrong by the name of the check, without addresses and secrets; empty where the service is ready.
        """
        results = {name: self._start(name, check) for name, check in self._checks.items()}
        wait(results.values(), TIMEOUT_S)
        problems = {name: result.result() if result.done() else NO_ANSWER for name, result in results.items()}
        if problems.get("database"):
            problems.pop("migrations", None)  # unknown without the database
        return {name: problem for name, problem in problems.items() if problem}

    def _start(self, name: str, check: Check) -> Future[str | None]:
        with self._lock:
            running = self._running.get(name)
            if running is not None and not running.done():
                return running
            result: Future[str | None] = Future()
            self._running[name] = result
        thread = threading.Thread(target=lambda: result.set_result(_problem(check)), name=f"check-{name}", daemon=True)
        thread.start()
        return result


def service_checks(settings: Settings, engine: Engine, store: Store) -> ReadinessChecks:
    """Makes the checks of a service: database, migrations, broker, store."""

    def check_store() -> str | None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "probe"
            file.write_bytes(PROBE_CONTENT)
            store.put(PROBE_NAME, file)
        return None if b"".join(store.stream(PROBE_NAME)) == PROBE_CONTENT else "does not return what was written"

    return ReadinessChecks(
        {
            "database": lambda: _check_database(engine),
            "migrations": lambda: _check_migrations(settings.database_url),
            "broker": lambda: _check_broker(settings.broker_url),
            "store": check_store,
        }
    )


def _problem(check: Check) -> str | None:
    try:
        return check()
    except S3Error as error:
        return f"cannot be used ({error.code})"
    except Exception as error:  # each driver has errors of its own for a server that does not answer
        return f"cannot be used ({type(error).__name__})"


def _check_database(engine: Engine) -> None:
    with engine.connect():
        pass


def _check_migrations(url: str) -> str | None:
    revision, head = migrate.current(url), migrate.head()
    return None if revision == head else f"at {revision or 'none'}, takes {head}: run `robxfer migrate`"


def _check_broker(url: str) -> None:
    with _celery(url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_S)


@cache
def _celery(url: str) -> Celery:
    return messaging.make_app(url, broker_connection_timeout=BROKER_TIMEOUT_S)
