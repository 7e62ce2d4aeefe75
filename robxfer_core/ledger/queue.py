"""The queue: workers claim jobs from it, and the sweep puts back the jobs that no worker holds any more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, ScalarSelect, and_, func, insert, or_, select, update

from robxfer_core.spec.records import Checkpoint, Manifest
from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from . import uploads
from .engine import CLAIMS_LOCK, advisory_lock, lock_jobs, now, read, write
from .events import append, job_event
from .tables import artifacts, attempts, edges, experiments, jobs, nodes, projects
from .transitions import end_attempts, wanted


@dataclass(frozen=True)
class ClaimInput:
    """An artifact that a claimed job takes."""

    field: str
    """The parameter that refers to it."""
    index: int
    """Its place in that parameter; 0 where it is the only one."""
    key: str
    """The key of the job that left it; of an upload, its sha256."""
    artifact_id: str
    prefix: str
    """Its files are in the store under this name and a slash."""
    manifest: Manifest


@dataclass(frozen=True)
class Claim:
    """A job that a worker has claimed, with everything that the attempt needs."""

    job_id: str
    attempt: int
    """The number of the attempt, counted from 1."""
    project_id: str
    experiments: list[str]
    """Running experiments that name the job, oldest first; others may come to name it while it runs."""
    kind: str
    recipe: int
    params: dict[str, Any]
    inputs: list[ClaimInput]
    key: str
    deadline_s: float
    """Seconds that the attempt may take."""
    checkpoint: Checkpoint | None
    """The last checkpoint that any attempt recorded."""
    queue: str
    gpus: int
    artifact_type: str

    @property
    def prefix(self) -> str:
        """The attempt's files go to the store under this name and a slash."""
        return prefix_of(self.project_id, self.job_id, self.attempt)


def prefix_of(project_id: str, job_id: str, attempt: int) -> str:
    """Prefix of an attempt's files in the store."""
    return f"{project_id}/{job_id}/{attempt}"


def claim(
    engine: Engine, worker_id: str, queues: Sequence[str], lease_s: float, device: str, gpus: int | None = None
) -> Claim | None:
    """Claim the best ready job of some queues: the highest priority, and among equals the oldest.

    Args:
        engine: The database.
        worker_id: The worker that asks.
        queues: The queues that it serves.
        lease_s: Seconds until the job is taken back, unless the lease is renewed (`attempts.Fence`).
        device: The device of the free slot; recorded on the attempt.
        gpus: GPUs of the slot, which are also those that the job has to ask for. None: a slot without GPUs, which takes
            a job of any number.

    Returns:
        The job; None where no job is ready.
    """
    with write(engine) as connection:
        advisory_lock(connection, CLAIMS_LOCK)  # a quota holds only if running jobs are counted one claim at a time
        taken = (
            update(jobs)
            .where(jobs.c.id == _best_ready(queues, gpus))
            .values(
                state=JobState.RUNNING,
                attempt=jobs.c.attempt + 1,
                worker_id=worker_id,
                lease_until=now() + lease_s,
                started_at=now(),
                ended_at=None,
                progress=None,
            )
            .returning(*jobs.c)
        )
        job = connection.execute(taken).one_or_none()
        if job is None:
            return None
        connection.execute(
            insert(attempts).values(
                job_id=job.id,
                number=job.attempt,
                worker_id=worker_id,
                device=device,
                started_at=job.started_at,
                waited_s=max(0.0, job.started_at - job.ready_at),
            )
        )
        naming = connection.scalars(
            select(nodes.c.experiment_id)
            .join(experiments, experiments.c.id == nodes.c.experiment_id)
            .where(nodes.c.job_id == job.id, experiments.c.state == ExperimentState.RUNNING)
            .distinct()
            .order_by(nodes.c.experiment_id)
        ).all()
        inputs = _inputs(connection, job)
        started = {"attempt": job.attempt, "worker": worker_id, "device": device}
        append(connection, [job_event(job.project_id, job.id, state=JobState.RUNNING, **started)])
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        project_id=job.project_id,
        experiments=list(naming),
        kind=job.kind,
        recipe=job.recipe,
        params=job.params,
        inputs=inputs,
        key=job.key,
        deadline_s=job.deadline_s,
        checkpoint=job.checkpoint,
        queue=job.queue,
        gpus=job.gpus,
        artifact_type=job.artifact_type,
    )


def _best_ready(queues: Sequence[str], gpus: int | None) -> ScalarSelect[str]:
    ready, running = jobs.alias("ready"), jobs.alias("running")
    running_of_project = (
        select(func.count())
        .select_from(running)
        .where(running.c.project_id == ready.c.project_id, running.c.state == JobState.RUNNING)
        .scalar_subquery()
    )
    return (
        select(ready.c.id)
        .join(projects, projects.c.id == ready.c.project_id)
        .where(
            ready.c.state == JobState.READY,
            ready.c.queue.in_(queues),
            ready.c.not_before <= now(),
            or_(projects.c.quota.is_(None), running_of_project < projects.c.quota),
            wanted(ready),
            *((ready.c.gpus == gpus,) if gpus else ()),
        )
        .order_by(ready.c.priority.desc(), ready.c.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True, of=ready)
        .scalar_subquery()
    )


def _inputs(connection: Connection, job: Row[Any]) -> list[ClaimInput]:
    source = jobs.alias("source")
    columns = (
        edges.c.field,
        edges.c.position,
        source.c.key,
        source.c.project_id,
        artifacts.c.job_id,
        artifacts.c.attempt,
        artifacts.c.id,
        artifacts.c.manifest,
    )
    rows = connection.execute(
        select(*columns)
        .join(source, source.c.id == edges.c.input_job_id)
        .join(artifacts, artifacts.c.id == source.c.artifact_id)
        .where(edges.c.job_id == job.id)
        .order_by(edges.c.field, edges.c.position)
    )
    inputs = [
        ClaimInput(r.field, r.position, r.key, r.id, prefix_of(r.project_id, r.job_id, r.attempt), r.manifest)
        for r in rows
    ]
    upload = uploads.find(connection, job.project_id, job.kind, job.params)
    if upload is not None:
        inputs.append(ClaimInput(uploads.FIELD, 0, upload.sha256, upload.id, upload.prefix, upload.manifest))
    return inputs


def sweep(engine: Engine) -> list[str]:
    """End the attempts whose lease has run out, as lost. Any number of workers may sweep at once.

    Returns:
        The queues with a job that can be claimed now.
    """
    expired = and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < now())
    claimable = and_(jobs.c.state == JobState.READY, jobs.c.not_before <= now(), wanted())
    with read(engine) as connection:
        late = connection.scalars(select(jobs.c.id).where(expired)).all()
    if late:
        with write(engine) as connection:
            rows = lock_jobs(connection, jobs.c.id.in_(late), expired, skip_locked=True)
            message = "the worker was not heard of for a whole lease"
            end_attempts(connection, rows, AttemptOutcome.LOST, {"message": message})
    with read(engine) as connection:
        return list(connection.scalars(select(jobs.c.queue).distinct().where(claimable).order_by(jobs.c.queue)))
