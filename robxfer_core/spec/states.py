"""The states of jobs, experiments and workers and the outcomes of attempts, spelt here and nowhere else."""

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job."""

    WAITING = "waiting"
    """At least one of its inputs is not done."""
    READY = "ready"
    """All inputs are done; a worker may claim the job once its backoff is over."""
    RUNNING = "running"
    """A worker holds the job and computes an attempt."""
    DONE = "done"
    """An attempt succeeded and its artifact is kept."""
    FAILED = "failed"
    """An attempt ended badly and no retry was left."""
    CANCELLED = "cancelled"
    """No running experiment needs the job, or its artifact was collected."""


class AttemptOutcome(StrEnum):
    """How one attempt at a job ended."""

    SUCCEEDED = "succeeded"
    """The job function returned and its artifact was published."""
    FAILED = "failed"
    """The job raised an error, or its process died."""
    OUT_OF_MEMORY = "out_of_memory"
    """The device or the machine had too little memory."""
    TIMED_OUT = "timed_out"
    """The attempt took longer than the job's deadline."""
    PREEMPTED = "preempted"
    """The worker shut down and gave the job back."""
    LOST = "lost"
    """The worker did not renew its lease."""
    STOPPED = "stopped"
    """No running experiment needed the job any more."""


class ExperimentState(StrEnum):
    """The state of an experiment."""

    RUNNING = "running"
    """At least one of its jobs is ready or running."""
    DONE = "done"
    """All its jobs are done."""
    FAILED = "failed"
    """Nothing can run any more and at least one job is not done."""
    CANCELLED = "cancelled"
    """A user ended it."""


class WaitCause(StrEnum):
    """Why a job does not run yet."""

    INPUTS = "inputs"
    """Inputs are not done."""
    UNWANTED = "unwanted"
    """No running experiment names it."""
    BACKOFF = "backoff"
    """It pauses before a further attempt."""
    WORKER = "worker"
    """No live worker serves its queue."""
    QUOTA = "quota"
    """The project runs as many jobs as it may."""
    SLOT = "slot"
    """All slots of its queue are busy, or other jobs come first."""


class WorkerState(StrEnum):
    """The state that a worker last reported."""

    LIVE = "live"
    """It was working. One that was killed stays live, but reports no more."""
    GONE = "gone"
    """It has shut down."""


ENDED_JOB_STATES = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
"""States in which a job stays until a submission or a retry enqueues it again."""
QUEUED_JOB_STATES = (JobState.WAITING, JobState.READY)
"""States of a job that no worker has claimed yet."""
ENDED_EXPERIMENT_STATES = (ExperimentState.DONE, ExperimentState.FAILED, ExperimentState.CANCELLED)
"""States in which an experiment stays until it is retried."""
