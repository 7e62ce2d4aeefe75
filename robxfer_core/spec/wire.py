"""What the HTTP interface answers, as models that the API and its client share.

Times are float seconds since the epoch, by the database's clock. A client takes fields that it does not know yet.
"""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

ExperimentState = Literal["running", "done", "failed", "cancelled"]
JobState = Literal["waiting", "ready", "running", "done", "failed", "cancelled"]
EXPERIMENT_ENDS: frozenset[str] = frozenset({"done", "failed", "cancelled"})


class Wire(BaseModel):
    """What all answers share."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Page(Wire, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next: str | None = None
    """The `cursor` of the next page; none on the last."""


class FieldError(Wire):
    """One thing wrong with a request."""

    at: str
    """The place, such as `jobs.source.threat.eps` or `query.limit`."""
    got: str
    takes: str


class ProblemView(Wire):
    """An error, as RFC 9457 problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: list[FieldError] = []


class Progress(Wire):
    """How far a running job is."""

    done: float = 0
    total: float = 0
    unit: str = ""


class NodeView(Wire):
    """An experiment's name for a job, and how the job stands."""

    name: str
    group: str
    """The job of the spec that the node is a member of: the name without its matrix values."""
    kind: str
    job_id: str
    key: str
    state: JobState
    outcome: str | None = None
    progress: Progress | None = None
    artifact_id: str | None = None
    taken: bool = False
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
    jobs: dict[str, int] = {}
    """Its jobs, counted by state."""


class ExperimentView(ExperimentRow):
    """An experiment whole."""

    spec: dict[str, Any]
    nodes: list[NodeView]


class Submitted(ExperimentView):
    """The answer to a submission."""

    created: bool = True
    """False where the same Idempotency-Key had submitted it before."""


class Uploaded(Submitted):
    """The answer to an upload: the experiment whose one job imports it."""

    upload: str
    """The file's sha256, by which import jobs of other specs can name it."""


class AttemptView(Wire):
    """One try at a job by one worker."""

    number: int
    worker_id: str
    device: str | None = None
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    """succeeded, failed, out_of_memory, timed_out, preempted, lost or stopped; none while it runs."""
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
    outcome: str | None = None
    error: dict[str, Any] | None = None
    params: dict[str, Any]
    inputs: list[InputView] = []
    queue: str
    gpus: int = 1
    priority: int = 0
    deadline_s: float
    retries: dict[str, int] = {}
    """Further attempts allowed, by how one ended."""
    spent: dict[str, int] = {}
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


class FileView(Wire):
    """A file of an artifact."""

    path: str
    size: int
    sha256: str


class ArtifactView(Wire):
    """What a job left: an immutable manifest of named files."""

    id: str
    type: str
    kind: str = ""
    job_id: str
    key: str
    bytes: int
    created_at: float
    pinned_at: float | None = None
    """Since when it is never collected."""
    files: list[FileView]


class DatasetsView(Wire):
    """Data sets: those read by the workers' own names, and those that jobs have left as artifacts."""

    readable: dict[str, dict[str, Any]] | None
    """What live and former workers said they can read, by name; none where no worker has ever reported."""
    artifacts: Page[ArtifactView]


class WorkerView(Wire):
    """A live worker."""

    id: str
    queues: list[str]
    slots: int
    device: str
    datasets: list[str] = []
    state: str = ""
    seen_at: float


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


class TokenView(Wire):
    """A token without its secret, which is kept nowhere."""

    id: str
    name: str
    scope: Literal["read", "submit", "admin"]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    """When it was last used, to a minute."""


class AuditLine(Wire):
    """Who asked for what change, and what came of it."""

    id: int
    at: float
    who: str
    """The name of the token; `operator` for the command line, `anyone` where no token was asked for."""
    token_id: str | None = None
    action: str
    subject: str | None = None
    """The id or the name of what it was done to."""
    status: int | None = None
    """Of the answer; none while there is none, and for ever where the service was killed meanwhile."""
    address: str | None = None


class Health(Wire):
    """Whether a service can work; `missing` names what it lacks and why."""

    ok: bool
    missing: dict[str, str] = {}
