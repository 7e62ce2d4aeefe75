"""What may be removed: of the store, attempts' files and uploads; of the ledger, what only history needs.

An attempt publishes and records checkpoints only while it runs, for each of these writes is fenced. So an attempt that
has ended without an artifact never gets one, and what is said of it here holds for ever: its files may be removed at
any later time, by several collectors at once, or by none if this one dies. Where the ledger must first forget something
(an artifact, a checkpoint, an upload), it does so under the lock of who could ask for it, and the files go after that;
an upload's row goes last, for nothing else knows of its file.
"""

from collections.abc import Sequence
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
from .submission import KEPT_S
from .tables import artifacts, attempts, edges, events, experiments, idempotency, jobs, nodes, uploads, workers
from .transitions import wanted
from .uploads import IMPORTS, Upload

DAY_S = 86_400.0
ROWS = 5000  # removed in one transaction


class Attempt(NamedTuple):
    """Whose files these are."""

    project_id: str
    job_id: str
    number: int


class Fate(NamedTuple):
    """What becomes of an attempt's files."""

    reason: str | None
    """Why all of them may be removed: `artifact` and `checkpoint` (old, and nobody names the job), or `attempt` (it
    ended and holds neither). None: they stay, except checkpoints that are not the job's."""
    checkpoint: str | None = None
    """The prefix of the checkpoint with which the job would go on, if it is one of this attempt's."""


def fates(engine: Engine, which: Sequence[Attempt], older_s: float | None, dry_run: bool) -> dict[Attempt, Fate]:
    """The fates of those of the attempts that are known and have ended.

    older_s: also forget artifacts and checkpoints of jobs that no experiment which is live, or ended since, names;
    with dry_run, only say which.
    """
    with read(engine) as connection:
        known = {Attempt(*row[:3]): row for row in connection.execute(_known(which, older_s))}
    asked = {attempt: known[attempt] for attempt in which if attempt in known}
    forgotten = {row.job_id for row in asked.values() if row.forgettable}
    if forgotten and not dry_run:
        with write(engine) as connection:
            forgotten = _forget(connection, sorted(forgotten), older_s or 0.0)
    found: dict[Attempt, Fate] = {}
    for attempt, row in asked.items():
        old = row.job_id in forgotten
        mine = row.checkpoint is not None and row.checkpoint.startswith(prefix_of(*attempt) + "/")
        if row.artifact_id is not None:
            found[attempt] = Fate("artifact" if old else None)
        elif mine:
            found[attempt] = Fate("checkpoint") if old else Fate(None, row.checkpoint)
        else:
            found[attempt] = Fate("attempt")
    return found


def _known(which: Sequence[Attempt], older_s: float | None) -> Select[Any, Any, Any, Any, Any, bool]:
    return (
        select(
            jobs.c.project_id,
            attempts.c.job_id,
            attempts.c.number,
            artifacts.c.id.label("artifact_id"),
            jobs.c.checkpoint["prefix"].as_string().label("checkpoint"),
            (false() if older_s is None else _forgettable(older_s)).label("forgettable"),
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .outerjoin(artifacts, and_(artifacts.c.job_id == attempts.c.job_id, artifacts.c.attempt == attempts.c.number))
        .where(attempts.c.job_id.in_({each.job_id for each in which}), attempts.c.ended_at.is_not(None))
    )


def _forgettable(older_s: float) -> ColumnElement[bool]:
    """Whether the job of the row has ended long ago, and nobody who came since, nor a job that runs, names it.

    A job that takes it may run though nobody wants it, until it hears so; it may still be reading.
    """
    taker, pinned = jobs.alias("taker"), artifacts.alias("pinned")
    busy = taker.c.state.in_((JobState.READY, JobState.RUNNING))
    taken = exists().where(edges.c.input_job_id == jobs.c.id, taker.c.id == edges.c.job_id, busy)
    return and_(
        jobs.c.state.in_(ENDED_JOB_STATES),
        or_(jobs.c.artifact_id.is_not(None), jobs.c.checkpoint.is_not(None)),
        jobs.c.ended_at < now() - older_s,
        ~_named_since(jobs.c.id, older_s),
        ~taken,
        ~exists().where(pinned.c.id == jobs.c.artifact_id, pinned.c.pinned_at.is_not(None)),
    )


def _named_since(job_id: ColumnElement[str], older_s: float) -> ColumnElement[bool]:
    """Whether an experiment names the job that is live, or has ended since."""
    return exists().where(nodes.c.job_id == job_id, experiments.c.id == nodes.c.experiment_id, _live_since(older_s))


def _live_since(older_s: float) -> ColumnElement[bool]:
    return or_(experiments.c.state == ExperimentState.RUNNING, experiments.c.ended_at >= now() - older_s)


def _forget(connection: Connection, job_ids: Sequence[str], older_s: float) -> set[str]:
    """Forget the checkpoints and artifacts of jobs that are still forgettable. Returns the jobs.

    A job whose artifact goes is computed again when it is asked for, so it is cancelled, and what waits for it and for
    others misses one more. A submission or a retry that comes to want it holds its lock, before or after this does.
    """
    takers = select(edges.c.job_id).where(edges.c.input_job_id.in_(job_ids))
    mine = or_(jobs.c.id.in_(job_ids), and_(jobs.c.id.in_(takers), jobs.c.state == JobState.WAITING))
    lock_jobs(connection, mine, columns=(jobs.c.id,))
    still = connection.execute(
        select(jobs.c.id, jobs.c.project_id, jobs.c.artifact_id).where(jobs.c.id.in_(job_ids), _forgettable(older_s))
    ).all()
    # One that was pinned since is not deleted: a pin takes the row's lock.
    unpinned = (artifacts.c.id.in_([row.artifact_id for row in still]), artifacts.c.pinned_at.is_(None))
    gone = set(connection.scalars(delete(artifacts).where(*unpinned).returning(artifacts.c.id)))
    evicted = [row for row in still if row.artifact_id in gone]
    ids = [row.id for row in evicted]
    bare = [row.id for row in still if row.artifact_id is None]
    connection.execute(update(jobs).where(jobs.c.id.in_(bare)).values(checkpoint=None))
    connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(state=JobState.CANCELLED, artifact_id=None))
    missed = (
        select(func.count(distinct(edges.c.input_job_id)))
        .where(edges.c.job_id == jobs.c.id, edges.c.input_job_id.in_(ids))
        .scalar_subquery()
    )
    waiting = jobs.c.id.in_(select(edges.c.job_id).where(edges.c.input_job_id.in_(ids)))
    connection.execute(
        update(jobs).where(waiting, jobs.c.state == JobState.WAITING).values(missing=jobs.c.missing + missed)
    )
    append(connection, [job_event(row.project_id, row.id, state=JobState.CANCELLED, evicted=True) for row in evicted])
    return {*ids, *bare}


def unneeded_uploads(engine: Engine, after: str, most: int, dry_run: bool) -> tuple[str, list[Upload]]:
    """Those that may be removed of the next `most` uploads that are a day old, by id after `after`, and the last id
    looked at (`after` itself where there are no more).

    That is what never came whole, and what no import that is live or running names. Unless dry_run, nobody finds these
    by their content any more; the caller removes the bytes and then drops the row.
    """
    old = select(uploads).where(uploads.c.id > after, uploads.c.created_at < now() - DAY_S)
    rows = old.order_by(uploads.c.id).limit(most)
    with read(engine) if dry_run else write(engine) as connection:
        known = connection.execute(rows if dry_run else rows.with_for_update()).all()  # a submission holds its uploads
        needed = set(map(tuple, connection.execute(_importing()))) if known else set()
        doomed = [Upload(**row._mapping) for row in known if (row.project_id, row.sha256) not in needed]
        if doomed and not dry_run:
            these = uploads.c.id.in_([each.id for each in doomed])
            connection.execute(update(uploads).where(these).values(sha256=uploads.c.id))
    return (known[-1].id if known else after), doomed


def _importing() -> Select[Any, Any]:
    """(project, sha256) of the uploads that an import still reads, or may."""
    return select(jobs.c.project_id, jobs.c.params["upload"].as_string()).where(
        jobs.c.kind.in_(IMPORTS), or_(jobs.c.state == JobState.RUNNING, wanted())
    )


def history(engine: Engine, older_s: float | None, dry_run: bool) -> dict[str, int]:
    """Remove rows that only history needs. Returns how many, by table.

    Idempotency keys that are no longer remembered; with older_s, events so old of experiments and jobs that nobody has
    named since, and workers not heard of for so long, though never the last: what it could read is still asked.
    """
    stale: dict[Table, ColumnElement[bool]] = {idempotency: idempotency.c.at < now() - KEPT_S}
    if older_s is not None:
        later = workers.alias("later")
        stale[workers] = and_(workers.c.seen_at < now() - older_s, exists().where(later.c.seen_at > workers.c.seen_at))
        own = exists().where(experiments.c.id == events.c.experiment_id, _live_since(older_s))
        stale[events] = and_(events.c.at < now() - older_s, ~own, ~_named_since(events.c.job_id, older_s))
    return {table.name: _remove(engine, table, where, dry_run) for table, where in stale.items()}


def _remove(engine: Engine, table: Table, where: ColumnElement[bool], dry_run: bool) -> int:
    if dry_run:
        with read(engine) as connection:
            return connection.scalar(select(func.count()).select_from(table).where(where)) or 0
    key, removed = tuple_(*table.primary_key), 0
    some = select(*table.primary_key).where(where).limit(ROWS)
    while True:
        with write(engine) as connection:
            n = connection.execute(delete(table).where(key.in_(some))).rowcount
        removed += n
        if n < ROWS:
            return removed
