"""Connections, transactions, the database's clock and its locks, for PostgreSQL and SQLite alike.

Locks. A transaction that changes states, edges or wants first locks its job rows in one order (an input before what
takes it), then its experiments by id; it inserts its events last, under one advisory lock, so that their ids commit in
order. SQLite has one writer at a time from the first statement (BEGIN IMMEDIATE), which is all of these at once.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVarTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Engine,
    ExceptionContext,
    Select,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, TimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .tables import jobs

Ts = TypeVarTuple("Ts")

AWAY = (OperationalError, InterfaceError, TimeoutError)
"""What a database that cannot be reached, or has no connection to spare, raises: another try may go well."""

IDLE_S = 10.0
"""Seconds after which PostgreSQL ends a connection that stands still within a transaction. Its client is frozen, or its
network gone, and its locks hold up everybody's claims and events: it has to be well below a lease."""

EVENTS_LOCK = 0x726F6201
CLAIMS_LOCK = 0x726F6202
MIGRATION_LOCK = 0x726F6203


class Unknown(LookupError):
    """There is no such row in the project."""


class Conflict(ValueError):
    """The request contradicts what is stored."""


class now(FunctionElement[float]):
    """The database's clock: seconds since the epoch at this very statement, to a millisecond or better."""

    type = Double()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def connect(url: str) -> Engine:
    """An engine for `postgresql://...` (psycopg 3) or `sqlite:///path`."""
    shared: dict[str, Any] = {"json_serializer": _dumps, "hide_parameters": True}  # errors, and so logs, tell no values
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30}, **shared)
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    # A dead server must be known within a lease, not after the kernel's quarter of an hour.
    own = make_url(url).query.get("options", "")
    limits = {
        "connect_timeout": 5,
        "tcp_user_timeout": 15_000,
        "options": f"-c idle_in_transaction_session_timeout={IDLE_S * 1000:.0f} {own}",
    }
    engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30, connect_args=limits, **shared)
    event.listen(engine, "handle_error", _as_away)
    return engine


def _as_away(context: ExceptionContext) -> OperationalError | None:
    """What a server says that ended a connection for standing still is none of AWAY, but means no more than that."""
    error = context.sqlalchemy_exception
    if not context.is_disconnect or not isinstance(error, InternalError) or error.orig is None:
        return None
    return OperationalError(
        error.statement, error.params, error.orig, error.hide_parameters, connection_invalidated=True
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _sqlite_connected(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours
    # FULL: with less, what was committed last, and answered for with 202, would not outlive a loss of power.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("robxfer_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back on an exception."""
    with engine.connect().execution_options(robxfer_writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads."""
    with engine.connect() as connection, connection.begin():
        yield connection


def advisory(connection: Connection, lock: int) -> None:
    """Hold one of the locks above until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(lock)))


def insert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that can say ON CONFLICT, which both databases spell alike."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def lock_jobs(
    connection: Connection, *where: ColumnElement[bool], columns: Any = (jobs,), skip_locked: bool = False
) -> list[Any]:
    """The job rows, locked in the one order. A row's depth is fixed by its key, so an input always comes first."""
    rows = select(*columns).where(*where).order_by(jobs.c.depth, jobs.c.id)
    return list(connection.execute(for_update(rows, skip_locked)))


def for_update(rows: Select[*Ts], skip_locked: bool = False) -> Select[*Ts]:
    """Lock the rows, but let others refer to them by foreign key."""
    return rows.with_for_update(key_share=True, skip_locked=skip_locked)


def finite(value: float) -> float | None:
    """The value, or none where it is not a finite number (which JSON and SQLite cannot keep)."""
    return value if math.isfinite(value) else None
