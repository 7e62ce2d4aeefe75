"""Counts over all projects: jobs in the queues, and attempts that have ended."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, func, or_, select

from robxfer_core.spec.states import QUEUED_JOB_STATES, AttemptOutcome, JobState

from .engine import now, read
from .tables import attempts, jobs
from .transitions import wanted

WAIT_BOUNDS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)
"""Upper bounds of the buckets for the time from ready to claimed, in seconds."""
PUBLISH_BOUNDS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900)
"""Upper bounds of the buckets for the time that publishing takes, in seconds."""
COMMIT_S = 600.0
"""Longer than any transaction takes from setting an attempt's end to its commit."""

TotalsKey = tuple[str, str, AttemptOutcome]
"""Kind, queue and outcome."""


def queue_depth(engine: Engine) -> dict[tuple[str, JobState], int]:
    """Count jobs by (queue, state): those that run, and those wanted ones that wait or are ready.

    A job that waits for a failed one stays waiting although nothing wants it; it does not count.
    """
    query = (
        select(jobs.c.queue, jobs.c.state, func.count())
        .where(or_(jobs.c.state == JobState.RUNNING, and_(jobs.c.state.in_(QUEUED_JOB_STATES), wanted())))
        .group_by(jobs.c.queue, jobs.c.state)
    )
    with read(engine) as connection:
        return {(queue, state): count for queue, state, count in connection.execute(query)}


def oldest_ready(engine: Engine) -> dict[str, float]:
    """Measure, by queue, for how many seconds the job that has waited longest could have been claimed."""
    query = (
        select(jobs.c.queue, now() - func.min(jobs.c.ready_at))
        .where(jobs.c.state == JobState.READY, jobs.c.not_before <= now(), wanted())
        .group_by(jobs.c.queue)
    )
    with read(engine) as connection:
        return {queue: max(0.0, seconds) for queue, seconds in connection.execute(query)}


@dataclass(frozen=True)
class Histogram:
    """Durations, counted by cumulative buckets."""

    buckets: tuple[int, ...]
    """For each upper bound, how many durations are at most as long."""
    count: int
    seconds: float
    """Sum of the durations."""

    def __add__(self, other: "Histogram") -> "Histogram":
        buckets = tuple(a + b for a, b in zip(self.buckets, other.buckets, strict=True))
        return Histogram(buckets, self.count + other.count, self.seconds + other.seconds)


@dataclass(frozen=True)
class AttemptTotals:
    """Sums over attempts that have ended."""

    count: int
    seconds: float
    """From start to end."""
    waited: Histogram
    """From ready to claimed, with the bounds WAIT_BOUNDS_S."""
    published: Histogram
    """From the end of the computation to the artifact, with the bounds PUBLISH_BOUNDS_S."""
    flops: float
    """Operations of their jobs, whole for each attempt, even one that resumed from a checkpoint."""

    def __add__(self, other: "AttemptTotals") -> "AttemptTotals":
        return AttemptTotals(
            self.count + other.count,
            self.seconds + other.seconds,
            self.waited + other.waited,
            self.published + other.published,
            self.flops + other.flops,
        )


class AttemptCounter:
    """Counts all attempts that have ended, reading each of them once.

    Attempts that ended longer ago than a transaction can take to commit no longer change; their totals are kept.
    Only those of the last minutes are read again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: dict[TotalsKey, AttemptTotals] = {}
        self._until = 0.0

    def read(self, engine: Engine) -> dict[TotalsKey, AttemptTotals]:
        """Read the totals of all attempts that have ended so far, by (kind, queue, outcome)."""
        with self._lock, read(engine) as connection:
            settled_until = (connection.scalar(select(now())) or 0.0) - COMMIT_S
            self._settled = _sum(self._settled, _totals(connection, self._until, settled_until))
            self._until = settled_until
            return _sum(self._settled, _totals(connection, settled_until, None))


def _sum(one: dict[TotalsKey, AttemptTotals], other: dict[TotalsKey, AttemptTotals]) -> dict[TotalsKey, AttemptTotals]:
    return one | {key: one[key] + totals if key in one else totals for key, totals in other.items()}


def _totals(connection: Connection, since: float, until: float | None) -> dict[TotalsKey, AttemptTotals]:
    a = attempts.c
    window = [a.ended_at >= since, *([a.ended_at < until] if until is not None else [])]
    sums = (func.sum(a.ended_at - a.started_at), func.sum(jobs.c.flops))
    columns = [*_histogram_columns(a.waited_s, WAIT_BOUNDS_S), *_histogram_columns(a.publish_s, PUBLISH_BOUNDS_S)]
    query = (
        select(jobs.c.kind, jobs.c.queue, a.outcome, func.count(), *sums, *columns)
        .join(jobs, jobs.c.id == a.job_id)
        .where(*window)
        .group_by(jobs.c.kind, jobs.c.queue, a.outcome)
    )
    rows: list[Any] = [tuple(row) for row in connection.execute(query)]
    split = len(WAIT_BOUNDS_S) + 2
    return {
        (kind, queue, outcome): AttemptTotals(count, seconds, _histogram(rest[:split]), _histogram(rest[split:]), flops)
        for kind, queue, outcome, count, seconds, flops, *rest in rows
    }


def _histogram_columns(column: ColumnElement[float], bounds: Sequence[float]) -> list[ColumnElement[Any]]:
    buckets = [func.count(case((column <= bound, 1))) for bound in bounds]
    return [*buckets, func.count(column), func.coalesce(func.sum(column), 0.0)]


def _histogram(values: Sequence[Any]) -> Histogram:
    *buckets, count, seconds = values
    return Histogram(tuple(buckets), count, seconds)
