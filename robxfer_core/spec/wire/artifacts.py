"""Artifacts and their files, and the data sets that there are."""

from robxfer_core.spec.datasets import DatasetInfo

from .base import Page, Wire


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

    readable: dict[str, DatasetInfo] | None
    """What live and former workers said they can read, by name; none where no worker has ever reported."""
    artifacts: Page[ArtifactView]
