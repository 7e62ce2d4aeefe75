"""The writes of the worker that holds an attempt. The attempt's number is the fence: a lost attempt writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, and_, exists, insert, select, update

from robxfer_core.spec.records import Checkpoint, ErrorRecord, Manifest, MetricValue, Progress
from robxfer_core.spec.states import AttemptOutcome, JobState

from .engine import finite, lock_jobs, now, write
from .engine import insert as upsert
from .events import append, job_event
from .ids import new_id
from .tables import artifacts, jobs, metrics
from .transitions import count_down_dependents, end_attempts, end_experiments, naming_any, record_outcome, wanted

ROWS_PER_STATEMENT = 5000
"""Metrics inserted by one statement: both databases limit a statement's parameters."""


@dataclass(frozen=True)
class LeaseStatus:
    """The answer to a renewal."""

    held: bool
    """The attempt is still this worker's."""
    wanted: bool
    """A running experiment still names the job."""


@dataclass(frozen=True)
class Fence:
    """The five writes that a worker may make for the attempt that it holds.

    Every write first checks that the job runs and that `attempt` is its last attempt. Once another attempt has begun,
    or this one has been ended, each of them writes nothing and says so.
    """

    engine: Engine
    job_id: str
    attempt: int

    def renew(self, lease_s: float, progress: Progress | None = None) -> LeaseStatus:
        """Hold the job for another `lease_s` seconds.

        Args:
            lease_s: Seconds from now, by the database's clock.
            progress: How far the job is; recorded on the job and as an event. None: as before.

        Returns:
            Whether the attempt is still held and the job still wanted.
        """
        values = {"progress": progress} if progress is not None else {}
        with write(self.engine) as connection:
            project_id = connection.scalar(
                update(jobs)
                .where(self._holds())
                .values(lease_until=now() + lease_s, **values)
                .returning(jobs.c.project_id)
            )
            if project_id is None:
                return LeaseStatus(held=False, wanted=False)
            still_wanted = connection.scalar(select(exists().where(jobs.c.id == self.job_id, wanted())))
            if progress is not None:
                append(connection, [job_event(project_id, self.job_id, "progress", **progress)])
        return LeaseStatus(held=True, wanted=bool(still_wanted))

    def record(self, metrics: Sequence[MetricValue] = (), log_lines: Sequence[str] = ()) -> bool:
        """Record measured values and lines of log.

        Args:
            metrics: Values by name and step; of several for one name and step the last counts.
            log_lines: list[EventRow] of log, in order.

        Returns:
            False, and nothing is written, where the attempt is no longer held.
        """
        with write(self.engine) as connection:
            row = lock_jobs(connection, self._holds(), columns=(jobs.c.project_id,))
            if not row:
                return False
            _upsert_metrics(connection, self.job_id, metrics)
            project_id = row[0].project_id
            lines = [job_event(project_id, self.job_id, "log", line=line, attempt=self.attempt) for line in log_lines]
            append(connection, lines)
        return True

    def save_checkpoint(self, checkpoint: Checkpoint) -> bool:
        """Record a checkpoint whose files are all in the store. The next claim returns it unchanged.

        A checkpoint is progress: losses before it no longer count against the job's retries, so that a job of weeks
        outlives any number of them.

        Args:
            checkpoint: The manifest and the prefix of its files.

        Returns:
            False, and nothing is written, where the attempt is no longer held.
        """
        with write(self.engine) as connection:
            rows = lock_jobs(connection, self._holds(), columns=(jobs.c.spent,))
            for row in rows:
                spent = {outcome: n for outcome, n in row.spent.items() if outcome != AttemptOutcome.LOST}
                values = {"checkpoint": checkpoint, "spent": spent}
                connection.execute(update(jobs).where(jobs.c.id == self.job_id).values(values))
            return len(rows) == 1

    def publish(self, artifact_type: str, manifest: Manifest, publish_s: float | None = None) -> bool:
        """End a job that succeeded. All files of the manifest are in the store already.

        One transaction records the artifact, sets the job done, counts down what its dependents miss, ends the
        experiments that are complete and appends the events.

        Args:
            artifact_type: The type of the artifact.
            manifest: Its files.
            publish_s: Seconds from the end of the computation until now; recorded on the attempt.

        Returns:
            False, and nothing is written, where the attempt is no longer held.
        """
        artifact_id = new_id("art")
        with write(self.engine) as connection:
            done = (
                update(jobs)
                .where(self._holds())
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
            record_outcome(connection, self.job_id, self.attempt, AttemptOutcome.SUCCEEDED, publish_s=publish_s)
            connection.execute(
                insert(artifacts).values(
                    id=artifact_id,
                    project_id=project_id,
                    job_id=self.job_id,
                    attempt=self.attempt,
                    type=artifact_type,
                    manifest=manifest,
                    bytes=sum(file["size"] for file in manifest["files"]),
                    created_at=now(),
                )
            )
            ready = count_down_dependents(connection, self.job_id)
            outcome = {"attempt": self.attempt, "outcome": AttemptOutcome.SUCCEEDED, "artifact_id": artifact_id}
            lines = [job_event(project_id, self.job_id, state=JobState.DONE, **outcome)]
            lines += [job_event(row.project_id, row.id, state=JobState.READY) for row in ready]
            append(connection, lines + end_experiments(connection, naming_any([self.job_id])))
        return True

    def finish(self, outcome: AttemptOutcome, error: ErrorRecord | None = None) -> bool:
        """End an attempt that did not succeed.

        Args:
            outcome: How it ended; any but `succeeded`.
            error: Why, recorded on the job and on the attempt.

        Returns:
            False, and nothing is written, where the attempt is no longer held.

        Raises:
            ValueError: The outcome is `succeeded`, which `publish` records.
        """
        if outcome == AttemptOutcome.SUCCEEDED:
            raise ValueError("an attempt that succeeded is ended by publish")
        with write(self.engine) as connection:
            return end_attempts(connection, lock_jobs(connection, self._holds()), outcome, error) == 1

    def _holds(self) -> ColumnElement[bool]:
        return and_(jobs.c.id == self.job_id, jobs.c.attempt == self.attempt, jobs.c.state == JobState.RUNNING)


def _upsert_metrics(connection: Connection, job_id: str, values: Sequence[MetricValue]) -> None:
    latest = {(name, step): finite(value) for name, step, value in values}
    rows = [{"job_id": job_id, "name": n, "step": s, "value": value} for (n, s), value in latest.items()]
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        put = upsert(connection, metrics).values(rows[start : start + ROWS_PER_STATEMENT])
        connection.execute(
            put.on_conflict_do_update(index_elements=["job_id", "name", "step"], set_={"value": put.excluded.value})
        )
