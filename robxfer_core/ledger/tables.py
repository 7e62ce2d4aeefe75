"""All tables. Times are seconds since the epoch by the database's clock; ids are sortable text (see ids.py).

Migrations say the same (a test compares them). JSON is plain JSON: nothing is searched inside it.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

SCOPES = ("read", "submit", "admin")  # each may do what those before it may

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = String(40)
Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only in a column of type INTEGER
Json = JSON(none_as_null=True)


class EnumText(TypeDecorator[StrEnum]):
    """A column of text that holds the values of a StrEnum and is read as its members."""

    impl = Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum], stored_as: TypeEngine[str]) -> None:
        super().__init__()
        self.impl = stored_as
        self.enum = enum

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else str(self.enum(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.enum(value)


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    return CheckConstraint("{} in ({})".format(column, ", ".join(f"'{value}'" for value in values)), name=column)


projects = Table(
    "projects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("quota", Integer),  # jobs that may run at once; none: as many as there are slots
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),  # of the token, which is itself kept nowhere
    Column("scope", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("used_at", Double),
    _one_of("scope", SCOPES),
    UniqueConstraint("project_id", "name"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("at", Double, nullable=False),
    Column("project_id", Id, ForeignKey("projects.id")),  # none: nobody was known
    Column("token_id", Id),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text),
    Column("status", Integer),  # of the answer; none while it is not given
    Column("address", Text),
    Index(None, "project_id", "id"),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text),
    UniqueConstraint("project_id", "sha256"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", EnumText(ExperimentState, String(16)), nullable=False),
    Column("spec", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("created_by", Text),  # the name of the token that submitted it; none where no token was asked for
    _one_of("state", ExperimentState),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "name", "id"),
)

labels = Table(
    "labels",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiments.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "name", "value"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("key", String(64), nullable=False),
    Column("depth", Integer, nullable=False),  # 1 + the largest of its inputs'; locks are taken in its order
    Column("kind", Text, nullable=False),
    Column("recipe", Integer, nullable=False),
    Column("params", Json, nullable=False),
    Column("artifact_type", Text, nullable=False),
    Column("flops", Double, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("deadline_s", Double, nullable=False),
    Column("retries_failed", Integer, nullable=False),
    Column("retries_timed_out", Integer, nullable=False),
    Column("retries_out_of_memory", Integer, nullable=False),
    Column("retries_lost", Integer, nullable=False),
    Column("backoff_s", Double, nullable=False),
    Column("state", EnumText(JobState, String(16)), nullable=False),
    Column("missing", Integer, nullable=False),  # inputs not done; kept while the job waits
    Column("not_before", Double, nullable=False),
    Column("spent", Json, nullable=False),  # retries spent since it was enqueued, by outcome
    Column("attempt", Integer, nullable=False),  # the number of the last one: the fence
    Column("worker_id", Text),
    Column("lease_until", Double),
    Column("progress", Json),
    Column("checkpoint", Json),
    Column("outcome", EnumText(AttemptOutcome, Text())),  # of the last attempt that ended
    Column("error", Json),
    Column("artifact_id", Id),
    Column("created_at", Double, nullable=False),
    Column("ready_at", Double),
    Column("started_at", Double),
    Column("ended_at", Double),
    _one_of("state", JobState),
    UniqueConstraint("project_id", "key"),
    Index(None, "state", "queue"),
)

edges = Table(
    "edges",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("field", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("input_job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Index(None, "input_job_id"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiments.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("deadline_s", Double, nullable=False),
    Column("retries_failed", Integer, nullable=False),
    Column("retries_timed_out", Integer, nullable=False),
    Column("retries_out_of_memory", Integer, nullable=False),
    Column("retries_lost", Integer, nullable=False),
    Column("backoff_s", Double, nullable=False),
    UniqueConstraint("experiment_id", "name"),
    Index(None, "job_id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("worker_id", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("outcome", EnumText(AttemptOutcome, Text())),
    Column("error", Json),
    Column("waited_s", Double),  # from when the job was ready to the claim
    Column("publish_s", Double),  # from the child's end to the artifact
    Index(None, "ended_at"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("job_id", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("manifest", Json, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("pinned_at", Double),  # never collected while it is set
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"]),
    UniqueConstraint("job_id", "attempt"),
    Index(None, "project_id", "type", "id"),
)

events = Table(
    "events",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("experiment_id", Id, ForeignKey("experiments.id")),
    Column("job_id", Id, ForeignKey("jobs.id")),
    Column("at", Double, nullable=False),
    Column("type", Text, nullable=False),
    Column("data", Json, nullable=False),
    Index(None, "experiment_id", "id"),
    Index(None, "job_id", "id"),
    sqlite_autoincrement=True,
)

metrics = Table(
    "metrics",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Double),  # none: was not a finite number
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queues", Json, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("datasets", Json, nullable=False),
    Column("state", String(16), nullable=False),  # live or gone
    Column("seen_at", Double, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_sha256", String(64), nullable=False),
    Column("experiment_id", Id, nullable=False),
    Column("at", Double, nullable=False),
)
