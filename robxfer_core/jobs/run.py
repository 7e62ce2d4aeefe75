"""What a job's function is given: its inputs, and the little it may do to the outside world."""

import atexit
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class Preempted(Exception):
    """Raised out of `Run.checkpoint` when the job was told to stop: its checkpoint is safe, the rest comes later."""


@dataclass(frozen=True)
class Input:
    """One input artifact."""

    path: Path
    """Its folder, to read only."""
    key: str
    """The key of the job that made it."""


class Inputs:
    """A job's input artifacts by the field that refers to them: `model`, `sources`, `arms.0.transfers`."""

    def __init__(self, fields: Mapping[str, Sequence[Input]]) -> None:
        self._fields = {name: list(inputs) for name, inputs in fields.items()}

    def all(self, field: str) -> list[Input]:
        """The inputs of a list field in its order; [] where it has none."""
        return list(self._fields.get(field, ()))

    def one(self, field: str) -> Input:
        """The input of a field that holds a single reference. KeyError if there is not exactly one."""
        inputs = self.all(field)
        if len(inputs) != 1:
            raise KeyError(f"input {field!r}: got {len(inputs)}; takes 1")
        return inputs[0]

    def maybe(self, field: str) -> Input | None:
        """The input of an optional reference, or None."""
        return self.one(field) if self._fields.get(field) else None


class Run(ABC):
    """One attempt at a job, as seen from inside it."""

    key: str
    """The job's key, 64 hex digits."""
    device: str
    """`cpu` or `cuda:0`."""
    out: Path
    """The folder that becomes the artifact."""
    data_root: Path | None
    """Where sources of images lie (ROBXFER_DATA_ROOT)."""
    fetch_hosts: Sequence[str] = ()
    """Hosts that files may be fetched from."""
    resume: Path | None
    """Folder of the last checkpoint, to read only; None at a fresh start."""
    rank: int = 0
    """Which of the processes that compute the job together this is, of `ranks`."""
    ranks: int = 1

    @abstractmethod
    def progress(self, done: int, total: int, unit: str) -> None:
        """Say how far the job is. Cheap enough for an inner loop."""

    @abstractmethod
    def metric(self, name: str, step: int, value: float) -> None:
        """Record a value; the same name and step again replaces it, so a resumed job repeats nothing."""

    @abstractmethod
    def log(self, line: str) -> None:
        """Add a line to the job's log."""

    @abstractmethod
    def checkpoint_due(self) -> bool:
        """Whether to checkpoint now: the interval has passed, or the job was told to stop."""

    @abstractmethod
    def checkpoint(self, write: Callable[[Path], None]) -> None:
        """Keep what `write(folder)` leaves in a new folder. Raises Preempted after that if the job was told to stop."""


class LocalRun(Run):
    """A run without a service, for library use and tests.

    Everything lies in one folder, by default a temporary one that goes with the process.
    With `stop_at=n` the n-th time that `checkpoint_due` is asked, it says yes, and the checkpoint raises Preempted;
    `LocalRun(resume=first.saved)` then goes on from there.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        key: str = "0" * 64,
        device: str = "cpu",
        data_root: Path | None = None,
        resume: Path | None = None,
        stop_at: int | None = None,
        fetch_hosts: Sequence[str] = (),
    ) -> None:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="robxfer-run-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.folder, self.out = folder, folder / "out"
        self.out.mkdir(parents=True, exist_ok=True)
        self.key, self.device, self.data_root, self.resume = key, device, data_root, resume
        self.metrics: dict[tuple[str, int], float] = {}
        self.lines: list[str] = []
        self.done: tuple[int, int, str] | None = None
        self.saved: Path | None = None
        self.asked = 0
        """How often `checkpoint_due` was."""
        self.fetch_hosts = fetch_hosts
        self._stop_at = stop_at

    def progress(self, done: int, total: int, unit: str) -> None:
        self.done = (done, total, unit)

    def metric(self, name: str, step: int, value: float) -> None:
        self.metrics[name, step] = value

    def log(self, line: str) -> None:
        self.lines.append(line)

    def checkpoint_due(self) -> bool:
        self.asked += 1
        return self.asked == self._stop_at

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        folder = self.folder / f"checkpoint-{self.asked}"
        folder.mkdir()
        write(folder)
        self.saved = folder
        if self.asked == self._stop_at:
            raise Preempted
