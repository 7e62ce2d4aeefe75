"""Query parameters of the HTTP interface.

The API reads them, the client sends them and the command line makes its options of them, so each is written once.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from robxfer_core.spec.fields import ArchName, MomentsName, Norm, Queue, Seed, SetName
from robxfer_core.spec.states import ExperimentState

PLAIN = r"^[^\x00]*$"
"""Text that every database takes: without the character NUL."""
Text = Annotated[str, Field(max_length=300, pattern=PLAIN)]
ImportQueue = Annotated[Queue, Field(description="Queue of the import job.")]
Side = Annotated[int, Field(ge=4, le=1024)]
Count = Annotated[int, Field(ge=2, lt=2**53)]  # JSON numbers are exact below 2**53


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _numbers(text: str) -> str:
    try:
        channel_values(text)
    except ValueError:
        raise ValueError("numbers, separated by commas, one a channel") from None
    return text


Channels = Annotated[str, BeforeValidator(_joined), AfterValidator(_numbers), Field(max_length=100)]


def channel_values(text: str) -> list[float]:
    """Reads a number for each channel: "0.5,0.5,0.5" -> [0.5, 0.5, 0.5].

    Raises:
        ValueError: A part is not a number.
    """
    return [float(part) for part in text.split(",")]


class Query(BaseModel):
    """Parameters of one route. Unknown ones are ignored, as everywhere in the HTTP interface."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Makes a query in a program, where an unknown field is a mistake.

        Raises:
            pydantic.ValidationError: A field is unknown or its value is not allowed.
        """
        return cls.model_validate(fields, extra="forbid")

    def params(self) -> dict[str, Any]:
        """The parameters as they are sent: those that are not None."""
        return self.model_dump(mode="json", exclude_none=True)


class PageQuery(Query):
    """Which page of a list."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Rows of a page."""
    cursor: str | None = Field(default=None, max_length=200, pattern=PLAIN)
    """The `next` of the page before."""


class ExperimentQuery(PageQuery):
    """Filters of the list of experiments."""

    state: ExperimentState | None = None
    """Only experiments in this state."""
    name: Text | None = None
    """Only experiments of this name."""
    label: Text | None = None
    """Only experiments with this label: `key` or `key=value`."""


class RowsQuery(PageQuery):
    """Which page of a job's log or metrics."""

    limit: int = Field(default=1000, ge=1, le=10_000)
    """Rows of a page."""


class MetricQuery(RowsQuery):
    """Which metrics of a job."""

    name: Text | None = None
    """Only the metric of this name."""


class EventQuery(Query):
    """Where an event stream starts."""

    after: int = Field(default=0, ge=0, le=2**53)
    """Only events after this id, such as an experiment's `last_event_id`."""


class ReportQuery(Query):
    """Which report of an experiment."""

    node: Text | None = None
    """The report job; needed where the experiment has several."""


class DatasetOptions(Query):
    """How an uploaded data set is read, as the job kind `import_dataset` has it."""

    size: Side | None = None
    """Side in pixels that images are resized to; needed where they differ in size."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """How images are resized."""
    max_train: Count | None = None
    """Keep a stratified sample of this many training images."""
    max_test: Count | None = None
    """Keep a stratified sample of this many test images."""
    seed: Seed = 0
    """Draws the samples and, where the upload has no test split, the split."""
    queue: ImportQueue = "cpu"


class ImportDatasetQuery(DatasetOptions):
    """Parameters of `POST /v1/datasets`."""

    name: SetName
    """What the data set is called."""


class ImportModelQuery(Query):
    """Parameters of `POST /v1/models`, as the job kind `import_model` has them."""

    arch: ArchName
    """Architecture of the network."""
    width: float = Field(default=1.0, gt=0, le=16)
    """Factor of the channels of every layer."""
    input_size: Side | None = None
    """Side in pixels of the images that it was trained on."""
    mean: Channels | None = None
    """Mean of each channel, in [0,1] pixels: numbers, separated by commas."""
    std: Channels | None = None
    """Standard deviation of each channel, in [0,1] pixels: numbers, separated by commas."""
    moments: MomentsName | None = None
    """Take the published mean and standard deviation of this data set."""
    dataset: SetName | None = None
    """Measure the accuracy on this data set's test split."""
    norm: Norm = "l2"
    """Norm of the threat model that it was trained against."""
    eps: float = Field(default=0.0, ge=0, le=1000)
    """Radius of that threat model in pixel units; 0 is standard training."""
    seed: Seed = 0
    """Tells models apart that were trained in the same way."""
    queue: ImportQueue = "cpu"
