"""Lines of history: state changes, progress, logs. Their ids commit in order, so a reader that saw id n missed nothing
below it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, insert, or_, select

from .engine import EVENTS_LOCK, advisory, now, read
from .tables import events, nodes


@dataclass(frozen=True)
class Event:
    id: int
    project_id: str
    experiment_id: str | None
    job_id: str | None
    at: float
    type: str
    data: dict[str, Any]


def job_event(project_id: str, job_id: str, type: str = "state", **data: Any) -> dict[str, Any]:
    """A line of a job's history, for append."""
    return {"project_id": project_id, "experiment_id": None, "job_id": job_id, "type": type, "data": data}


def experiment_event(project_id: str, experiment_id: str, type: str = "state", **data: Any) -> dict[str, Any]:
    """A line of an experiment's history, for append."""
    return {"project_id": project_id, "experiment_id": experiment_id, "job_id": None, "type": type, "data": data}


def append(connection: Connection, lines: Iterable[dict[str, Any]]) -> None:
    """Insert lines, as the last thing in a transaction: from here to its end no other inserts any."""
    rows = list(lines)
    if rows:
        advisory(connection, EVENTS_LOCK)
        connection.execute(insert(events).values(at=now()), rows)


def after(engine: Engine, last_id: int, limit: int = 1000) -> list[Event]:
    """The lines of all projects with ids above last_id, by id."""
    return _select(engine, last_id, limit)


def last(engine: Engine) -> int:
    """The id of the newest line; 0 where there is none."""
    with read(engine) as connection:
        return connection.scalar(select(func.coalesce(func.max(events.c.id), 0))) or 0


def for_experiment(engine: Engine, experiment_id: str, last_id: int = 0, limit: int = 1000) -> list[Event]:
    """The experiment's lines and those of its jobs since it was submitted, with ids above last_id, by id."""
    members = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    first = select(func.min(events.c.id)).where(events.c.experiment_id == experiment_id).scalar_subquery()
    mine = or_(events.c.experiment_id == experiment_id, events.c.job_id.in_(members))
    return _select(engine, last_id, limit, mine, events.c.id >= first)


def for_job(engine: Engine, job_id: str, type: str | None = None, last_id: int = 0, limit: int = 1000) -> list[Event]:
    """A job's lines, of one type or of all, with ids above last_id, by id."""
    kinds = [events.c.type == type] if type else []
    return _select(engine, last_id, limit, events.c.job_id == job_id, *kinds)


def _select(engine: Engine, last_id: int, limit: int, *where: ColumnElement[bool]) -> list[Event]:
    query = select(events).where(events.c.id > last_id, *where).order_by(events.c.id).limit(limit)
    with read(engine) as connection:
        return [_event(row) for row in connection.execute(query)]


def _event(row: Row[Any]) -> Event:
    return Event(**row._mapping)
