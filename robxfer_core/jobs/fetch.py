"""The kind `fetch`: fetches a published file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.units import Bytes

from .base import Artifact, Job
from .import_dataset import Upload
from .results import Result
from .shapes import Shapes

FILE_BYTES = 200e6
"""Estimate for a file whose size the server will tell: about that of a published ResNet-50 checkpoint."""


class FetchResult(Result):
    """The file that was fetched."""

    file: str
    """Its name in the artifact."""
    source: str
    """Where it came from: a URL, or a path under ROBXFER_DATA_ROOT."""
    sha256: str
    """Of its content, in hex."""
    bytes: Bytes
    """Its size."""


class Fetch(Job):
    """Fetches a published file: from a folder of this machine where it lies there, else by URL, mirror after mirror.

    What breaks off is gone on with where the server allows it, and the file is there whole or not at all. Only hosts
    that the operator allows are asked (`ROBXFER_FETCH_HOSTS`).
    """

    ARTIFACT = Artifact.FILE
    ENTRY = "robxfer_core.science.data.fetch:fetch"
    RESULTS = (FetchResult,)

    kind: Literal["fetch"] = "fetch"
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\{eps\})?[A-Za-z0-9._-]*$", max_length=128)]
    """Its name, in which `{eps}` stands for the eps below."""
    eps: float | None = Field(default=None, ge=0, le=1000)
    """Of families whose files are named by it: 0.25 is written `0.25`, 3 is written `3`."""
    urls: list[Annotated[str, Field(pattern=r"^https?://[^\s?#]+$", max_length=500)]] = Field(default=[], max_length=10)
    """Where it is published, mirrors after it. One that ends in `/` has the name added."""
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")] = "models"
    """Under ROBXFER_DATA_ROOT, where the file may lie already."""
    sha256: dict[str, Upload] = Field(default={}, max_length=100)
    """By the file's name. Where it is not there any content is taken, and the job's log says what to write here."""
    max_bytes: int = Field(default=4 << 30, ge=1, le=64 << 30)
    """Most bytes that are taken."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.file == "result.json":
            raise ValueError("another name than that of the job's own result")
        if ("{eps}" in self.file) != (self.eps is not None):
            raise ValueError("`eps` with a `file` that has {eps} in its name, and only then")
        return self

    @property
    def name(self) -> str:
        """The file's name."""
        if self.eps is None:
            return self.file
        short = f"{self.eps:g}"
        return self.file.format(eps=short if float(short) == self.eps else repr(self.eps))

    def stored_bytes(self, own: Shapes) -> float:
        return FILE_BYTES
