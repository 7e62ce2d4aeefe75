"""Connections, transactions, locks and the database's clock, for PostgreSQL and SQLite alike.

Every transaction that changes states, edges or nodes takes its locks in one order: first its job rows (an input before
the jobs that take it), then its experiments by id. It inserts its events last, under one advisory lock, so that their
ids commit in order. SQLite has one writer at a time from the first statement (BEGIN IMMEDIATE), which does all of this.
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

DATABASE_UNAVAILABLE = (OperationalError, InterfaceError, TimeoutError)
"""Errors of a database that cannot be reached or has no connection to spare. Another try may succeed."""

IDLE_IN_TRANSACTION_S = 10.0
"""Seconds after which PostgreSQL ends a connection that is idle within a transaction: its client is frozen or cut off.
Until then its locks hold up every claim and event, so this has to be well below a lease."""

EVENTS_LOCK = 0x726F6201
"""Held from the insertion of events to the commit."""
CLAIMS_LOCK = 0x726F6202
"""Held by a claim, so that a project's running jobs are counted one claim at a time."""
MIGRATION_LOCK = 0x726F6203
"""Held by a migration."""


class NotFound(LookupError):
    """The project has no such row."""


class Conflict(ValueError):
    """The request contradicts stored rows."""


class now(FunctionElement[float]):
    """The database's clock as an SQL expression: seconds since the epoch when the statement runs, to 1 ms or better."""

    type = Double()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def connect(url: str) -> Engine:
    """Create an engine.

    Args:
        url: `postgresql+psycopg://USER:PASSWORD@HOST/NAME` or `sqlite:///PATH`.
    """
    shared: dict[str, Any] = {"json_serializer": _dumps, "hide_parameters": True}  # no value in errors and logs
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30}, **shared)
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    # A dead server has to be noticed within a lease, not after the quarter of an hour that the kernel takes.
    own = make_url(url).query.get("options", "")
    limits = {
        "connect_timeout": 5,
        "tcp_user_timeout": 15_000,
        "options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_S * 1000:.0f} {own}",
    }
    engine = create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=30, connect_args=limits, **shared)
    event.listen(engine, "handle_error", _as_unavailable)
    return engine


def _as_unavailable(context: ExceptionContext) -> OperationalError | None:
    """The error of a connection that PostgreSQL ended for being idle, as one of DATABASE_UNAVAILABLE."""
    error = context.sqlalchemy_exception
    if not context.is_disconnect or not isinstance(error, InternalError) or error.orig is None:
        return None
    return OperationalError(
        error.statement, error.params, error.orig, error.hide_parameters, connection_invalidated=True
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _sqlite_connected(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # _sqlite_begin sends BEGIN
    # FULL: with less, a submission that was answered with 202 could be lost with the power.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("robxfer_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes. It is committed at the end of the block, or rolled back by an exception."""
    with engine.connect().execution_options(robxfer_writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads."""
    with engine.connect() as connection, connection.begin():
        yield connection


def advisory_lock(connection: Connection, lock: int) -> None:
    """Take one of the locks above and hold it until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(lock)))


def insert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Build an INSERT that takes ON CONFLICT, which both databases spell alike."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def lock_jobs(
    connection: Connection, *where: ColumnElement[bool], columns: Any = (jobs,), skip_locked: bool = False
) -> list[Any]:
    """Lock job rows in the one order: an input has a smaller depth than the jobs that take it.

    Args:
        connection: The transaction.
        *where: Which jobs.
        columns: Columns to select; all, unless given.
        skip_locked: Leave out rows that another transaction has locked, instead of waiting for them.

    Returns:
        The rows.
    """
    rows = select(*columns).where(*where).order_by(jobs.c.depth, jobs.c.id)
    return list(connection.execute(for_update(rows, skip_locked)))


def for_update(rows: Select[*Ts], skip_locked: bool = False) -> Select[*Ts]:
    """Make a query lock its rows, while other rows may still refer to them by foreign key."""
    return rows.with_for_update(key_share=True, skip_locked=skip_locked)


def finite(value: float) -> float | None:
    """The value; None where it is not a finite number, which JSON and SQLite cannot store."""
    return value if math.isfinite(value) else None
