"""The queue: jobs are claimed from it, and swept back into it where no worker holds them any more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, insert, or_, select, update

from robxfer_core.spec.records import Checkpoint, Manifest
from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from . import uploads
from .engine import CLAIMS_LOCK, advisory, lock_jobs, now, read, write
from .events import append, job_event
from .tables import artifacts, attempts, edges, experiments, jobs, nodes, projects
from .transitions import end_attempts, wanted


@dataclass(frozen=True)
class ClaimInput:
    """An artifact that the job takes: in which reference, and where its files are in the store."""

    field: str
    index: int
    key: str
    artifact_id: str
    prefix: str
    manifest: Manifest


@dataclass(frozen=True)
class Claim:
    """A job taken by a worker, whole."""

    job_id: str
    attempt: int
    project_id: str
    experiments: list[str]
    """Those for which it was taken, oldest first; others may come to want it while it runs."""
    kind: str
    recipe: int
    params: dict[str, Any]
    inputs: list[ClaimInput]
    key: str
    deadline_s: float
    checkpoint: Checkpoint | None
    """What the last `checkpointed` wrote, of whichever attempt."""
    queue: str
    gpus: int
    artifact_type: str

    @property
    def prefix(self) -> str:
        """Where this attempt's files go in the store."""
        return prefix_of(self.project_id, self.job_id, self.attempt)


def prefix_of(project_id: str, job_id: str, attempt: int) -> str:
    """Where an attempt's files are in the store."""
    return f"{project_id}/{job_id}/{attempt}"


def claim(
    engine: Engine,
    worker_id: str,
    queues: Sequence[str],
    lease_s: float,
    slots_device: str,
    gpus: int | None = None,
) -> Claim | None:
    """Take the best ready job of the queues: highest priority, then oldest. None where there is none.

    gpus: those that the slot has, which are the job's; None: a slot without GPUs, which takes a job of any number.
    """
    with write(engine) as connection:
        advisory(connection, CLAIMS_LOCK)  # a project's quota holds only if its running jobs are counted one at a time
        ready, busy = jobs.alias("ready"), jobs.alias("busy")
        running = (
            select(func.count())
            .select_from(busy)
            .where(busy.c.project_id == ready.c.project_id, busy.c.state == JobState.RUNNING)
            .scalar_subquery()
        )
        best = (
            select(ready.c.id)
            .join(projects, projects.c.id == ready.c.project_id)
            .where(
                ready.c.state == JobState.READY,
                ready.c.queue.in_(queues),
                ready.c.not_before <= now(),
                or_(projects.c.quota.is_(None), running < projects.c.quota),
                wanted(ready),
                *((ready.c.gpus == gpus,) if gpus else ()),
            )
            .order_by(ready.c.priority.desc(), ready.c.id)
            .limit(1)
            .with_for_update(key_share=True, skip_locked=True, of=ready)
            .scalar_subquery()
        )
        taken = (
            update(jobs)
            .where(jobs.c.id == best)
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
                device=slots_device,
                started_at=job.started_at,
                waited_s=max(0.0, job.started_at - job.ready_at),
            )
        )
        of = connection.scalars(
            select(nodes.c.experiment_id)
            .join(experiments, experiments.c.id == nodes.c.experiment_id)
            .where(nodes.c.job_id == job.id, experiments.c.state == ExperimentState.RUNNING)
            .distinct()
            .order_by(nodes.c.experiment_id)
        ).all()
        inputs = _inputs(connection, job.id)
        upload = uploads.find(connection, job.project_id, job.kind, job.params)
        if upload is not None:
            inputs.append(ClaimInput("upload", 0, upload.sha256, upload.id, upload.prefix, upload.manifest))
        line = job_event(
            job.project_id, job.id, state=JobState.RUNNING, attempt=job.attempt, worker=worker_id, device=slots_device
        )
        append(connection, [line])
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        project_id=job.project_id,
        experiments=list(of),
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


def _inputs(connection: Connection, job_id: str) -> list[ClaimInput]:
    columns = (
        edges.c.field,
        edges.c.position,
        jobs.c.key,
        jobs.c.project_id,
        artifacts.c.job_id,
        artifacts.c.attempt,
        artifacts.c.id,
        artifacts.c.manifest,
    )
    rows = connection.execute(
        select(*columns)
        .join(jobs, jobs.c.id == edges.c.input_job_id)
        .join(artifacts, artifacts.c.id == jobs.c.artifact_id)
        .where(edges.c.job_id == job_id)
        .order_by(edges.c.field, edges.c.position)
    )
    return [
        ClaimInput(r.field, r.position, r.key, r.id, prefix_of(r.project_id, r.job_id, r.attempt), r.manifest)
        for r in rows
    ]


def sweep(engine: Engine) -> list[str]:
    """Take back what no worker holds any more. Returns the queues that have a ready job whose time has come.

    Any number of workers may sweep at once.
    """
    expired = and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < now())
    due = and_(jobs.c.state == JobState.READY, jobs.c.not_before <= now(), wanted())
    with read(engine) as connection:
        late = connection.scalars(select(jobs.c.id).where(expired)).all()
    if late:
        with write(engine) as connection:
            rows = lock_jobs(connection, jobs.c.id.in_(late), expired, skip_locked=True)
            end_attempts(
                connection, rows, AttemptOutcome.LOST, {"message": "the worker was not heard of for a whole lease"}
            )
    with read(engine) as connection:
        return list(connection.scalars(select(jobs.c.queue).distinct().where(due).order_by(jobs.c.queue)))
