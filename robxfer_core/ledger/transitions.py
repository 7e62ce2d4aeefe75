"""Transitions of jobs, attempts and experiments, and what follows from each. Callers hold the job rows' locks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, case, distinct, exists, func, select, update

from robxfer_core.jobs.base import Retries
from robxfer_core.spec.records import ErrorRecord
from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from .engine import for_update, now
from .events import EventRow, append, experiment_event, job_event
from .tables import attempts, edges, experiments, jobs, nodes

MAX_BACKOFF_S = 600.0
"""The longest pause before a further attempt."""
RETRIED_OUTCOMES = tuple(map(AttemptOutcome, Retries.model_fields))
"""Outcomes that spend a retry, each from a budget of its own."""
RUN_COLUMNS = ("priority", "deadline_s", *(f"retries_{outcome}" for outcome in RETRIED_OUTCOMES), "backoff_s")
"""Columns of both nodes and jobs that say how a job is run. A job has the largest values of the nodes that want it."""


def wanted(table: FromClause = jobs) -> ColumnElement[bool]:
    """The condition that a node of a running experiment names the job.

    Args:
        table: The jobs table, or an alias of it.
    """
    running = and_(experiments.c.id == nodes.c.experiment_id, experiments.c.state == ExperimentState.RUNNING)
    return exists().where(nodes.c.job_id == table.c.id, running)


def naming_any(job_ids: Sequence[str]) -> ColumnElement[bool]:
    """The condition that an experiment names any of the jobs."""
    return experiments.c.id.in_(select(nodes.c.experiment_id).where(nodes.c.job_id.in_(job_ids)))


def enqueue(connection: Connection, job_ids: Sequence[str]) -> list[Row[str, JobState, str]]:
    """Give jobs a fresh budget of retries and queue them: ready where all inputs are done, else waiting.

    Args:
        connection: A transaction that holds the locks of the jobs.
        job_ids: New jobs, or jobs that failed or were cancelled.

    Returns:
        Rows (id, state, queue).
    """
    if not job_ids:
        return []
    job, source = jobs.alias("job"), jobs.alias("source")
    counted = (
        select(job.c.id, func.count(distinct(source.c.id)).label("missing"))
        .outerjoin(edges, edges.c.job_id == job.c.id)
        .outerjoin(source, and_(source.c.id == edges.c.input_job_id, source.c.state != JobState.DONE))
        .where(job.c.id.in_(job_ids))
        .group_by(job.c.id)
        .subquery()
    )
    enqueued = (
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
    return list(connection.execute(enqueued.returning(jobs.c.id, jobs.c.state, jobs.c.queue)))


def reprioritise(connection: Connection, job_ids: Sequence[str]) -> None:
    """Give jobs the largest priority, deadline, retries and backoff of the nodes that want them.

    Jobs that are done or failed stay as they are, and so do jobs that no running experiment names.
    """
    largest = (
        select(nodes.c.job_id, *(func.max(nodes.c[name]).label(name) for name in RUN_COLUMNS))
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(nodes.c.job_id.in_(job_ids), experiments.c.state == ExperimentState.RUNNING)
        .group_by(nodes.c.job_id)
        .subquery()
    )
    connection.execute(
        update(jobs)
        .where(jobs.c.id == largest.c.job_id, jobs.c.state.not_in((JobState.DONE, JobState.FAILED)))
        .values({name: largest.c[name] for name in RUN_COLUMNS})
    )


def count_down_dependents(connection: Connection, job_id: str) -> list[Row[str, str, JobState]]:
    """Count down the missing inputs of the jobs that take a job's result, now that it is done.

    The dependents are locked first, in the one order, which an UPDATE would not keep. Each is counted down from the
    value that it has once its lock is held: of two inputs that end at once, the second sees the first.

    Returns:
        Rows (id, project_id, state) of the jobs that became ready.
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


def end_attempts(
    connection: Connection, rows: Sequence[Row[Any]], outcome: AttemptOutcome, error: ErrorRecord | None
) -> int:
    """End the attempts of running jobs that did not succeed, with what follows for experiments, and append the events.

    Args:
        connection: A transaction that holds the locks of the jobs.
        rows: Whole rows of the jobs.
        outcome: How the attempts ended; any but `succeeded`.
        error: Why.

    Returns:
        The number of jobs.
    """
    lines = [_end_attempt(connection, row, outcome, error) for row in rows]
    ended = end_experiments(connection, naming_any([row.id for row in rows])) if rows else []
    append(connection, lines + ended)
    return len(rows)


def _end_attempt(connection: Connection, job: Row[Any], outcome: AttemptOutcome, error: ErrorRecord | None) -> EventRow:
    """Make the job ready again, failed, or cancelled where nothing wants it by now. Returns the event."""
    spent = dict(job.spent)
    if outcome in RETRIED_OUTCOMES:
        spent[outcome] = spent.get(outcome, 0) + 1
    failed = outcome in RETRIED_OUTCOMES and spent[outcome] > job._mapping[f"retries_{outcome}"]
    pause_s = _backoff_s(spent, job.backoff_s) if outcome in RETRIED_OUTCOMES and not failed else 0.0
    state = connection.scalar(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            state=JobState.FAILED if failed else case((wanted(), JobState.READY), else_=JobState.CANCELLED),
            outcome=outcome,
            error=error,
            spent=spent,
            not_before=now() + pause_s if pause_s else 0.0,
            lease_until=None,
            progress=None,
            ready_at=now(),
            ended_at=now(),
        )
        .returning(jobs.c.state)
    )
    record_outcome(connection, job.id, job.attempt, outcome, error)
    return job_event(job.project_id, job.id, state=state, attempt=job.attempt, outcome=outcome, error=error)


def _backoff_s(spent: dict[str, int], first_s: float) -> float:
    """The pause before the next attempt: doubled for each spent retry. A first loss is seldom the job's fault: none."""
    counted = sum(spent.values()) - min(1, spent.get(AttemptOutcome.LOST, 0))
    return min(first_s * 2 ** (counted - 1), MAX_BACKOFF_S) if counted else 0.0


def record_outcome(
    connection: Connection,
    job_id: str,
    attempt: int,
    outcome: AttemptOutcome,
    error: ErrorRecord | None = None,
    publish_s: float | None = None,
) -> None:
    """Write in the row of an attempt how it ended."""
    connection.execute(
        update(attempts)
        .where(attempts.c.job_id == job_id, attempts.c.number == attempt)
        .values(ended_at=now(), outcome=outcome, error=error, publish_s=publish_s)
    )


def end_experiments(connection: Connection, *where: ColumnElement[bool]) -> list[EventRow]:
    """End running experiments in which nothing can run any more.

    Nothing can run where no job is ready or running: a plan holds the inputs of all its jobs, so a job that waits then
    waits in the end for one that failed. The experiments are locked by a statement of their own: of two jobs that end
    at once, the second has to see the first.

    Args:
        connection: A transaction that holds the locks of the jobs that changed.
        *where: Which experiments to look at.

    Returns:
        The events to append.
    """
    running = select(experiments.c.id).where(experiments.c.state == ExperimentState.RUNNING, *where)
    locked = connection.scalars(for_update(running.order_by(experiments.c.id))).all()
    if not locked:
        return []
    member = and_(nodes.c.experiment_id == experiments.c.id, jobs.c.id == nodes.c.job_id)
    any_undone = exists().where(member, jobs.c.state != JobState.DONE)
    ended = (
        update(experiments)
        .where(
            experiments.c.id.in_(locked),
            ~exists().where(member, jobs.c.state.in_((JobState.READY, JobState.RUNNING))),
        )
        .values(state=case((any_undone, ExperimentState.FAILED), else_=ExperimentState.DONE), ended_at=now())
        .returning(experiments.c.id, experiments.c.project_id, experiments.c.state)
    )
    return [experiment_event(row.project_id, row.id, state=row.state) for row in connection.execute(ended)]
