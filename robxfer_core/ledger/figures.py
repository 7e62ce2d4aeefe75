"""Figures over all projects: throughput, queues, attempts."""

from typing import NamedTuple

from sqlalchemy import Engine, func, select

from .engine import read
from .tables import attempts, jobs


class Throughput(NamedTuple):
    """What the attempts of a kind that succeeded have computed, and how long it took them together."""

    flops: float
    seconds: float
    n: int


def throughput(engine: Engine) -> dict[tuple[str, str], Throughput]:
    """By (kind, queue), since queues differ in device.

    A job that went on from another attempt's checkpoint counts whole for its last attempt.
    """
    query = (
        select(
            jobs.c.kind,
            jobs.c.queue,
            func.sum(jobs.c.flops),
            func.sum(attempts.c.ended_at - attempts.c.started_at),
            func.count(),
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.outcome == "succeeded")
        .group_by(jobs.c.kind, jobs.c.queue)
    )
    with read(engine) as connection:
        return {(kind, queue): Throughput(*rest) for kind, queue, *rest in connection.execute(query)}


def queue_depth(engine: Engine) -> dict[tuple[str, str], int]:
    """How many jobs there are, by (queue, state)."""
    query = select(jobs.c.queue, jobs.c.state, func.count()).group_by(jobs.c.queue, jobs.c.state)
    with read(engine) as connection:
        return {(queue, state): n for queue, state, n in connection.execute(query)}


def attempts_ended(engine: Engine) -> dict[tuple[str, str], tuple[int, float]]:
    """How many attempts have ended and the seconds they took, by (kind, outcome)."""
    spent = func.sum(attempts.c.ended_at - attempts.c.started_at)
    query = (
        select(jobs.c.kind, attempts.c.outcome, func.count(), spent)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.outcome.is_not(None))
        .group_by(jobs.c.kind, attempts.c.outcome)
    )
    with read(engine) as connection:
        return {(kind, outcome): (n, seconds) for kind, outcome, n, seconds in connection.execute(query)}
