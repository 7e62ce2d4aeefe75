"""Experiments, and what submitting one answers."""

from typing import Any

from robxfer_core.spec.states import AttemptOutcome, ExperimentState, JobState

from .base import Wire
from .jobs import Progress


class NodeView(Wire):
    """An experiment's name for a job, and how the job stands."""

    name: str
    group: str
    """The job of the spec that the node is a member of: the name without its matrix values."""
    kind: str
    job_id: str
    key: str
    state: JobState
    outcome: AttemptOutcome | None = None
    progress: Progress | None = None
    artifact_id: str | None = None
    taken: bool | None = None
    """Whether another job of the experiment takes what it leaves; what none takes is what the experiment is for."""


class ExperimentRow(Wire):
    """An experiment, as it stands in a list."""

    id: str
    project: str
    name: str
    state: ExperimentState
    labels: dict[str, str] = {}
    created_at: float
    ended_at: float | None = None
    created_by: str | None = None
    """The name of the token that submitted it; none where no token was asked for."""
    jobs: dict[JobState, int] = {}
    """Its jobs, counted by state."""


class ExperimentView(ExperimentRow):
    """An experiment whole."""

    spec: dict[str, Any]
    nodes: list[NodeView]
    last_event_id: int = 0
    """Id of an event such that an event stream from there on misses nothing that this answer does not show."""


class Submitted(ExperimentView):
    """The answer to a submission."""

    created: bool = True
    """False where the same Idempotency-Key had submitted it before."""


class Uploaded(Submitted):
    """The answer to an upload: the experiment whose one job imports it."""

    upload: str
    """The file's sha256, by which import jobs of other specs can name it."""
