"""What may be removed: files of attempts and uploads from the store, rows of the past from the ledger.

An attempt publishes and records checkpoints only while it runs, because each of these writes is fenced. An attempt
that ended without an artifact never gets one, so its files may be removed at any later time, by several collectors at
once. Where the ledger first has to give something up (an artifact, a checkpoint, an upload), it does so under the lock
of whoever could ask for it, and the files are removed after that. The row of an upload goes last, because nothing
else names its file.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    delete,
    distinct,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
    update,
)

from robxfer_core.spec.states import ENDED_JOB_STATES, ExperimentState, JobState

from .engine import lock_jobs, now, read, write
from .events import append, job_event
from .queue import prefix_of
from .submission import IDEMPOTENCY_S
from .tables import artifacts, attempts, edges, events, experiments, idempotency, jobs, nodes, uploads, workers
from .transitions import wanted
from .uploads import IMPORT_KINDS, Upload

MIN_UPLOAD_AGE_S = 86_400.0
"""No upload younger than this is removed: its import job may not be submitted yet."""
ROWS_PER_TRANSACTION = 5000
"""Rows removed by one transaction."""


class Removal(StrEnum):
    """Why something in the store is removed."""

    ATTEMPT = "attempt"
    """Files of an attempt that ended and holds neither an artifact nor the job's checkpoint."""
    CHECKPOINT = "checkpoint"
    """A checkpoint from which no attempt would resume, or one of a job that nothing has named for long."""
    ARTIFACT = "artifact"
    """An artifact of a job that nothing has named for long."""
    UPLOAD = "upload"
    """An uploaded file that never became whole, or that no import job reads."""
    PART = "part"
    """Parts of an object that never became whole."""


class AttemptId(NamedTuple):
    """An attempt, by the three parts of its prefix in the store."""

    project_id: str
    job_id: str
    number: int


class Decision(NamedTuple):
    """What to do with the files of an ended attempt."""

    removal: Removal | None
    """Why all of them may be removed. None: they stay, except for checkpoints other than `checkpoint`."""
    checkpoint: str | None = None
    """Prefix of the checkpoint from which the job would resume, if this attempt wrote it."""


def decide(
    engine: Engine, attempt_ids: Sequence[AttemptId], older_s: float | None, dry_run: bool
) -> dict[AttemptId, Decision]:
    """Decide about the files of attempts, and give up old artifacts and checkpoints in the ledger.

    Args:
        engine: The database.
        attempt_ids: Attempts that have files in the store.
        older_s: Also give up artifacts and checkpoints of jobs that no running experiment names, nor one that ended
            within so many seconds. None: give up none.
        dry_run: Decide, and change nothing.

    Returns:
        Decisions for those of the attempts that the ledger knows and that have ended.
    """
    with read(engine) as connection:
        rows = connection.execute(_ended_attempts(attempt_ids, older_s))
        by_id = {AttemptId(row.project_id, row.job_id, row.number): row for row in rows}
    known = {attempt_id: by_id[attempt_id] for attempt_id in attempt_ids if attempt_id in by_id}
    evicted = {row.job_id for row in known.values() if row.evictable}
    if evicted and not dry_run:
        with write(engine) as connection:
            evicted = _evict(connection, sorted(evicted), older_s or 0.0)
    return {attempt_id: _decision(attempt_id, row, row.job_id in evicted) for attempt_id, row in known.items()}


def _decision(attempt_id: AttemptId, row: Any, evicted: bool) -> Decision:
    if row.artifact_id is not None:
        return Decision(Removal.ARTIFACT if evicted else None)
    if row.checkpoint is not None and row.checkpoint.startswith(prefix_of(*attempt_id) + "/"):
        return Decision(Removal.CHECKPOINT) if evicted else Decision(None, row.checkpoint)
    return Decision(Removal.ATTEMPT)


def _ended_attempts(attempt_ids: Sequence[AttemptId], older_s: float | None) -> Select[Any, Any, Any, Any, Any, bool]:
    return (
        select(
            jobs.c.project_id,
            attempts.c.job_id,
            attempts.c.number,
            artifacts.c.id.label("artifact_id"),
            jobs.c.checkpoint["prefix"].as_string().label("checkpoint"),
            (false() if older_s is None else _evictable(older_s)).label("evictable"),
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .outerjoin(artifacts, and_(artifacts.c.job_id == attempts.c.job_id, artifacts.c.attempt == attempts.c.number))
        .where(
            attempts.c.job_id.in_({attempt_id.job_id for attempt_id in attempt_ids}), attempts.c.ended_at.is_not(None)
        )
    )


def _evictable(older_s: float) -> ColumnElement[bool]:
    """Whether the job ended long ago, no experiment has named it since, and no job that runs or may run reads it.

    A dependent may run although nothing wants it, until its worker hears so; until then it may be reading.
    """
    dependent, pinned = jobs.alias("dependent"), artifacts.alias("pinned")
    busy = dependent.c.state.in_((JobState.READY, JobState.RUNNING))
    is_read = exists().where(edges.c.input_job_id == jobs.c.id, dependent.c.id == edges.c.job_id, busy)
    return and_(
        jobs.c.state.in_(ENDED_JOB_STATES),
        or_(jobs.c.artifact_id.is_not(None), jobs.c.checkpoint.is_not(None)),
        jobs.c.ended_at < now() - older_s,
        ~_named_since(jobs.c.id, older_s),
        ~is_read,
        ~exists().where(pinned.c.id == jobs.c.artifact_id, pinned.c.pinned_at.is_not(None)),
    )


def _named_since(job_id: ColumnElement[str], older_s: float) -> ColumnElement[bool]:
    """Whether an experiment that runs, or that ended within `older_s`, names the job."""
    return exists().where(nodes.c.job_id == job_id, experiments.c.id == nodes.c.experiment_id, _ran_since(older_s))


def _ran_since(older_s: float) -> ColumnElement[bool]:
    return or_(experiments.c.state == ExperimentState.RUNNING, experiments.c.ended_at >= now() - older_s)


def _evict(connection: Connection, job_ids: Sequence[str], older_s: float) -> set[str]:
    """Give up the artifacts and checkpoints of those of the jobs that are still evictable. Returns their ids.

    A job whose artifact is given up is computed again when it is asked for: it is cancelled, and each waiting
    dependent misses one input more. A submission or a retry that comes to want the job takes the same lock, before or
    after this.
    """
    dependents = select(edges.c.job_id).where(edges.c.input_job_id.in_(job_ids))
    affected = or_(jobs.c.id.in_(job_ids), and_(jobs.c.id.in_(dependents), jobs.c.state == JobState.WAITING))
    lock_jobs(connection, affected, columns=(jobs.c.id,))
    rows = connection.execute(
        select(jobs.c.id, jobs.c.project_id, jobs.c.artifact_id).where(jobs.c.id.in_(job_ids), _evictable(older_s))
    ).all()
    # A pin takes the artifact row's lock, so an artifact that was pinned meanwhile is not deleted.
    unpinned = (artifacts.c.id.in_([row.artifact_id for row in rows]), artifacts.c.pinned_at.is_(None))
    deleted = set(connection.scalars(delete(artifacts).where(*unpinned).returning(artifacts.c.id)))
    evicted = [row for row in rows if row.artifact_id in deleted]
    ids = [row.id for row in evicted]
    without_artifact = [row.id for row in rows if row.artifact_id is None]
    connection.execute(update(jobs).where(jobs.c.id.in_(without_artifact)).values(checkpoint=None))
    connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(state=JobState.CANCELLED, artifact_id=None))
    now_missing = (
        select(func.count(distinct(edges.c.input_job_id)))
        .where(edges.c.job_id == jobs.c.id, edges.c.input_job_id.in_(ids))
        .scalar_subquery()
    )
    waiting = and_(
        jobs.c.id.in_(select(edges.c.job_id).where(edges.c.input_job_id.in_(ids))), jobs.c.state == JobState.WAITING
    )
    connection.execute(update(jobs).where(waiting).values(missing=jobs.c.missing + now_missing))
    append(connection, [job_event(row.project_id, row.id, state=JobState.CANCELLED, evicted=True) for row in evicted])
    return {*ids, *without_artifact}


def unneeded_uploads(engine: Engine, after: str, limit: int, dry_run: bool) -> tuple[str, list[Upload]]:
    """Find uploads that may be removed, a batch at a time, among those older than a day.

    An upload is needed while an import job that is wanted or running names it. Unless `dry_run`, those that are not
    needed can no longer be found by their content. The caller removes their files and then their rows.

    Args:
        engine: The database.
        after: The last id of the batch before; empty for the first.
        limit: Uploads to look at.
        dry_run: Change nothing.

    Returns:
        The last id looked at (`after` itself where there are no more), and the uploads that may be removed.
    """
    old = select(uploads).where(uploads.c.id > after, uploads.c.created_at < now() - MIN_UPLOAD_AGE_S)
    query = old.order_by(uploads.c.id).limit(limit)
    with read(engine) if dry_run else write(engine) as connection:
        rows = connection.execute(query if dry_run else query.with_for_update()).all()  # a submission locks its uploads
        needed = set(map(tuple, connection.execute(_uploads_to_import()))) if rows else set()
        unneeded = [Upload(**row._mapping) for row in rows if (row.project_id, row.sha256) not in needed]
        if unneeded and not dry_run:
            ids = [upload.id for upload in unneeded]
            connection.execute(update(uploads).where(uploads.c.id.in_(ids)).values(sha256=uploads.c.id))
    return (rows[-1].id if rows else after), unneeded


def _uploads_to_import() -> Select[Any, Any]:
    """(project, sha256) of the uploads that an import job reads or may still read."""
    return select(jobs.c.project_id, jobs.c.params["upload"].as_string()).where(
        jobs.c.kind.in_(IMPORT_KINDS), or_(jobs.c.state == JobState.RUNNING, wanted())
    )


def remove_history(engine: Engine, older_s: float | None, dry_run: bool) -> dict[str, int]:
    """Remove rows that only history needs: idempotency keys past their time, and with `older_s` events and workers.

    Args:
        engine: The database.
        older_s: Remove events so old of experiments and jobs that no experiment has named since, and workers that
            have not reported for so long. The worker that reported last stays: the data sets that it could read are
            still asked for.
        dry_run: Count, and remove nothing.

    Returns:
        Rows removed, by table.
    """
    stale: dict[Table, ColumnElement[bool]] = {idempotency: idempotency.c.at < now() - IDEMPOTENCY_S}
    if older_s is not None:
        later = workers.alias("later")
        stale[workers] = and_(workers.c.seen_at < now() - older_s, exists().where(later.c.seen_at > workers.c.seen_at))
        experiment_ran = exists().where(experiments.c.id == events.c.experiment_id, _ran_since(older_s))
        stale[events] = and_(events.c.at < now() - older_s, ~experiment_ran, ~_named_since(events.c.job_id, older_s))
    return {table.name: _remove_rows(engine, table, where, dry_run) for table, where in stale.items()}


def _remove_rows(engine: Engine, table: Table, where: ColumnElement[bool], dry_run: bool) -> int:
    if dry_run:
        with read(engine) as connection:
            return connection.scalar(select(func.count()).select_from(table).where(where)) or 0
    key, removed = tuple_(*table.primary_key), 0
    batch = select(*table.primary_key).where(where).limit(ROWS_PER_TRANSACTION)
    while True:
        with write(engine) as connection:
            count = connection.execute(delete(table).where(key.in_(batch))).rowcount
        removed += count
        if count < ROWS_PER_TRANSACTION:
            return removed
