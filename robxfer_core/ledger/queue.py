"""The queue: claim, renew, note, publish, finish, sweep. The attempt's number is the fence of every write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, func, insert, or_, select, update

from . import uploads
from .engine import CLAIMS_LOCK, advisory, finite, lock_jobs, now, read, write
from .engine import insert as upsert
from .events import append, job_event
from .ids import new_id
from .settle import close_attempt, count_down, end_attempt, end_experiments, having, wanted
from .tables import artifacts, attempts, edges, experiments, jobs, metrics, nodes, projects

OUTCOMES = frozenset({"failed", "out_of_memory", "timed_out", "preempted", "lost", "stopped"})
"""How an attempt ends otherwise than `succeeded`."""
ROWS = 5000  # of metrics in one statement: both databases limit its parameters


@dataclass(frozen=True)
class ClaimInput:
    """An artifact that the job takes: in which reference, and where its files are in the store."""

    field: str
    index: int
    key: str
    artifact_id: str
    prefix: str
    manifest: dict[str, Any]


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
    checkpoint: dict[str, Any] | None
    """What the last `checkpointed` wrote, of whichever attempt."""
    queue: str
    gpus: int
    artifact_type: str

    @property
    def prefix(self) -> str:
        """Where this attempt's files go in the store."""
        return prefix_of(self.project_id, self.job_id, self.attempt)


@dataclass(frozen=True)
class Beat:
    """held: the attempt is still this worker's. wanted: somebody still wants the job."""

    held: bool
    wanted: bool


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
            .where(busy.c.project_id == ready.c.project_id, busy.c.state == "running")
            .scalar_subquery()
        )
        best = (
            select(ready.c.id)
            .join(projects, projects.c.id == ready.c.project_id)
            .where(
                ready.c.state == "ready",
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
                state="running",
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
            .where(nodes.c.job_id == job.id, experiments.c.state == "running")
            .distinct()
            .order_by(nodes.c.experiment_id)
        ).all()
        inputs = _inputs(connection, job.id)
        upload = uploads.find(connection, job.project_id, job.kind, job.params)
        if upload is not None:
            inputs.append(ClaimInput("upload", 0, upload.sha256, upload.id, upload.prefix, upload.manifest))
        line = job_event(
            job.project_id, job.id, state="running", attempt=job.attempt, worker=worker_id, device=slots_device
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


def _fence(job_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == "running")


def renew(engine: Engine, job_id: str, attempt: int, lease_s: float, progress: dict[str, Any] | None = None) -> Beat:
    """Hold the job for another lease_s seconds, and say how far it is."""
    told = {"progress": progress} if progress is not None else {}
    with write(engine) as connection:
        project_id = connection.scalar(
            update(jobs)
            .where(_fence(job_id, attempt))
            .values(lease_until=now() + lease_s, **told)
            .returning(jobs.c.project_id)
        )
        if project_id is None:
            return Beat(held=False, wanted=False)
        still = connection.scalar(select(exists().where(jobs.c.id == job_id, wanted())))
        if progress is not None:
            append(connection, [job_event(project_id, job_id, "progress", **progress)])
    return Beat(held=True, wanted=bool(still))


def note(
    engine: Engine,
    job_id: str,
    attempt: int,
    *,
    metrics: Sequence[tuple[str, int, float]] = (),
    logs: Sequence[str] = (),
) -> bool:
    """Write measured values (the last for a name and step counts) and lines of log. False: no longer this attempt's."""
    with write(engine) as connection:
        row = lock_jobs(connection, _fence(job_id, attempt), columns=(jobs.c.project_id,))
        if not row:
            return False
        _measure(connection, job_id, metrics)
        append(connection, [job_event(row[0].project_id, job_id, "log", line=line, attempt=attempt) for line in logs])
    return True


def _measure(connection: Connection, job_id: str, values: Sequence[tuple[str, int, float]]) -> None:
    latest = {(name, step): finite(value) for name, step, value in values}
    rows = [{"job_id": job_id, "name": n, "step": s, "value": value} for (n, s), value in latest.items()]
    for start in range(0, len(rows), ROWS):
        put = upsert(connection, metrics).values(rows[start : start + ROWS])
        connection.execute(
            put.on_conflict_do_update(index_elements=["job_id", "name", "step"], set_={"value": put.excluded.value})
        )


def checkpointed(engine: Engine, job_id: str, attempt: int, manifest: dict[str, Any]) -> bool:
    """Record a checkpoint whose files are all in the store; a later claim gets it back as it is.

    It is progress, so that losses before it count no more: a job of weeks outlives any number of them.
    """
    with write(engine) as connection:
        rows = lock_jobs(connection, _fence(job_id, attempt), columns=(jobs.c.spent,))
        for row in rows:
            spent = {outcome: n for outcome, n in row.spent.items() if outcome != "lost"}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(checkpoint=manifest, spent=spent))
        return len(rows) == 1


def publish(
    engine: Engine,
    job_id: str,
    attempt: int,
    artifact_type: str,
    manifest: dict[str, Any],
    publish_s: float | None = None,
) -> bool:
    """End a job that succeeded: its artifact, its dependents, its experiments. All its files are in the store.

    publish_s: seconds from the end of the computation, which the attempt remembers.

    False, and nothing is written, where the attempt is no longer this worker's.
    """
    artifact_id = new_id("art")
    with write(engine) as connection:
        done = (
            update(jobs)
            .where(_fence(job_id, attempt))
            .values(
                state="done",
                outcome="succeeded",
                error=None,
                artifact_id=artifact_id,
                checkpoint=None,
                lease_until=None,
                progress=None,
                ended_at=now(),
            )
            .returning(jobs.c.project_id)
        )
        project_id = connection.scalar(done)
        if project_id is None:
            return False
        close_attempt(connection, job_id, attempt, "succeeded", publish_s=publish_s)
        connection.execute(
            insert(artifacts).values(
                id=artifact_id,
                project_id=project_id,
                job_id=job_id,
                attempt=attempt,
                type=artifact_type,
                manifest=manifest,
                bytes=sum(file["size"] for file in manifest.get("files", ())),
                created_at=now(),
            )
        )
        ready = count_down(connection, job_id)
        lines = [
            job_event(project_id, job_id, state="done", attempt=attempt, outcome="succeeded", artifact_id=artifact_id)
        ]
        lines += [job_event(row.project_id, row.id, state="ready") for row in ready]
        append(connection, lines + end_experiments(connection, having([job_id])))
    return True


def finish(engine: Engine, job_id: str, attempt: int, outcome: str, error: dict[str, Any] | None = None) -> bool:
    """End an attempt that did not succeed, for one of OUTCOMES. False: it is no longer this worker's."""
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome: got {outcome!r}; takes one of {', '.join(sorted(OUTCOMES))}")
    with write(engine) as connection:
        return _end(connection, lock_jobs(connection, _fence(job_id, attempt)), outcome, error) == 1


def sweep(engine: Engine) -> list[str]:
    """Take back what no worker holds any more. Returns the queues that have a ready job whose time has come.

    Any number of workers may sweep at once.
    """
    expired = and_(jobs.c.state == "running", jobs.c.lease_until < now())
    due = and_(jobs.c.state == "ready", jobs.c.not_before <= now(), wanted())
    with read(engine) as connection:
        late = connection.scalars(select(jobs.c.id).where(expired)).all()
    if late:
        with write(engine) as connection:
            rows = lock_jobs(connection, jobs.c.id.in_(late), expired, skip_locked=True)
            _end(connection, rows, "lost", {"message": "the worker was not heard of for a whole lease"})
    with read(engine) as connection:
        return list(connection.scalars(select(jobs.c.queue).distinct().where(due).order_by(jobs.c.queue)))


def _end(connection: Connection, rows: list[Any], outcome: str, error: dict[str, Any] | None) -> int:
    lines = [line for row in rows for line in end_attempt(connection, row, outcome, error)]
    ended = end_experiments(connection, having([row.id for row in rows])) if rows else []
    append(connection, lines + ended)
    return len(rows)
