"""What the worker that holds an attempt writes. Its number is the fence: for a lost attempt nothing is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, insert, select, update

from robxfer_core.spec.states import AttemptOutcome, JobState

from .engine import finite, lock_jobs, now, write
from .engine import insert as upsert
from .events import append, job_event
from .ids import new_id
from .tables import artifacts, jobs, metrics
from .transitions import close_attempt, count_down, end_attempts, end_experiments, having, wanted

ROWS = 5000  # of metrics in one statement: both databases limit its parameters


@dataclass(frozen=True)
class Beat:
    """held: the attempt is still this worker's. wanted: somebody still wants the job."""

    held: bool
    wanted: bool


def _fence(job_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.state == JobState.RUNNING)


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
            spent = {outcome: n for outcome, n in row.spent.items() if outcome != AttemptOutcome.LOST}
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
                state=JobState.DONE,
                outcome=AttemptOutcome.SUCCEEDED,
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
        close_attempt(connection, job_id, attempt, AttemptOutcome.SUCCEEDED, publish_s=publish_s)
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
            job_event(
                project_id,
                job_id,
                state=JobState.DONE,
                attempt=attempt,
                outcome=AttemptOutcome.SUCCEEDED,
                artifact_id=artifact_id,
            )
        ]
        lines += [job_event(row.project_id, row.id, state=JobState.READY) for row in ready]
        append(connection, lines + end_experiments(connection, having([job_id])))
    return True


def finish(
    engine: Engine, job_id: str, attempt: int, outcome: AttemptOutcome, error: dict[str, Any] | None = None
) -> bool:
    """End an attempt that did not succeed. False: it is no longer this worker's."""
    if outcome == AttemptOutcome.SUCCEEDED:
        raise ValueError("an attempt that succeeded is ended by publish")
    with write(engine) as connection:
        return end_attempts(connection, lock_jobs(connection, _fence(job_id, attempt)), outcome, error) == 1
