"""Events: the history of jobs and experiments. Ids commit in order, so a reader of id n has missed nothing below n."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, or_, select

from .engine import EVENTS_LOCK, advisory_lock, now, read
from .tables import events, nodes

EventRow = dict[str, Any]
"""An event to append; id and time are added when it is inserted."""


@dataclass(frozen=True)
class Event:
    """An event of a job or of an experiment."""

    id: int
    project_id: str
    experiment_id: str | None
    """The experiment; None for an event of a job."""
    job_id: str | None
    """The job; None for an event of an experiment."""
    at: float
    """Seconds since the epoch."""
    type: str
    """state, progress or log."""
    data: dict[str, Any]
    """For `state` the new state and what came with it, for `progress` a Progress, for `log` the line and attempt."""


def job_event(project_id: str, job_id: str, type: str = "state", **data: Any) -> EventRow:
    """An event of a job, for `append`."""
    return {"project_id": project_id, "experiment_id": None, "job_id": job_id, "type": type, "data": data}


def experiment_event(project_id: str, experiment_id: str, type: str = "state", **data: Any) -> EventRow:
    """An event of an experiment, for `append`."""
    return {"project_id": project_id, "experiment_id": experiment_id, "job_id": None, "type": type, "data": data}


def append(connection: Connection, rows: Iterable[EventRow]) -> None:
    """Insert events as the last statement of a transaction. Until it ends, no other transaction inserts any."""
    values = list(rows)
    if values:
        advisory_lock(connection, EVENTS_LOCK)
        connection.execute(insert(events).values(at=now()), values)


def after(engine: Engine, last_id: int, limit: int = 1000) -> list[Event]:
    """Read events of all projects above an id, in order of id."""
    return _select(engine, last_id, limit)


def last(engine: Engine) -> int:
    """Read the id of the newest event; 0 where there is none."""
    with read(engine) as connection:
        return connection.scalar(select(func.coalesce(func.max(events.c.id), 0))) or 0


def for_experiment(engine: Engine, experiment_id: str, last_id: int = 0, limit: int = 1000) -> list[Event]:
    """Read events of an experiment and of its jobs since it was submitted, above an id, in order of id."""
    members = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    first = select(func.min(events.c.id)).where(events.c.experiment_id == experiment_id).scalar_subquery()
    own = or_(events.c.experiment_id == experiment_id, events.c.job_id.in_(members))
    return _select(engine, last_id, limit, own, events.c.id >= first)


def for_job(engine: Engine, job_id: str, type: str | None = None, last_id: int = 0, limit: int = 1000) -> list[Event]:
    """Read events of a job, of one type or of all, above an id, in order of id."""
    of_type = [events.c.type == type] if type else []
    return _select(engine, last_id, limit, events.c.job_id == job_id, *of_type)


def _select(engine: Engine, last_id: int, limit: int, *where: ColumnElement[bool]) -> list[Event]:
    query = select(events).where(events.c.id > last_id, *where).order_by(events.c.id).limit(limit)
    with read(engine) as connection:
        return [Event(**row._mapping) for row in connection.execute(query)]
