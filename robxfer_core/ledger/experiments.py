"""Experiments: submit, cancel and retry, which change the jobs that are wanted; and what is shown of them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, exists, func, select, update

from robxfer_core.ledger.events import EventRow
from robxfer_core.spec.records import Progress
from robxfer_core.spec.states import QUEUED_JOB_STATES, AttemptOutcome, ExperimentState, JobState

from .engine import Unknown, for_update, lock_jobs, now, read, write
from .events import append, experiment_event, job_event
from .paging import Page, before, page_of
from .submission import Submission, queues_of, submit, submitted
from .tables import edges, experiments, jobs, labels, nodes
from .transitions import end_experiments, enqueue, reprioritise, wanted

__all__ = [
    "Experiment",
    "Member",
    "Submission",
    "Summary",
    "cancel",
    "get",
    "job_ids",
    "jobs_of",
    "page",
    "retry",
    "state",
    "submit",
    "submitted",
]


@dataclass(frozen=True)
class Summary:
    """An experiment as it stands in a list."""

    id: str
    project_id: str
    name: str
    state: ExperimentState
    created_at: float
    ended_at: float | None
    created_by: str | None
    """The name of the token that submitted it."""
    labels: dict[str, str]
    jobs: dict[JobState, int]
    """Its jobs, counted by state."""


@dataclass(frozen=True)
class Experiment(Summary):
    """An experiment whole."""

    spec: dict[str, Any]


@dataclass(frozen=True)
class Member:
    """An experiment's name for a job, and how the job stands."""

    name: str
    job_id: str
    key: str
    kind: str
    queue: str
    state: JobState
    outcome: AttemptOutcome | None
    progress: Progress | None
    artifact_id: str | None
    taken: bool
    """Whether another job of the experiment takes what it leaves."""


def cancel(engine: Engine, project_id: str, experiment_id: str) -> ExperimentState:
    """End a live experiment; jobs that nobody wants any more are cancelled, or stopped where they run.

    Returns the state the experiment is in then: `cancelled`, or the one in which it had ended. Raises Unknown.
    """
    with write(engine) as connection:
        rows = _lock_members(connection, experiment_id)
        state = _lock_experiment(connection, project_id, experiment_id)
        if state != ExperimentState.RUNNING:
            return state
        ids = [row.id for row in rows]
        _set_state(connection, experiment_id, ExperimentState.CANCELLED)
        dropped = connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(ids), jobs.c.state.in_(QUEUED_JOB_STATES), ~wanted())
            .values(state=JobState.CANCELLED, ended_at=now())
            .returning(jobs.c.id)
        ).all()
        reprioritise(connection, ids)
        lines: list[EventRow] = [experiment_event(project_id, experiment_id, state=ExperimentState.CANCELLED)]
        append(connection, lines + [job_event(project_id, row.id, state=JobState.CANCELLED) for row in dropped])
    return ExperimentState.CANCELLED


def retry(engine: Engine, project_id: str, experiment_id: str) -> Submission:
    """Give the failed and cancelled jobs of an experiment a fresh budget and let it live again. Raises Unknown.

    Of an experiment that is done, or of which nothing has failed, nothing changes.
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
    return Submission(experiment_id, created=False, queues_ready=queues_of(enqueued))


def get(engine: Engine, project_id: str, experiment_id: str) -> Experiment:
    """An experiment of the project. Raises Unknown."""
    mine = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    with read(engine) as connection:
        row = connection.execute(select(experiments).where(*mine)).one_or_none()
        if row is None:
            raise _unknown(project_id, experiment_id)
        marks, counts = _labels(connection, [row.id]), _counts(connection, [row.id])
    return Experiment(**row._mapping, labels=marks.get(row.id, {}), jobs=counts.get(row.id, {}))


def state(engine: Engine, project_id: str, experiment_id: str) -> ExperimentState:
    """The state of an experiment of the project. Raises Unknown."""
    mine = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    with read(engine) as connection:
        found = connection.scalar(select(experiments.c.state).where(*mine))
    if found is None:
        raise _unknown(project_id, experiment_id)
    return found


def page(
    engine: Engine,
    project_id: str,
    *,
    state: ExperimentState | None = None,
    name: str | None = None,
    label: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Summary]:
    """Experiments of the project, newest first. label: `name` or `name=value`. Raises BadCursor."""
    e = experiments.c
    where = [e.project_id == project_id, *before(e.id, cursor)]
    if state is not None:
        where.append(e.state == state)
    if name is not None:
        where.append(e.name == name)
    if label is not None:
        key, equals, value = label.partition("=")
        same = [labels.c.value == value] if equals else []
        where.append(exists().where(labels.c.experiment_id == e.id, labels.c.name == key, *same))
    columns = (e.id, e.project_id, e.name, e.state, e.created_at, e.ended_at, e.created_by)
    with read(engine) as connection:
        rows = connection.execute(select(*columns).where(*where).order_by(e.id.desc()).limit(limit + 1)).all()
        ids = [row.id for row in rows]
        marks, counts = _labels(connection, ids), _counts(connection, ids)
    items = [Summary(**row._mapping, labels=marks.get(row.id, {}), jobs=counts.get(row.id, {})) for row in rows]
    return page_of(items, limit)


def jobs_of(engine: Engine, experiment_id: str) -> list[Member]:
    """The nodes of an experiment, in the order of its plan."""
    columns = [jobs.c.id.label("job_id")] + [jobs.c[each] for each in Member.__annotations__ if each in jobs.c]
    takers = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    taken = exists().where(edges.c.input_job_id == jobs.c.id, edges.c.job_id.in_(takers))
    query = (
        select(nodes.c.name, *columns, taken.label("taken"))
        .join(jobs, jobs.c.id == nodes.c.job_id)
        .where(nodes.c.experiment_id == experiment_id)
        .order_by(nodes.c.position)
    )
    with read(engine) as connection:
        return [Member(**row._mapping) for row in connection.execute(query)]


def job_ids(engine: Engine, project_id: str, experiment_id: str) -> set[str]:
    """The jobs of an experiment of the project; they never change."""
    query = (
        select(nodes.c.job_id)
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    )
    with read(engine) as connection:
        return set(connection.scalars(query))


def _labels(connection: Connection, ids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    rows = connection.execute(select(labels).where(labels.c.experiment_id.in_(ids)).order_by(labels.c.name))
    for row in rows:
        found.setdefault(row.experiment_id, {})[row.name] = row.value
    return found


def _counts(connection: Connection, ids: list[str]) -> dict[str, dict[JobState, int]]:
    found: dict[str, dict[JobState, int]] = {}
    rows = connection.execute(
        select(nodes.c.experiment_id, jobs.c.state, func.count(jobs.c.id.distinct()))
        .join(jobs, jobs.c.id == nodes.c.job_id)
        .where(nodes.c.experiment_id.in_(ids))
        .group_by(nodes.c.experiment_id, jobs.c.state)
    )
    for experiment_id, job_state, count in rows:
        found.setdefault(experiment_id, {})[job_state] = count
    return found


def _unknown(project_id: str, experiment_id: str) -> Unknown:
    return Unknown(f"no experiment {experiment_id} in the project {project_id}")


def _lock_members(connection: Connection, experiment_id: str) -> list[Any]:
    members = select(nodes.c.job_id).where(nodes.c.experiment_id == experiment_id)
    return lock_jobs(connection, jobs.c.id.in_(members), columns=(jobs.c.id, jobs.c.state))


def _lock_experiment(connection: Connection, project_id: str, experiment_id: str) -> ExperimentState:
    mine = (experiments.c.id == experiment_id, experiments.c.project_id == project_id)
    state = connection.scalar(for_update(select(experiments.c.state).where(*mine)))
    if state is None:
        raise _unknown(project_id, experiment_id)
    return state


def _set_state(connection: Connection, experiment_id: str, state: ExperimentState) -> None:
    ended = None if state == ExperimentState.RUNNING else now()
    connection.execute(update(experiments).where(experiments.c.id == experiment_id).values(state=state, ended_at=ended))
