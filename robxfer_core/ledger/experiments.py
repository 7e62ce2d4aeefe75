"""Experiments: submit, cancel and retry, which change the jobs that are wanted; and reading them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, func, select, update

from robxfer_core.spec.records import Progress
from robxfer_core.spec.states import QUEUED_JOB_STATES, AttemptOutcome, ExperimentState, JobState
from robxfer_core.spec.wire.queries import ExperimentQuery

from .engine import NotFound, for_update, lock_jobs, now, read, write
from .events import EventRow, append, experiment_event, job_event
from .paging import KeysetPage, after_cursor, page_of
from .submission import IdempotencyKey, Submission, find_submission, queues_ready, submit
from .tables import edges, experiments, jobs, labels, nodes
from .transitions import end_experiments, enqueue, reprioritise, wanted

__all__ = [
    "ExperimentRecord",
    "ExperimentSummary",
    "IdempotencyKey",
    "NodeRecord",
    "Submission",
    "cancel",
    "find_submission",
    "get",
    "get_state",
    "job_ids",
    "list_nodes",
    "page",
    "retry",
    "submit",
]


@dataclass(frozen=True)
class ExperimentSummary:
    """An experiment as it stands in a list."""

    id: str
    project_id: str
    name: str
    state: ExperimentState
    created_at: float
    """Seconds since the epoch."""
    ended_at: float | None
    created_by: str | None
    """The name of the token that submitted it; None where no token was needed."""
    labels: dict[str, str]
    jobs: dict[JobState, int]
    """Its jobs, counted by state."""


@dataclass(frozen=True)
class ExperimentRecord(ExperimentSummary):
    """An experiment with its spec."""

    spec: dict[str, Any]


@dataclass(frozen=True)
class NodeRecord:
    """A node of an experiment, with its job's present state."""

    name: str
    job_id: str
    key: str
    kind: str
    queue: str
    state: JobState
    outcome: AttemptOutcome | None
    """Of the last attempt that ended."""
    progress: Progress | None
    artifact_id: str | None
    taken: bool
    """Whether another job of the experiment takes its result."""


def cancel(engine: Engine, project_id: str, experiment_id: str) -> ExperimentState:
    """End a running experiment.

    Jobs that no other experiment wants are cancelled; those that run are stopped by their workers.

    Returns:
        `cancelled`, or the state in which the experiment had ended before.

    Raises:
        NotFound: The project has no such experiment.
    """
    with write(engine) as connection:
        rows = _lock_members(connection, experiment_id)
        state = _lock_experiment(connection, project_id, experiment_id)
        if state != ExperimentState.RUNNING:
            return state
        ids = [row.id for row in rows]
        _set_state(connection, experiment_id, ExperimentState.CANCELLED)
        cancelled = connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(ids), jobs.c.state.in_(QUEUED_JOB_STATES), ~wanted())
            .values(state=JobState.CANCELLED, ended_at=now())
            .returning(jobs.c.id)
        ).all()
        reprioritise(connection, ids)
        lines = [experiment_event(project_id, experiment_id, state=ExperimentState.CANCELLED)]
        lines += [job_event(project_id, row.id, state=JobState.CANCELLED) for row in cancelled]
        append(connection, lines)
    return ExperimentState.CANCELLED


def retry(engine: Engine, project_id: str, experiment_id: str) -> Submission:
    """Run the failed and cancelled jobs of an experiment again, with a fresh budget of retries.

    An experiment that is done, or that runs and has no such job, stays as it is.

    Raises:
        NotFound: The project has no such experiment.
    """
    with write(engine) as connection:
        rows = _lock_members(connection, experiment_id)
        state = _lock_experiment(connection, project_id, experiment_id)
        ended = [row.id for row in rows if row.state in (JobState.FAILED, JobState.CANCELLED)]
        if state == ExperimentState.DONE or (state == ExperimentState.RUNNING and not ended):
            return Submission(experiment_id, created=False, queues_ready=[])
        lines: list[EventRow] = []
        if state != ExperimentState.RUNNING:
            _set_state(connection, experiment_id, ExperimentState.RUNNING)
            lines.append(experiment_event(project_id, experiment_id, state=ExperimentState.RUNNING))
        enqueued = enqueue(connection, ended)
        reprioritise(connection, [row.id for row in rows])
        lines += [job_event(project_id, row.id, state=row.state) for row in enqueued]
        append(connection, lines + end_experiments(connection, experiments.c.id == experiment_id))
    return Submission(experiment_id, created=False, queues_ready=queues_ready(enqueued))


def get(engine: Engine, project_id: str, experiment_id: str) -> ExperimentRecord:
    """Read an experiment of the project.

    Raises:
        NotFound: The project has no such experiment.
    """
    own = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    with read(engine) as connection:
        row = connection.execute(select(experiments).where(*own)).one_or_none()
        if row is None:
            raise _not_found(project_id, experiment_id)
        labels_by_id, jobs_by_id = _labels(connection, [row.id]), _count_jobs(connection, [row.id])
    return ExperimentRecord(**row._mapping, labels=labels_by_id.get(row.id, {}), jobs=jobs_by_id.get(row.id, {}))


def get_state(engine: Engine, project_id: str, experiment_id: str) -> ExperimentState:
    """Read the state of an experiment of the project.

    Raises:
        NotFound: The project has no such experiment.
    """
    own = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    with read(engine) as connection:
        state = connection.scalar(select(experiments.c.state).where(*own))
    if state is None:
        raise _not_found(project_id, experiment_id)
    return state


def page(engine: Engine, project_id: str, query: ExperimentQuery = ExperimentQuery()) -> KeysetPage[ExperimentSummary]:
    """Read a page of the project's experiments, newest first.

    Args:
        engine: The database.
        project_id: The project.
        query: Which experiments, and which page of them.

    Raises:
        BadCursor: No page has returned this cursor.
    """
    e = experiments.c
    where = [e.project_id == project_id, *after_cursor(e.id, query.cursor)]
    if query.state is not None:
        where.append(e.state == query.state)
    if query.name is not None:
        where.append(e.name == query.name)
    if query.label is not None:
        name, equals, value = query.label.partition("=")
        same_value = [labels.c.value == value] if equals else []
        where.append(exists().where(labels.c.experiment_id == e.id, labels.c.name == name, *same_value))
    columns = (e.id, e.project_id, e.name, e.state, e.created_at, e.ended_at, e.created_by)
    with read(engine) as connection:
        rows = connection.execute(select(*columns).where(*where).order_by(e.id.desc()).limit(query.limit + 1)).all()
        ids = [row.id for row in rows]
        labels_by_id, jobs_by_id = _labels(connection, ids), _count_jobs(connection, ids)
    items = [
        ExperimentSummary(**row._mapping, labels=labels_by_id.get(row.id, {}), jobs=jobs_by_id.get(row.id, {}))
        for row in rows
    ]
    return page_of(items, query.limit)


def list_nodes(engine: Engine, experiment_id: str) -> list[NodeRecord]:
    """Read the nodes of an experiment, in the order of its plan."""
    columns = [jobs.c.id.label("job_id")] + [jobs.c[name] for name in NodeRecord.__annotations__ if name in jobs.c]
    members = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    taken = exists().where(edges.c.input_job_id == jobs.c.id, edges.c.job_id.in_(members))
    query = (
        select(nodes.c.name, *columns, taken.label("taken"))
        .join(jobs, jobs.c.id == nodes.c.job_id)
        .where(nodes.c.experiment_id == experiment_id)
        .order_by(nodes.c.position)
    )
    with read(engine) as connection:
        return [NodeRecord(**row._mapping) for row in connection.execute(query)]


def job_ids(engine: Engine, project_id: str, experiment_id: str) -> set[str]:
    """Read the ids of an experiment's jobs, which never change; empty where the project has no such experiment."""
    query = (
        select(nodes.c.job_id)
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    )
    with read(engine) as connection:
        return set(connection.scalars(query))


def _labels(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    by_id: dict[str, dict[str, str]] = {}
    rows = connection.execute(select(labels).where(labels.c.experiment_id.in_(ids)).order_by(labels.c.name))
    for row in rows:
        by_id.setdefault(row.experiment_id, {})[row.name] = row.value
    return by_id


def _count_jobs(connection: Connection, ids: Sequence[str]) -> dict[str, dict[JobState, int]]:
    by_id: dict[str, dict[JobState, int]] = {}
    rows = connection.execute(
        select(nodes.c.experiment_id, jobs.c.state, func.count(jobs.c.id.distinct()))
        .join(jobs, jobs.c.id == nodes.c.job_id)
        .where(nodes.c.experiment_id.in_(ids))
        .group_by(nodes.c.experiment_id, jobs.c.state)
    )
    for experiment_id, job_state, count in rows:
        by_id.setdefault(experiment_id, {})[job_state] = count
    return by_id


def _not_found(project_id: str, experiment_id: str) -> NotFound:
    return NotFound(f"no experiment {experiment_id} in the project {project_id}")


def _lock_members(connection: Connection, experiment_id: str) -> list[Row[Any]]:
    members = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    return lock_jobs(connection, jobs.c.id.in_(members), columns=(jobs.c.id, jobs.c.state))


def _lock_experiment(connection: Connection, project_id: str, experiment_id: str) -> ExperimentState:
    own = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    state = connection.scalar(for_update(select(experiments.c.state).where(*own)))
    if state is None:
        raise _not_found(project_id, experiment_id)
    return state


def _set_state(connection: Connection, experiment_id: str, state: ExperimentState) -> None:
    ended_at = None if state == ExperimentState.RUNNING else now()
    changed = update(experiments).where(experiments.c.id == experiment_id)
    connection.execute(changed.values(state=state, ended_at=ended_at))
