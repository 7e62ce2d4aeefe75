"""What the service needs to be ready: its database, migrated; the broker; the store."""

from collections.abc import Callable
from functools import cache

from celery import Celery

from robxfer_core import bell
from robxfer_core.artifacts import Missing
from robxfer_core.ledger import migrate

from .context import Context

PATIENCE_S = 2
PROBE = "readyz/probe"  # a name that nothing is stored under: the store only has to say so


def missing(ctx: Context) -> dict[str, str]:
    """What is not there or not reachable, and how that showed; no addresses and no secrets."""
    found: dict[str, str] = {}
    for what, check in CHECKS.items():
        try:
            lack = check(ctx)
        except Exception as error:  # each driver has its own ways to say that nobody answers
            lack = f"cannot be used ({type(error).__name__})"
        if lack:
            found[what] = lack
    return found


def _database(ctx: Context) -> str | None:
    with ctx.engine.connect():
        return None


def _migrations(ctx: Context) -> str | None:
    at, head = migrate.current(ctx.settings.database_url), migrate.head()
    return None if at == head else f"at {at or 'none'}, takes {head}: run `robxfer migrate`"


def _broker(ctx: Context) -> str | None:
    with _ringer(ctx.settings.broker_url).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=PATIENCE_S)
        return None


def _store(ctx: Context) -> str | None:
    try:
        ctx.store.stream(PROBE)
    except Missing:
        pass
    return None


@cache
def _ringer(url: str) -> Celery:
    return bell.make_app(url, broker_connection_timeout=PATIENCE_S)


CHECKS: dict[str, Callable[[Context], str | None]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "store": _store,
}
