"""Records that worker, ledger, store and HTTP interface hand to one another, and that the ledger keeps as JSON."""

from typing import NotRequired

from typing_extensions import TypedDict  # the standard library's is taken by pydantic from Python 3.12 on


class FileEntry(TypedDict):
    """One file of an artifact, a checkpoint or an upload."""

    path: str
    """Relative to the folder, with forward slashes."""
    size: int
    """Bytes."""
    sha256: str
    """In hex."""


class Manifest(TypedDict):
    """The files that a job left, and the job that left them."""

    files: list[FileEntry]
    """Ordered by path."""
    type: str
    """The type of the artifact, or `checkpoint`."""
    kind: str
    """The kind of the job."""
    key: str
    """The key of the job."""


class Checkpoint(Manifest):
    """A checkpoint's manifest, with the place of its files."""

    prefix: str
    """The files are in the store under this name and a slash."""


class Progress(TypedDict):
    """How far a running job is: `done` of `total`."""

    done: float
    total: float
    unit: str
    """What is counted, such as `epoch`."""


ErrorRecord = TypedDict(
    "ErrorRecord",
    {
        "class": NotRequired[str],  # the name of the exception, or how the process ended: Exit, Killed, TimedOut
        "message": str,
        "trace": NotRequired[list[str]],  # the last lines of the traceback
        "output": NotRequired[list[str]],  # the last lines that the process wrote
        "rank": NotRequired[int],  # of several processes, the one that failed
    },
)
"""Why an attempt did not succeed."""

MetricValue = tuple[str, int, float]
"""A measured value: its name, its step and the value."""
