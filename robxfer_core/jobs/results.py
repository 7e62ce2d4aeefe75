"""What results are made of: the base of all models of result.json, and the parts that several kinds share."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Arch, Seed, ThreatModel
from robxfer_core.spec.units import (
    Bytes,
    Classes,
    Components,
    Epochs,
    Images,
    Pixels,
    PixelUnits,
    PixelValue,
    Share,
    ShareDifference,
)

Norm = Literal["l2", "linf"]
Split = Literal["train", "test"]
Outcomes = str
"""Whether each image was classified right: base64 of numpy.packbits, the first image in the highest bit."""


class Record(BaseModel):
    """A part of a result. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Result(Record):
    """What a job writes to its result.json, and what others read from it.

    A field that is absent where it does not apply has the default None and `exclude_if=is_none`.
    """

    @classmethod
    def upgrade(cls, result: dict[str, Any]) -> dict[str, Any]:
        """A result of an older recipe or version, in today's form. Kinds whose result has changed override this."""
        return result

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the result.json in an artifact's folder.

        Raises:
            FileNotFoundError: There is none.
            pydantic.ValidationError: It is not a result of this kind.
        """
        return cls.model_validate(cls.upgrade(json.loads((folder / "result.json").read_bytes())))


def is_none(value: object) -> bool:
    """Whether a field is left out of result.json."""
    return value is None


class Accuracy(Strict):
    """What was measured of a model on images that it was not trained on."""

    dataset: str = Field(max_length=200)
    """The data set, and which of its images."""
    n: Images = Field(ge=1)
    """Number of images."""
    clean: Share = Field(ge=0, le=1)
    """Accuracy on the images as they are, a fraction."""
    robust: Share | None = Field(default=None, ge=0, le=1)
    """Accuracy under PGD in the card's threat model; none where its eps is 0."""
    attack: str = Field(default="", max_length=200)
    """How the robust accuracy was measured."""


class ModelCard(Strict):
    """model.json: what it takes to build the network again, how it was trained, and what it can do."""

    arch: Arch
    """The architecture."""
    classes: Classes = Field(ge=2, le=100_000)
    """Number of classes."""
    channels: int = Field(ge=1, le=3)
    """Channels of its images."""
    input_size: Pixels = Field(ge=4, le=1024)
    """Side of the square image that the body computes on, in pixels."""
    mean: list[PixelValue] = Field(min_length=1, max_length=3)
    """Mean of the normalisation, per channel, in [0,1] pixels."""
    std: list[PixelValue] = Field(min_length=1, max_length=3)
    """Standard deviation of the normalisation, per channel, in [0,1] pixels."""
    representation: Components
    """Length of the representation."""
    threat: ThreatModel
    """The threat model that it was trained against; eps 0: standard training."""
    seed: Seed
    """The seed of its training."""
    epochs: Epochs | None = Field(ge=0)
    """Epochs of its training. 0: the network is at its random start; none: others trained it."""
    name: str = Field(max_length=100)
    """`arch.tag`, for instance `resnet18.l2_eps3`."""
    source: str = Field(default="", max_length=400)
    """Where the weights come from."""
    accuracy: Accuracy | None = None
    """None: not measured."""

    @property
    def is_random(self) -> bool:
        """Whether the network is at its random start."""
        return self.epochs == 0

    @property
    def is_published(self) -> bool:
        """Whether others trained it."""
        return self.epochs is None


class DatasetName(Record):
    """A data set, by name."""

    name: str
    """The set."""
    variant: str
    """`standard`, or how its images were made."""


class TaskSummary(DatasetName):
    """A data set that something was measured on."""

    n_train: Images
    """Training images."""
    n_test: Images
    """Test images."""
    classes: Classes
    """Number of classes."""


class StoredImages(Record):
    """How a constructed set is stored."""

    dtype: Literal["float16", "uint8"]
    """Type of a pixel."""
    bytes: Bytes
    """Size of all images."""


class MeanMax(Record):
    """Mean and largest of a quantity over images."""

    mean: PixelUnits
    """Mean."""
    max: PixelUnits
    """Largest."""


class Headline(Record):
    """What a result says first."""

    text: str
    """A sentence."""


class TableResult(Record):
    """A table, to show."""

    columns: list[str]
    """The columns' names."""
    rows: list[list[str | None]]
    """The cells of each row; none is shown as a dash."""


class Interval(Record):
    """A mean with its interval."""

    mean: float
    """Mean."""
    low: float | None
    """Lower end; none where one repetition gives no interval."""
    high: float | None
    """Upper end."""


class ReportResult(Result):
    """What every report says in short; the whole is in report.json."""

    title: str
    """Of the report."""
    headline: Headline
    """What was found, in a sentence."""


class TableReportResult(ReportResult):
    """A report whose short form is a table."""

    table: TableResult
    """The main table."""


class VerdictRow(Record):
    """The verdict on one panel of a report. Accuracies are fractions, eps in pixel units."""

    target: str
    """The data set."""
    variant: str
    """Its variant."""
    control: bool
    """Whether it is a control arm."""
    verdict: str
    """helps, hinders, mixed, no_difference, not_shown or unusable."""
    reason: str
    """Why."""
    level: PixelUnits
    """The level of the difference that is shown."""
    difference: ShareDifference
    """Accuracy at that level less accuracy at eps 0."""
    low: ShareDifference | None
    """Lower end of its interval; none where one seed gives no interval."""
    high: ShareDifference | None
    """Upper end of its interval."""
    detectable: ShareDifference | None
    """The smallest difference that the design would likely have shown."""


class DatasetSummary(DatasetName):
    """A data set that was read or uploaded."""

    classes: Classes
    """Number of classes."""
    shape: tuple[int, int, int]
    """[C, H, W] of an image."""
    n_train: Images
    """Training images."""
    n_test: Images
    """Test images."""


class DatasetResult(Result):
    """The result of a kind that reads a data set."""

    data: DatasetSummary
    """What was read."""
