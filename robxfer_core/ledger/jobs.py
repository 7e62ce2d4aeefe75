"""A job whole: its inputs, its attempts, what it measured, and why it does not run yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, func, or_, select

from robxfer_core.spec.records import ErrorRecord, Progress
from robxfer_core.spec.states import QUEUED_JOB_STATES, AttemptOutcome, JobState

from .engine import Unknown, now, read
from .tables import attempts, edges, experiments, jobs, metrics, nodes, projects, workers
from .transitions import RETRIED_OUTCOMES, wanted
from .workers import is_live


@dataclass(frozen=True)
class Attempt:
    number: int
    worker_id: str
    device: str
    started_at: float
    ended_at: float | None
    outcome: AttemptOutcome | None
    error: ErrorRecord | None
    waited_s: float | None
    publish_s: float | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        return None if self.ended_at is None else self.ended_at - self.started_at


@dataclass(frozen=True)
class Input:
    """A job whose result is taken, in which reference."""

    field: str
    index: int
    job_id: str
    key: str
    kind: str
    state: JobState
    artifact_id: str | None


@dataclass(frozen=True)
class Reason:
    """Why a job does not run yet.

    reason: inputs (of which `jobs` are not done), unwanted (no live experiment names it), backoff (it waits before it
    is tried again), worker (no live worker takes its queue), quota (the project runs as many jobs as it may), slot
    (others come first, or all slots of its queue are busy).
    """

    reason: str
    detail: str
    jobs: list[str]


@dataclass(frozen=True)
class Job:
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
    error: ErrorRecord | None
    spent: dict[AttemptOutcome, int]
    """Retries spent since it was enqueued, by outcome."""
    attempt: int
    worker_id: str | None
    progress: Progress | None
    artifact_id: str | None
    created_at: float
    ready_at: float | None
    started_at: float | None
    ended_at: float | None
    retries: dict[AttemptOutcome, int]
    """Allowed, by outcome."""
    inputs: list[Input]
    attempts: list[Attempt]
    waiting_for: list[Reason]


@dataclass(frozen=True)
class Metric:
    name: str
    step: int
    value: float | None
    """None: was not a finite number."""


OWN = tuple(name for name in Job.__annotations__ if name in jobs.c)


def job(engine: Engine, project_id: str, job_id: str) -> Job:
    """A job of the project. Raises Unknown."""
    with read(engine) as connection:
        row = connection.execute(
            select(*jobs.c, now().label("now"), wanted().label("wanted"), projects.c.quota)
            .join(projects, projects.c.id == jobs.c.project_id)
            .where(jobs.c.id == job_id, jobs.c.project_id == project_id)
        ).one_or_none()
        if row is None:
            raise Unknown(f"no job {job_id} in the project {project_id}")
        own = {name: row._mapping[name] for name in OWN}
        inputs = _inputs(connection, job_id)
        return Job(
            **own,
            retries={outcome: row._mapping[f"retries_{outcome}"] for outcome in RETRIED_OUTCOMES},
            inputs=inputs,
            attempts=_attempts(connection, job_id),
            waiting_for=_reasons(connection, row, inputs) if row.state in QUEUED_JOB_STATES else [],
        )


def _inputs(connection: Connection, job_id: str) -> list[Input]:
    rows = connection.execute(
        select(
            edges.c.field,
            edges.c.position.label("at"),
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
    return [Input(*row) for row in rows]


def _attempts(connection: Connection, job_id: str) -> list[Attempt]:
    columns = [attempts.c[name] for name in Attempt.__annotations__]
    query = select(*columns).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return [Attempt(**row._mapping) for row in connection.execute(query)]


def _reasons(connection: Connection, row: Row[Any], inputs: Sequence[Input]) -> list[Reason]:
    reasons = []
    if not row.wanted:
        reasons.append(Reason("unwanted", "no running experiment names it", []))
    if row.state == JobState.WAITING:
        return [*reasons, _for_inputs(connection, inputs)]
    if row.not_before > row.now:
        reasons.append(Reason("backoff", f"tried again in {row.not_before - row.now:.0f} s", []))
    serving = connection.execute(select(workers.c.queues, workers.c.slots).where(is_live())).all()
    slots = sum(each.slots for each in serving if row.queue in each.queues)
    if not slots:
        reasons.append(Reason("worker", f"no live worker serves the queue {row.queue}; {_wanted_worker(row)}", []))
    if row.quota is not None:
        running = select(func.count()).where(jobs.c.project_id == row.project_id, jobs.c.state == JobState.RUNNING)
        if (connection.scalar(running) or 0) >= row.quota:
            reasons.append(Reason("quota", f"the project may run {row.quota} jobs at once", []))
    if not reasons:
        sooner = or_(jobs.c.priority > row.priority, and_(jobs.c.priority == row.priority, jobs.c.id < row.id))
        same = and_(jobs.c.state == JobState.READY, jobs.c.queue == row.queue, jobs.c.not_before <= now(), wanted())
        ahead = connection.scalar(select(func.count()).select_from(jobs).where(same, sooner)) or 0
        reasons.append(
            Reason("slot", f"the {slots} slots of the queue {row.queue} are busy; {ahead} jobs come before it", [])
        )
    return reasons


def _wanted_worker(row: Row[Any]) -> str:
    """What to start, so that the job's queue is served."""
    told = f"start a worker with ROBXFER_QUEUES={row.queue}"
    many = row.gpus > 1 and not row.queue.startswith("cpu")
    return f"{told} and ROBXFER_GPUS_PER_SLOT={row.gpus}" if many else told


def _for_inputs(connection: Connection, inputs: Sequence[Input], shown: int = 5) -> Reason:
    missing = {each.job_id: each for each in inputs if each.state != JobState.DONE}
    first = list(missing)[:shown]
    names = connection.execute(
        select(nodes.c.job_id, func.min(nodes.c.name))
        .join(experiments, experiments.c.id == nodes.c.experiment_id)
        .where(nodes.c.job_id.in_(first))
        .group_by(nodes.c.job_id)
    )
    called: dict[str, str] = dict(names.all())
    told = ", ".join(f"{called.get(each, missing[each].kind)} ({missing[each].state})" for each in first)
    more = f" and {len(missing) - shown} more" if len(missing) > shown else ""
    return Reason("inputs", f"needs {told}{more}", list(missing))


def measured(
    engine: Engine,
    job_id: str,
    name: str | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 10_000,
) -> list[Metric]:
    """What a job measured, by name and step: of one name or of all, after a (name, step)."""
    m = metrics.c
    where = [m.job_id == job_id]
    if name is not None:
        where.append(m.name == name)
    if after is not None:
        where.append(or_(m.name > after[0], and_(m.name == after[0], m.step > after[1])))
    query = select(m.name, m.step, m.value).where(*where).order_by(m.name, m.step).limit(limit)
    with read(engine) as connection:
        return [Metric(*row) for row in connection.execute(query)]


def states_of_keys(engine: Engine, project_id: str, keys: Sequence[str]) -> dict[str, JobState]:
    """The states of those of the keys that have a job."""
    query = select(jobs.c.key, jobs.c.state).where(jobs.c.project_id == project_id, jobs.c.key.in_(keys))
    with read(engine) as connection:
        return dict(connection.execute(query).all())
