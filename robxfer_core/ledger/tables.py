"""All tables of the ledger.

Times are in seconds since the epoch, by the database's clock. Ids are text that sorts by time (`ids.py`). The columns
named `..._s` are durations in seconds. Migrations create the same tables; a test compares them.
"""

from sqlalchemy import (
    BigInteger,
    Column,
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
    UniqueConstraint,
)

from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState, WorkerState

from .columns import EnumText, Id, Json, Serial, one_of

SCOPES = ("read", "submit", "admin")
"""What a token may do. Each scope includes those before it."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", Id, primary_key=True),  # equal to the name
    Column("name", Text, nullable=False, unique=True),
    Column("quota", Integer),  # jobs that may run at once; null: no limit
)
"""Projects. Everything else belongs to one, except for workers, which serve all."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),  # names the user in the audit log, so it is never given twice
    Column("sha256", String(64), nullable=False, unique=True),  # of the secret, which is not stored
    Column("scope", String(16), nullable=False),  # one of SCOPES
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),  # null: never
    Column("revoked_at", Double),  # null: not revoked
    Column("used_at", Double),  # last use, to a minute; null: never used
    one_of("scope", SCOPES),
    UniqueConstraint("project_id", "name"),
)
"""Tokens by which users of the HTTP interface are known."""

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),
    Column("at", Double, nullable=False),
    Column("project_id", Id, ForeignKey("projects.id")),  # null: nobody was identified
    Column("token_id", Id),
    Column("who", Text, nullable=False),  # the token's name; operator, anyone or unknown
    Column("action", Text, nullable=False),  # method and path, or a command
    Column("subject", Text),  # id or name of the thing that the action was for
    Column("status", Integer),  # of the answer; null until it is given
    Column("address", Text),  # the client's IP address
    Index(None, "project_id", "id"),
    sqlite_autoincrement=True,
)
"""Who asked for which change, granted or not. A line is written before its action is carried out."""

uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("sha256", String(64), nullable=False),  # of the file; the id until it is whole, and when it is to be removed
    Column("bytes", BigInteger, nullable=False),  # 0 until the file is whole
    Column("created_at", Double, nullable=False),  # when the content was last sent
    Column("created_by", Text),  # name of the token; null where no token was needed
    UniqueConstraint("project_id", "sha256"),
)
"""Files that users sent and that the store holds until no import job needs them, each content once a project."""

experiments = Table(
    "experiments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", EnumText(ExperimentState, String(16)), nullable=False),
    Column("spec", Json, nullable=False),  # as it was submitted, after validation
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),  # null while it runs
    Column("created_by", Text),  # name of the token; null where no token was needed
    one_of("state", ExperimentState),
    Index(None, "project_id", "id"),
    Index(None, "project_id", "name", "id"),
)
"""Submitted specs."""

labels = Table(
    "labels",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiments.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "name", "value"),
)
"""Labels of experiments, from the spec."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("key", String(64), nullable=False),  # sha256 of kind, recipe, parameters and the keys of the inputs
    Column("depth", Integer, nullable=False),  # 1 + the largest depth of its inputs; rows are locked in this order
    Column("kind", Text, nullable=False),
    Column("recipe", Integer, nullable=False),  # version of the kind's computation
    Column("params", Json, nullable=False),
    Column("artifact_type", Text, nullable=False),
    Column("flops", Double, nullable=False),  # estimated operations
    Column("gpus", Integer, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", Integer, nullable=False),  # higher is claimed first
    Column("deadline_s", Double, nullable=False),  # an attempt may take so long
    Column("retries_failed", Integer, nullable=False),  # further attempts after one that failed
    Column("retries_timed_out", Integer, nullable=False),
    Column("retries_out_of_memory", Integer, nullable=False),
    Column("retries_lost", Integer, nullable=False),
    Column("backoff_s", Double, nullable=False),  # pause before the first further attempt; doubled for each one more
    Column("state", EnumText(JobState, String(16)), nullable=False),
    Column("missing", Integer, nullable=False),  # inputs that are not done; kept up to date while the job waits
    Column("not_before", Double, nullable=False),  # no claim before this time
    Column("spent", Json, nullable=False),  # retries spent since it was enqueued, by outcome
    Column("attempt", Integer, nullable=False),  # number of the last attempt: the fence; 0 before the first
    Column("worker_id", Text),  # worker of the last attempt
    Column("lease_until", Double),  # the running attempt is lost if its worker has not renewed the lease by then
    Column("progress", Json),  # records.Progress, while it runs
    Column("checkpoint", Json),  # records.Checkpoint, from which the next attempt resumes
    Column("outcome", EnumText(AttemptOutcome, Text())),  # of the last attempt that ended
    Column("error", Json),  # records.ErrorRecord, of the last attempt that ended
    Column("artifact_id", Id),  # set while the job is done
    Column("created_at", Double, nullable=False),
    Column("ready_at", Double),
    Column("started_at", Double),  # start of the last attempt
    Column("ended_at", Double),  # end of the last attempt, or when the job was cancelled
    one_of("state", JobState),
    UniqueConstraint("project_id", "key"),
    Index(None, "state", "queue"),
)
"""Computations, each key once a project, whatever the number of experiments that name it."""

edges = Table(
    "edges",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("field", Text, primary_key=True),  # the parameter that refers to the input
    Column("position", Integer, primary_key=True),  # place of the input in that parameter
    Column("input_job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Index(None, "input_job_id"),
)
"""Which jobs take the results of which."""

nodes = Table(
    "nodes",
    metadata,
    Column("experiment_id", Id, ForeignKey("experiments.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # place in the plan
    Column("name", Text, nullable=False),
    Column("job_id", Id, ForeignKey("jobs.id"), nullable=False),
    Column("priority", Integer, nullable=False),  # from here on: how the experiment wants the job to be run
    Column("deadline_s", Double, nullable=False),
    Column("retries_failed", Integer, nullable=False),
    Column("retries_timed_out", Integer, nullable=False),
    Column("retries_out_of_memory", Integer, nullable=False),
    Column("retries_lost", Integer, nullable=False),
    Column("backoff_s", Double, nullable=False),
    UniqueConstraint("experiment_id", "name"),
    Index(None, "job_id"),
)
"""Experiments' names for jobs. A job is wanted while a node of a running experiment names it."""

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # counted from 1
    Column("worker_id", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),  # null while it runs
    Column("outcome", EnumText(AttemptOutcome, Text())),  # null while it runs
    Column("error", Json),  # records.ErrorRecord
    Column("waited_s", Double),  # from ready to claimed
    Column("publish_s", Double),  # from the end of the computation to the artifact
    Index(None, "ended_at"),
)
"""Attempts at jobs."""

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("job_id", Id, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("manifest", Json, nullable=False),  # records.Manifest
    Column("bytes", BigInteger, nullable=False),  # sum of the files
    Column("created_at", Double, nullable=False),
    Column("pinned_at", Double),  # not collected while it is set
    ForeignKeyConstraint(["job_id", "attempt"], ["attempts.job_id", "attempts.number"]),
    UniqueConstraint("job_id", "attempt"),
    Index(None, "project_id", "type", "id"),
)
"""Results of done jobs. Their files are in the store under `project/job/attempt`."""

events = Table(
    "events",
    metadata,
    Column("id", Serial, Identity(), primary_key=True),  # committed in order
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("experiment_id", Id, ForeignKey("experiments.id")),  # set for an event of an experiment
    Column("job_id", Id, ForeignKey("jobs.id")),  # set for an event of a job
    Column("at", Double, nullable=False),
    Column("type", Text, nullable=False),  # state, progress or log
    Column("data", Json, nullable=False),
    Index(None, "experiment_id", "id"),
    Index(None, "job_id", "id"),
    sqlite_autoincrement=True,
)
"""History of experiments and jobs."""

metrics = Table(
    "metrics",
    metadata,
    Column("job_id", Id, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("value", Double),  # null: was not a finite number
)
"""Measured values of jobs."""

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("queues", Json, nullable=False),  # names of the queues that it serves
    Column("slots", Integer, nullable=False),  # jobs that it runs at once
    Column("device", Text, nullable=False),
    Column("datasets", Json, nullable=False),  # data sets that it can read, by name
    Column("state", EnumText(WorkerState, String(16)), nullable=False),
    Column("seen_at", Double, nullable=False),  # when it last reported
)
"""Workers, as each last reported."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),  # the client's Idempotency-Key
    Column("body_sha256", String(64), nullable=False),  # of the request
    Column("experiment_id", Id, nullable=False),  # that the request has created
    Column("at", Double, nullable=False),
)
"""Idempotency keys of the submissions of the last day."""
