"""Jobs, what they wait for, measure and tell, and the kinds of them."""

from typing import Any

from robxfer_core.spec.states import AttemptOutcome, JobState

from .base import Wire


class Progress(Wire):
    """How far a running job is."""

    done: float = 0
    total: float = 0
    unit: str = ""


class AttemptView(Wire):
    """One try at a job by one worker."""

    number: int
    worker_id: str
    device: str | None = None
    started_at: float
    ended_at: float | None = None
    outcome: AttemptOutcome | None = None
    """How it ended; none while it runs."""
    error: dict[str, Any] | None = None
    seconds: float | None = None
    waited_s: float | None = None
    """From when the job was ready to this attempt's start."""
    publish_s: float | None = None
    """From the end of its computation to the artifact."""


class WaitingFor(Wire):
    """Why a job does not run yet."""

    reason: str
    """inputs (`jobs` are not done), unwanted (no running experiment names it), backoff (it waits before it is tried
    again), worker (no live worker takes its queue), quota (the project runs as many jobs as it may), slot (others come
    first, or all slots of its queue are busy)."""
    detail: str = ""
    jobs: list[str] = []
    """Ids of the jobs whose results it needs."""


class InputView(Wire):
    """A job whose result is taken, and in which reference."""

    field: str
    index: int
    job_id: str
    key: str
    kind: str
    state: JobState
    artifact_id: str | None = None


class JobView(Wire):
    """A job whole."""

    id: str
    key: str
    kind: str
    recipe: int
    state: JobState
    outcome: AttemptOutcome | None = None
    error: dict[str, Any] | None = None
    params: dict[str, Any]
    inputs: list[InputView] = []
    queue: str
    gpus: int = 1
    priority: int = 0
    deadline_s: float
    retries: dict[AttemptOutcome, int] = {}
    """Further attempts allowed, by how one ended."""
    spent: dict[AttemptOutcome, int] = {}
    """Of those, the spent ones."""
    backoff_s: float = 0
    attempt: int = 0
    attempts: list[AttemptView] = []
    worker_id: str | None = None
    progress: Progress | None = None
    artifact_id: str | None = None
    waiting_for: list[WaitingFor] = []
    created_at: float
    ready_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None


class MetricRow(Wire):
    """A measured value of a job: one for each name and step."""

    name: str
    step: int
    value: float | None
    """None: was not a finite number."""


class EventView(Wire):
    """A line of an experiment's or a job's history. Ids rise; `end` is the last line of an ended experiment."""

    id: int
    type: str
    """state, progress, log, or end."""
    at: float | None = None
    experiment_id: str | None = None
    job_id: str | None = None
    data: dict[str, Any] = {}


class ParameterView(Wire):
    """A parameter of a kind of job."""

    name: str
    meaning: str = ""
    unit: str = ""
    """Of a number; empty for what is none."""
    required: bool
    default: Any = None
    source: str = ""
    """Publications that the meaning or the default is from; empty where it is this project's own."""


class KindView(Wire):
    """A kind of job: what it does, takes and leaves."""

    kind: str
    meaning: str
    recipe: int
    artifact: str
    takes: dict[str, list[str]]
    """For each reference, by its field's name, the kinds that it may name."""
    parameters: list[ParameterView]
    parts: dict[str, list[ParameterView]] = {}
    """Those of the models inside, by name."""
    json_schema: dict[str, Any]
