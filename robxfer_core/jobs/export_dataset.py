"""The kind that writes a data set in formats that other software reads."""

from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Ref

from .base import MADE_SETS, SETS, Job


class ExportDataset(Job):
    """Writes a data set, constructed or not, to be taken away (`robxfer pull`), with a README.md on how it was made.

    PNG holds 8 bits a channel: the pixels of a float16 set are rounded to the nearest 1/255 there, and exact.npz beside
    has them as they are. Equal sets give equal bytes.
    """

    ARTIFACT = "export"
    TAKES = {"dataset": SETS + MADE_SETS}

    kind: Literal["export_dataset"] = "export_dataset"
    dataset: Ref
    """The set to write, both splits."""
    format: Literal["folder", "npz", "parquet", "webdataset"]
    """folder: images.zip with SPLIT/CLASS/NUMBER.png; npz: dataset.npz with x_train, y_train, x_test, y_test (images
    channels-last; and original_train, original_test where labels are not the images' own); parquet: files that Hugging
    Face `datasets` opens; webdataset: tar shards of NUMBER.png, NUMBER.cls and NUMBER.json."""
    shard: int = Field(default=4096, ge=1, le=1_000_000)
    """Most images of a file (parquet, webdataset)."""
