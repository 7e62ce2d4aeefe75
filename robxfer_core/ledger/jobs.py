"""Jobs: one job with its inputs, its attempts and its metrics, and why it does not run yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, or_, select

from robxfer_core.spec.records import ErrorRecord, Progress
from robxfer_core.spec.states import QUEUED_JOB_STATES, AttemptOutcome, JobState, WaitCause

from .engine import NotFound, now, read
from .tables import attempts, edges, experiments, jobs, metrics, nodes, projects, workers
from .transitions import RETRIED_OUTCOMES, wanted
from .workers import is_live

INPUTS_SHOWN = 5
"""Inputs that the reason `inputs` names."""


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt at a job. Times are in seconds since the epoch."""

    number: int
    """Counted from 1."""
    worker_id: str
    device: str
    started_at: float
    ended_at: float | None
    outcome: AttemptOutcome | None
    """None while it runs."""
    error: ErrorRecord | None
    waited_s: float | None
    """Seconds from ready to claimed."""
    publish_s: float | None
    """Seconds from the end of the computation to the artifact."""

    @property
    def seconds(self) -> float | None:
        """Seconds from start to end; None while it runs."""
        return None if self.ended_at is None else self.ended_at - self.started_at


@dataclass(frozen=True)
class InputRecord:
    """A job whose result is taken."""

    field: str
    """The parameter that refers to it."""
    index: int
    """Its place in that parameter; 0 where it is the only one."""
    job_id: str
    key: str
    kind: str
    state: JobState
    artifact_id: str | None


@dataclass(frozen=True)
class WaitReason:
    """Why a job does not run yet, in words."""

    reason: WaitCause
    detail: str
    jobs: list[str]
    """For `inputs`: the ids of the jobs that are not done."""


@dataclass(frozen=True)
class JobRecord:
    """A job. Times are in seconds since the epoch."""

    id: str
    project_id: str
    key: str
    kind: str
    recipe: int
    params: dict[str, Any]
    artifact_type: str
    flops: float
    gpus: int
    queue: str
    priority: int
    deadline_s: float
    backoff_s: float
    state: JobState
    outcome: AttemptOutcome | None
    """Of the last attempt that ended."""
    error: ErrorRecord | None
    """Of the last attempt that ended."""
    spent: dict[AttemptOutcome, int]
    """Retries spent since it was enqueued, by outcome."""
    attempt: int
    """The number of the last attempt; 0 before the first."""
    worker_id: str | None
    progress: Progress | None
    artifact_id: str | None
    created_at: float
    ready_at: float | None
    started_at: float | None
    ended_at: float | None
    retries: dict[AttemptOutcome, int]
    """Retries allowed, by outcome."""
    inputs: list[InputRecord]
    attempts: list[AttemptRecord]
    waiting_for: list[WaitReason]


@dataclass(frozen=True)
class MetricRecord:
    """A measured value of a job; there is one for each name and step."""

    name: str
    step: int
    value: float | None
    """None: the value was not a finite number."""


_JOB_COLUMNS = tuple(name for name in JobRecord.__annotations__ if name in jobs.c)


def get(engine: Engine, project_id: str, job_id: str) -> JobRecord:
    """Read a job of the project.

    Raises:
        NotFound: The project has no such job.
    """
    with read(engine) as connection:
        row = connection.execute(
            select(*jobs.c, now().label("now"), wanted().label("wanted"), projects.c.quota)
            .join(projects, projects.c.id == jobs.c.project_id)
            .where(jobs.c.id == job_id, jobs.c.project_id == project_id)
        ).one_or_none()
        if row is None:
            raise NotFound(f"no job {job_id} in the project {project_id}")
        inputs = _inputs(connection, job_id)
        return JobRecord(
            **{name: row._mapping[name] for name in _JOB_COLUMNS},
            retries={outcome: row._mapping[f"retries_{outcome}"] for outcome in RETRIED_OUTCOMES},
            inputs=inputs,
            attempts=_attempts(connection, job_id),
            waiting_for=_wait_reasons(connection, row, inputs) if row.state in QUEUED_JOB_STATES else [],
        )


def _inputs(connection: Connection, job_id: str) -> list[InputRecord]:
    rows = connection.execute(
        select(
            edges.c.field,
            edges.c.position,
            jobs.c.id,
            jobs.c.key,
            jobs.c.kind,
            jobs.c.state,
            jobs.c.artifact_id,
        )
        .join(jobs, jobs.c.id == edges.c.input_job_id)
        .where(edges.c.job_id == job_id)
        .order_by(edges.c.field, edges.c.position)
    )
    return [InputRecord(*row) for row in rows]


def _attempts(connection: Connection, job_id: str) -> list[AttemptRecord]:
    columns = [attempts.c[name] for name in AttemptRecord.__annotations__]
    query = select(*columns).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return [AttemptRecord(**row._mapping) for row in connection.execute(query)]


def _wait_reasons(connection: Connection, job: Row[Any], inputs: Sequence[InputRecord]) -> list[WaitReason]:
    reasons: list[WaitReason] = []
    if not job.wanted:
        reasons.append(WaitReason(WaitCause.UNWANTED, "no running experiment names it", []))
    if job.state == JobState.WAITING:
        return [*reasons, _inputs_not_done(connection, inputs)]
    if job.not_before > job.now:
        reasons.append(WaitReason(WaitCause.BACKOFF, f"tried again in {job.not_before - job.now:.0f} s", []))
    serving = connection.execute(select(workers.c.queues, workers.c.slots).where(is_live())).all()
    slots = sum(worker.slots for worker in serving if job.queue in worker.queues)
    if not slots:
        detail = f"no live worker serves the queue {job.queue}; {_remedy(job)}"
        reasons.append(WaitReason(WaitCause.WORKER, detail, []))
    if job.quota is not None:
        running = select(func.count()).where(jobs.c.project_id == job.project_id, jobs.c.state == JobState.RUNNING)
        if (connection.scalar(running) or 0) >= job.quota:
            reasons.append(WaitReason(WaitCause.QUOTA, f"the project may run {job.quota} jobs at once", []))
    if not reasons:
        ahead = _count_ahead(connection, job)
        detail = f"the {slots} slots of the queue {job.queue} are busy; {ahead} jobs come before it"
        reasons.append(WaitReason(WaitCause.SLOT, detail, []))
    return reasons


def _count_ahead(connection: Connection, job: Row[Any]) -> int:
    """How many jobs of the queue would be claimed before this one."""
    sooner = or_(jobs.c.priority > job.priority, and_(jobs.c.priority == job.priority, jobs.c.id < job.id))
    claimable = and_(jobs.c.state == JobState.READY, jobs.c.queue == job.queue, jobs.c.not_before <= now(), wanted())
    return connection.scalar(select(func.count()).select_from(jobs).where(claimable, sooner)) or 0


def _remedy(job: Row[Any]) -> str:
    """How to start a worker that serves the job's queue."""
    text = f"start a worker with ROBXFER_QUEUES={job.queue}"
    several_gpus = job.gpus > 1 and not job.queue.startswith("cpu")
    return f"{text} and ROBXFER_GPUS_PER_SLOT={job.gpus}" if several_gpus else text


def _inputs_not_done(connection: Connection, inputs: Sequence[InputRecord]) -> WaitReason:
    missing = {source.job_id: source for source in inputs if source.state != JobState.DONE}
    shown = list(missing)[:INPUTS_SHOWN]
    rows = connection.execute(
        select(nodes.c.job_id, func.min(nodes.c.name))
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(nodes.c.job_id.in_(shown))
        .group_by(nodes.c.job_id)
    )
    names: dict[str, str] = dict(rows.all())
    listed = ", ".join(f"{names.get(id, missing[id].kind)} ({missing[id].state})" for id in shown)
    more = f" and {len(missing) - len(shown)} more" if len(missing) > len(shown) else ""
    return WaitReason(WaitCause.INPUTS, f"needs {listed}{more}", list(missing))


def list_metrics(
    engine: Engine,
    job_id: str,
    name: str | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 10_000,
) -> list[MetricRecord]:
    """Read measured values of a job, by name and step.

    Args:
        engine: The database.
        job_id: The job.
        name: Only values of this name.
        after: Only values after this name and step.
        limit: How many.
    """
    m = metrics.c
    where = [m.job_id == job_id]
    if name is not None:
        where.append(m.name == name)
    if after is not None:
        where.append(or_(m.name > after[0], and_(m.name == after[0], m.step > after[1])))
    query = select(m.name, m.step, m.value).where(*where).order_by(m.name, m.step).limit(limit)
    with read(engine) as connection:
        return [MetricRecord(*row) for row in connection.execute(query)]


def states_of_keys(engine: Engine, project_id: str, keys: Sequence[str]) -> dict[str, JobState]:
    """Read the states of the project's jobs with these keys, by key. A key without a job is left out."""
    query = select(jobs.c.key, jobs.c.state).where(jobs.c.project_id == project_id, jobs.c.key.in_(keys))
    with read(engine) as connection:
        return dict(connection.execute(query).all())
