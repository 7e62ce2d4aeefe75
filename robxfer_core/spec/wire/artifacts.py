"""Artifacts with their files, and data sets."""

from robxfer_core.spec.datasets import DatasetInfo

from .base import Page, Wire


class FileView(Wire):
    """A file of an artifact."""

    path: str
    """Path inside the artifact, with `/` between folders."""
    size: int
    """Bytes."""
    sha256: str
    """In hex."""


class ArtifactView(Wire):
    """The result of a job: an immutable manifest of named files."""

    id: str
    type: str
    """`model`, `dataset`, `features`, `file`, `export`, `result` or `report`."""
    kind: str = ""
    """Kind of the job."""
    job_id: str
    key: str
    """Content key of the job."""
    bytes: int
    """Size of all files."""
    created_at: float
    pinned_at: float | None = None
    """Since when it is kept from garbage collection; none where it is not pinned."""
    files: list[FileView]


class DatasetsView(Wire):
    """The data sets that specs can name, and those that jobs have made."""

    readable: dict[str, DatasetInfo] | None
    """What workers, live or not, have reported that they can read, by name; none where no worker ever reported."""
    artifacts: Page[ArtifactView]
    """Artifacts of type `dataset`."""
