"""What follows from a change: arming jobs, ending attempts, ending experiments. Callers hold the job rows' locks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, case, distinct, exists, func, select, update

from robxfer_core.jobs.base import Retries
from robxfer_core.spec.records import ErrorRecord
from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from .engine import for_update, now
from .events import append, experiment_event, job_event
from .tables import attempts, edges, experiments, jobs, nodes

BACKOFF_LIMIT_S = 600.0
SPENDING = tuple(map(AttemptOutcome, Retries.model_fields))
"""Outcomes that spend a retry, each of its own budget."""
WEIGHTS = ("priority", "deadline_s", *(f"retries_{outcome}" for outcome in SPENDING), "backoff_s")

Lines = list[dict[str, Any]]


def wanted(table: FromClause = jobs) -> ColumnElement[bool]:
    """Whether a node of a live experiment names the job."""
    live = and_(experiments.c.id == nodes.c.experiment_id, experiments.c.state == ExperimentState.RUNNING)
    return exists().where(nodes.c.job_id == table.c.id, live)


def arm(connection: Connection, job_ids: Sequence[str]) -> list[Any]:
    """Give jobs a fresh budget: ready where all inputs are done, else waiting. Returns (id, state, queue)."""
    if not job_ids:
        return []
    one, source = jobs.alias("one"), jobs.alias("source")
    counted = (
        select(one.c.id, func.count(distinct(source.c.id)).label("missing"))
        .outerjoin(edges, edges.c.job_id == one.c.id)
        .outerjoin(source, and_(source.c.id == edges.c.input_job_id, source.c.state != JobState.DONE))
        .where(one.c.id.in_(job_ids))
        .group_by(one.c.id)
        .subquery()
    )
    armed = (
        update(jobs)
        .where(jobs.c.id == counted.c.id)
        .values(
            missing=counted.c.missing,
            state=case((counted.c.missing == 0, JobState.READY), else_=JobState.WAITING),
            ready_at=case((counted.c.missing == 0, now())),
            spent={},
            not_before=0.0,
            progress=None,
            error=None,
            ended_at=None,
        )
    )
    return list(connection.execute(armed.returning(jobs.c.id, jobs.c.state, jobs.c.queue)))


def weigh(connection: Connection, job_ids: Sequence[str]) -> None:
    """Give jobs that are not done the largest priority, deadline and retries that live experiments want."""
    largest = (
        select(nodes.c.job_id, *(func.max(nodes.c[name]).label(name) for name in WEIGHTS))
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(nodes.c.job_id.in_(job_ids), experiments.c.state == ExperimentState.RUNNING)
        .group_by(nodes.c.job_id)
        .subquery()
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.id == largest.c.job_id, jobs.c.state.not_in((JobState.DONE, JobState.FAILED)))
        .values({name: largest.c[name] for name in WEIGHTS})
    )


def count_down(connection: Connection, job_id: str) -> list[Any]:
    """Tell the job's dependents that it is done. Returns (id, project_id) of those that became ready.

    They are locked first, in the one order, which an UPDATE would not keep; and each is counted down from what it is
    when its lock is held, so that of two parents that end at once the second sees the first.
    """
    dependents = select(edges.c.job_id).where(edges.c.input_job_id == job_id)
    waiting = select(jobs.c.id).where(jobs.c.id.in_(dependents), jobs.c.state == JobState.WAITING)
    locked = connection.scalars(for_update(waiting.order_by(jobs.c.depth, jobs.c.id))).all()
    if not locked:
        return []
    last = jobs.c.missing == 1
    counted = (
        update(jobs)
        .where(jobs.c.id.in_(locked))
        .values(
            missing=jobs.c.missing - 1,
            state=case((last, JobState.READY), else_=JobState.WAITING),
            ready_at=case((last, now())),
        )
        .returning(jobs.c.id, jobs.c.project_id, jobs.c.state)
    )
    return [row for row in connection.execute(counted) if row.state == JobState.READY]


def end_attempt(connection: Connection, job: Row[Any], outcome: AttemptOutcome, error: ErrorRecord | None) -> Lines:
    """End a running job's attempt otherwise than by success: ready again, failed, or cancelled. Returns the event.

    A job that would be ready again but that nobody wants by now is cancelled.
    """
    spent, failed, pause = dict(job.spent), False, 0.0
    if outcome in SPENDING:
        spent[outcome] = spent.get(outcome, 0) + 1
        failed = spent[outcome] > job._mapping[f"retries_{outcome}"]
        counted = sum(spent.values()) - min(
            1, spent.get(AttemptOutcome.LOST, 0)
        )  # a first loss is seldom the job's own doing
        if not failed and counted:
            pause = min(job.backoff_s * 2 ** (counted - 1), BACKOFF_LIMIT_S)
    state = connection.scalar(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            state=JobState.FAILED if failed else case((wanted(), JobState.READY), else_=JobState.CANCELLED),
            outcome=outcome,
            error=error,
            spent=spent,
            not_before=now() + pause if pause else 0.0,
            lease_until=None,
            progress=None,
            ready_at=now(),
            ended_at=now(),
        )
        .returning(jobs.c.state)
    )
    close_attempt(connection, job.id, job.attempt, outcome, error)
    return [job_event(job.project_id, job.id, state=state, attempt=job.attempt, outcome=outcome, error=error)]


def end_attempts(connection: Connection, rows: list[Any], outcome: AttemptOutcome, error: ErrorRecord | None) -> int:
    """End those of running jobs alike, with what follows for experiments, and append the events. Returns how many."""
    lines = [line for row in rows for line in end_attempt(connection, row, outcome, error)]
    ended = end_experiments(connection, having([row.id for row in rows])) if rows else []
    append(connection, lines + ended)
    return len(rows)


def close_attempt(
    connection: Connection,
    job_id: str,
    attempt: int,
    outcome: AttemptOutcome,
    error: ErrorRecord | None = None,
    publish_s: float | None = None,
) -> None:
    """Write how an attempt ended."""
    connection.execute(
        update(attempts)
        .where(attempts.c.job_id == job_id, attempts.c.number == attempt)
        .values(ended_at=now(), outcome=outcome, error=error, publish_s=publish_s)
    )


def end_experiments(connection: Connection, *which: ColumnElement[bool]) -> Lines:
    """End those of the live experiments of which nothing can run. Returns their events.

    Nothing can run where no job is ready or running: a plan holds the inputs of all its jobs, so one that waits then
    waits, at last, for one that failed. The experiments are locked in a statement of their own: of two jobs that end
    at once, the second must see the first.
    """
    live = (
        select(experiments.c.id)
        .where(experiments.c.state == ExperimentState.RUNNING, *which)
        .order_by(experiments.c.id)
    )
    locked = connection.scalars(for_update(live)).all()
    if not locked:
        return []
    member = and_(nodes.c.experiment_id == experiments.c.id, jobs.c.id == nodes.c.job_id)
    ended = (
        update(experiments)
        .where(
            experiments.c.id.in_(locked),
            ~exists().where(member, jobs.c.state.in_((JobState.READY, JobState.RUNNING))),
        )
        .values(
            state=case(
                (exists().where(member, jobs.c.state != JobState.DONE), ExperimentState.FAILED),
                else_=ExperimentState.DONE,
            ),
            ended_at=now(),
        )
        .returning(experiments.c.id, experiments.c.project_id, experiments.c.state)
    )
    return [experiment_event(row.project_id, row.id, state=row.state) for row in connection.execute(ended)]


def having(job_ids: Sequence[str]) -> ColumnElement[bool]:
    """Experiments that name any of the jobs."""
    return experiments.c.id.in_(select(nodes.c.experiment_id).where(nodes.c.job_id.in_(job_ids)))
