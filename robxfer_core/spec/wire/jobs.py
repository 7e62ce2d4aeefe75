"""Jobs: their attempts, what they wait for, what they measured and logged, and the kinds of jobs."""

from typing import Any

from robxfer_core.spec.states import AttemptOutcome, JobState, WaitCause

from .base import Wire


class Progress(Wire):
    """Progress of a running job."""

    done: float = 0
    """In `unit`."""
    total: float = 0
    """In `unit`; 0 where it is not known."""
    unit: str = ""
    """What is counted, such as `epochs`."""


class AttemptView(Wire):
    """An attempt at a job by a worker."""

    number: int
    """1 for the first."""
    worker_id: str
    device: str | None = None
    """What it computed on, such as `cpu` or the name of a GPU."""
    started_at: float
    ended_at: float | None = None
    """None while it runs."""
    outcome: AttemptOutcome | None = None
    """How it ended; none while it runs."""
    error: dict[str, Any] | None = None
    """Why it failed: `class` and `message` of the error, and the last lines of its `output`."""
    seconds: float | None = None
    """Seconds from its start to its end."""
    waited_s: float | None = None
    """Seconds from when the job was ready to the attempt's start."""
    publish_s: float | None = None
    """Seconds from the end of the computation to the artifact."""


class WaitingFor(Wire):
    """Why a job does not run yet."""

    reason: WaitCause
    """`inputs`: the jobs in `jobs` are not done. `unwanted`: no running experiment needs it. `backoff`: it pauses until
    its next attempt. `worker`: no live worker serves its queue. `quota`: the project runs as many jobs as it may.
    `slot`: other jobs are first, or all slots of its queue are busy."""
    detail: str = ""
    """The same, for people."""
    jobs: list[str] = []
    """Ids of the jobs whose results it needs and does not have yet."""


class InputView(Wire):
    """An input of a job: the job whose result it uses, and the parameter that refers to it."""

    field: str
    """The parameter: `model`, `arms.0.transfers`."""
    index: int
    """Position in a parameter that is a list."""
    job_id: str
    key: str
    """Content key of the input's job."""
    kind: str
    """Kind of the input's job."""
    state: JobState
    """State of the input's job."""
    artifact_id: str | None = None
    """Its result; none until it is done."""


class JobView(Wire):
    """A job with its inputs, its attempts and what it waits for."""

    id: str
    key: str
    """Content key: sha256 of the kind, its recipe, the parameters and the inputs' keys."""
    kind: str
    recipe: int
    """Version of the kind's computation."""
    state: JobState
    outcome: AttemptOutcome | None = None
    """How the last attempt ended."""
    error: dict[str, Any] | None = None
    """Why the last attempt failed."""
    params: dict[str, Any]
    """Parameters of the kind."""
    inputs: list[InputView] = []
    queue: str
    gpus: int = 1
    """GPUs of an attempt."""
    priority: int = 0
    """Higher is claimed first."""
    deadline_s: float
    """Seconds that an attempt may take."""
    retries: dict[AttemptOutcome, int] = {}
    """Further attempts allowed, by how an attempt ended."""
    spent: dict[AttemptOutcome, int] = {}
    """How many of those are used."""
    backoff_s: float = 0
    """Seconds before the first further attempt."""
    attempt: int = 0
    """Number of the last attempt; 0 before the first."""
    attempts: list[AttemptView] = []
    worker_id: str | None = None
    """Worker of the running attempt."""
    progress: Progress | None = None
    """Of the running attempt."""
    artifact_id: str | None = None
    """The result; none until the job is done."""
    waiting_for: list[WaitingFor] = []
    """Why it does not run yet; empty where it runs or has ended."""
    created_at: float
    ready_at: float | None = None
    """When its last input was done."""
    started_at: float | None = None
    """When the last attempt started."""
    ended_at: float | None = None


class MetricRow(Wire):
    """A value that a job measured; there is one for each name and step."""

    name: str
    step: int
    value: float | None
    """None where it was not a finite number."""


class EventView(Wire):
    """An event in the history of an experiment or a job."""

    id: int
    """Rises from event to event."""
    type: str
    """`state`, `progress`, `log`, or `end`: the last event of an experiment that has ended."""
    at: float | None = None
    """When it happened."""
    experiment_id: str | None = None
    """Of an event of an experiment."""
    job_id: str | None = None
    """Of an event of a job."""
    data: dict[str, Any] = {}
    """By type: the new `state` with `outcome` and `error`; `done`, `total` and `unit`; a `line` of the log."""


class ParameterView(Wire):
    """A parameter of a kind of job."""

    name: str
    meaning: str = ""
    type: str = ""
    """In words: `number`, `list of integers`, the name of a model in `parts`."""
    unit: str = ""
    """Unit of a number; empty for other types."""
    required: bool
    default: Any = None
    source: str = ""
    """Publications that the meaning or the default is from; empty where it is this project's own."""


class ResultFieldView(Wire):
    """A field of a result."""

    name: str
    meaning: str = ""
    type: str = ""
    """In words: `number`, `list of integers`, the name of a model in `result_parts`."""
    unit: str = ""
    """Unit of a number; empty for other types."""
    optional: bool = False
    """Whether it may be absent or null."""


class ResultView(Wire):
    """What a job writes to its result.json."""

    name: str
    """Name of the model."""
    meaning: str = ""
    fields: list[ResultFieldView]
    json_schema: dict[str, Any]
    """JSON Schema of result.json."""


class KindView(Wire):
    """A kind of job."""

    kind: str
    meaning: str
    """What it computes."""
    recipe: int
    """Version of the computation; part of the content key."""
    artifact: str
    """Type of the artifact that it leaves."""
    takes: dict[str, list[str]]
    """Which kinds of jobs each reference accepts, by the parameter's name."""
    parameters: list[ParameterView]
    parts: dict[str, list[ParameterView]] = {}
    """Parameters of the models inside the parameters, by the model's name."""
    json_schema: dict[str, Any]
    """JSON Schema of the parameters."""
    results: list[ResultView] = []
    """The result; several where the kind's modes leave different ones."""
    result_parts: dict[str, list[ResultFieldView]] = {}
    """Fields of the models inside the results, by the model's name."""
