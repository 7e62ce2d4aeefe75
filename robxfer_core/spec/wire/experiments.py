"""Experiments, and the answers to submissions."""

from typing import Any

from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from .base import Wire
from .jobs import Progress


class NodeView(Wire):
    """A node of an experiment: its name for a job, and the state of the job."""

    name: str
    """Such as `gap.source[eps=0.5,seed=1]`."""
    group: str
    """The job of the spec that the node is a member of: the name without its matrix values."""
    kind: str
    """Kind of the job."""
    job_id: str
    key: str
    """Content key of the job."""
    state: JobState
    outcome: AttemptOutcome | None = None
    """How the last attempt ended."""
    progress: Progress | None = None
    """Of the running attempt."""
    artifact_id: str | None = None
    """The result; none until the job is done."""
    taken: bool | None = None
    """Whether another job of the experiment uses the result. A result that none uses is an end of the experiment."""


class ExperimentRow(Wire):
    """An experiment in a list."""

    id: str
    project: str
    name: str
    """Name of the spec."""
    state: ExperimentState
    labels: dict[str, str] = {}
    """Labels of the spec."""
    created_at: float
    ended_at: float | None = None
    created_by: str | None = None
    """Name of the token that submitted it; none in open mode."""
    jobs: dict[JobState, int] = {}
    """Number of jobs by state."""


class ExperimentView(ExperimentRow):
    """An experiment with its spec and its nodes."""

    spec: dict[str, Any]
    """The spec as it was submitted."""
    nodes: list[NodeView]
    last_event_id: int = 0
    """An event stream that starts after this id misses nothing that this answer does not show."""


class Submitted(ExperimentView):
    """The answer to a submission."""

    created: bool = True
    """False where a request with the same Idempotency-Key has submitted it before."""


class Uploaded(Submitted):
    """The answer to an upload: the experiment that imports it."""

    upload: str
    """sha256 of the file, by which import jobs of other specs can name it."""
