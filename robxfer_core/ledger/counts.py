"""Figures over all projects: queues, attempts."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, func, or_, select

from robxfer_core.spec.states import QUEUED_JOB_STATES, JobState

from .engine import now, read
from .tables import attempts, jobs
from .transitions import wanted

WAIT_BOUNDS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
PUBLISH_BOUNDS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900)
SETTLED_S = 600.0
"""No transaction takes so long from saying when an attempt ended to its commit."""


def queue_depth(engine: Engine) -> dict[tuple[str, str], int]:
    """How many jobs run, or wait or are ready and are wanted, by (queue, state).

    What waits for a job that failed stays waiting, and is no load. A job that has not ended costs a look at indexes.
    """
    query = (
        select(jobs.c.queue, jobs.c.state, func.count())
        .where(or_(jobs.c.state == JobState.RUNNING, and_(jobs.c.state.in_(QUEUED_JOB_STATES), wanted())))
        .group_by(jobs.c.queue, jobs.c.state)
    )
    with read(engine) as connection:
        return {(queue, state): n for queue, state, n in connection.execute(query)}


def oldest_ready(engine: Engine) -> dict[str, float]:
    """For how many seconds the job of each queue that has been ready longest has been: wanted, its time come."""
    query = (
        select(jobs.c.queue, now() - func.min(jobs.c.ready_at))
        .where(jobs.c.state == JobState.READY, jobs.c.not_before <= now(), wanted())
        .group_by(jobs.c.queue)
    )
    with read(engine) as connection:
        return {queue: max(0.0, seconds) for queue, seconds in connection.execute(query)}


@dataclass(frozen=True)
class Spread:
    """Durations: how many there are of at most each of the bounds, how many in all, and their sum in seconds."""

    within: tuple[int, ...]
    n: int
    seconds: float

    def __add__(self, other: "Spread") -> "Spread":
        within = tuple(a + b for a, b in zip(self.within, other.within, strict=True))
        return Spread(within, self.n + other.n, self.seconds + other.seconds)


@dataclass(frozen=True)
class Ended:
    """Attempts that have ended: how many, and how long they took, had waited, and took to publish."""

    n: int
    seconds: float
    waited: Spread
    """In WAIT_BOUNDS_S."""
    published: Spread
    """In PUBLISH_BOUNDS_S."""
    flops: float
    """What their jobs take. A job that went on from another attempt's checkpoint counts whole for each."""

    def __add__(self, other: "Ended") -> "Ended":
        return Ended(
            self.n + other.n,
            self.seconds + other.seconds,
            self.waited + other.waited,
            self.published + other.published,
            self.flops + other.flops,
        )


class Tally:
    """Counts all attempts that have ended, by (kind, queue, outcome), at the cost of those of the last minutes.

    What ended longer ago than a transaction can take to commit does not change, and is read once and remembered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: dict[tuple[str, str, str], Ended] = {}
        self._until = 0.0

    def read(self, engine: Engine) -> dict[tuple[str, str, str], Ended]:
        """All that have ended so far."""
        with self._lock, read(engine) as connection:
            edge = (connection.scalar(select(now())) or 0.0) - SETTLED_S
            self._settled = _sum(self._settled, _ended(connection, self._until, edge))
            self._until = edge
            return _sum(self._settled, _ended(connection, edge, None))


def _sum(
    one: dict[tuple[str, str, str], Ended], other: dict[tuple[str, str, str], Ended]
) -> dict[tuple[str, str, str], Ended]:
    return one | {key: one[key] + more if key in one else more for key, more in other.items()}


def _ended(connection: Connection, since: float, until: float | None) -> dict[tuple[str, str, str], Ended]:
    a = attempts.c
    window = [a.ended_at >= since, *([a.ended_at < until] if until is not None else [])]
    sums = (func.sum(a.ended_at - a.started_at), func.sum(jobs.c.flops))
    columns = [*_spread(a.waited_s, WAIT_BOUNDS_S), *_spread(a.publish_s, PUBLISH_BOUNDS_S)]
    query = (
        select(jobs.c.kind, jobs.c.queue, a.outcome, func.count(), *sums, *columns)
        .join(jobs, jobs.c.id == a.job_id)
        .where(*window)
        .group_by(jobs.c.kind, jobs.c.queue, a.outcome)
    )
    rows: list[Any] = [tuple(row) for row in connection.execute(query)]
    split = len(WAIT_BOUNDS_S) + 2
    return {
        (kind, queue, outcome): Ended(n, seconds, _spread_of(rest[:split]), _spread_of(rest[split:]), flops)
        for kind, queue, outcome, n, seconds, flops, *rest in rows
    }


def _spread(column: ColumnElement[float], bounds: Sequence[float]) -> list[ColumnElement[Any]]:
    within = [func.count(case((column <= bound, 1))) for bound in bounds]
    return [*within, func.count(column), func.coalesce(func.sum(column), 0.0)]


def _spread_of(values: Sequence[Any]) -> Spread:
    *within, n, seconds = values
    return Spread(tuple(within), n, seconds)
