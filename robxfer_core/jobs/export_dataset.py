"""The kind `export_dataset`: writes a data set in formats that other software reads."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Ref
from robxfer_core.spec.units import Bytes, Images

from .base import DATASETS, Artifact, Job
from .results import DatasetName, Result, Split
from .shapes import SMALL_BYTES, ShapeContext, Shapes


class ExportedData(DatasetName):
    """The set that was exported."""

    key: str
    """The key of the job that made it."""


class ExportDatasetResult(Result):
    """Files in a format that other software reads."""

    format: Literal["folder", "npz", "parquet", "webdataset"]
    """The format."""
    lossless: bool
    """Whether pixels are exactly those of the set."""
    data: ExportedData
    """The set that was exported."""
    images: dict[Split, Images]
    """Images by split."""
    files: int
    """Number of files."""
    bytes: Bytes
    """Size of all files."""


class ExportDataset(Job):
    """Writes a data set, constructed or not, to be taken away (`robxfer pull`), with a README.md on how it was made.

    PNG holds 8 bits a channel: the pixels of a float16 set are rounded to the nearest 1/255 there, and exact.npz beside
    has them as they are. Equal sets give equal bytes.
    """

    ARTIFACT = Artifact.EXPORT
    TAKES = {"dataset": DATASETS}
    ENTRY = "robxfer_core.science.data.export.job:export_dataset"
    RESULTS = (ExportDatasetResult,)

    kind: Literal["export_dataset"] = "export_dataset"
    dataset: Ref
    """The set to write, both splits."""
    format: Literal["folder", "npz", "parquet", "webdataset"]
    """folder: images.zip with SPLIT/CLASS/NUMBER.png; npz: dataset.npz with x_train, y_train, x_test, y_test (images
    channels-last; and original_train, original_test where labels are not the images' own); parquet: files that Hugging
    Face `datasets` opens; webdataset: tar shards of NUMBER.png, NUMBER.cls and NUMBER.json."""
    shard: int = Field(default=4096, ge=1, le=1_000_000)
    """Most images of a file (parquet, webdataset)."""

    def shapes(self, context: ShapeContext) -> Shapes:
        return context[self.dataset]

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 1000.0 * own.images * own.values

    def stored_bytes(self, own: Shapes) -> float:
        # Where a format has 8 bits a channel, float16 pixels are stored beside it as they are.
        rounded = own.floats and self.format != "npz"
        return own.images * (own.values * (3 if rounded else 2 if own.floats else 1) + 8) + SMALL_BYTES
