"""What every kind of job has: the words of its references, and how it is run."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from robxfer_core.spec.base import Strict


def _no_digit_last(queue: Any) -> Any:
    if isinstance(queue, str) and queue[-1:].isdigit():  # no worker could tell it from a queue of jobs of so many GPUs
        name = queue.rstrip("0123456789")
        raise ValueError(f"a queue that does not end in a digit: {queue} is queue {name} with gpus set")
    return queue


Queue = Annotated[str, BeforeValidator(_no_digit_last), Field(pattern=r"^[a-z]([a-z0-9_-]{0,30}[a-z_-])?$")]
SetName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]

SETS = ("dataset", "import_dataset")
MADE_SETS = ("perturb_dataset", "control_dataset", "robustify_dataset", "embed_stego")
REPORT = "report"
"""The type of artifact that ends a study. The kinds that leave one are named `report` or `..._report`."""
MODELS = ("train", "import_model")


class Retries(Strict):
    """How many further attempts a job is given after one that ended badly, by how it ended.

    A preempted or stopped attempt spends none. A number in place of this is meant for `failed` and `timed_out`.
    """

    failed: int = Field(default=2, ge=0, le=20)
    """The job raised an error, or its process died."""
    timed_out: int = Field(default=2, ge=0, le=20)
    """It took longer than `deadline_s`."""
    out_of_memory: int = Field(default=0, ge=0, le=20)
    """The device or the machine had too little memory, which another try seldom changes."""
    lost: int = Field(default=2, ge=0, le=100)
    """Its worker was not heard of for a lease, or had no database for one. Counted since the last checkpoint: if there
    are more without progress, it is likely the job that kills its workers."""


def _retries(value: Any) -> Any:
    return {"failed": value, "timed_out": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Running(Strict):
    """How a job is run. None of it changes a result, so none of it is in the key; the largest wanted counts."""

    queue: Queue = "cpu"
    """The queue whose workers may take the job: `cpu`, `gpu`, or a name of your own that does not end in a digit."""
    gpus: int = Field(default=1, ge=1, le=8)
    """GPUs that a `train` job computes on together (in a queue of the CPU: processes); every other kind takes 1. One
    of more than 1 waits in the queue named so, `gpu2`. Results are equal up to the rounding of sums."""
    priority: int = Field(default=0, ge=-100, le=100)
    """Higher is claimed first."""
    deadline_s: int = Field(default=7 * 24 * 3600, ge=1)
    """Seconds an attempt may take before it is killed as timed_out."""
    retries: Annotated[Retries, BeforeValidator(_retries)] = Retries()
    """Further attempts by how the last one ended; a number n is `{failed: n, timed_out: n}`."""
    backoff_s: float = Field(default=5.0, ge=0, le=3600)
    """Seconds before the first further attempt; doubled for each after it, to 10 minutes. A first loss is free."""

    @property
    def full_queue(self) -> str:
        """The queue that the job waits in."""
        return f"{self.queue}{self.gpus}" if self.gpus > 1 else self.queue


class Job(Strict):
    """What all kinds share."""

    RECIPE: ClassVar[int] = 1
    """Raised when the kind's computation changes, so that old results are not taken for new ones."""
    ARTIFACT: ClassVar[str]
    """The type of what the job leaves."""
    TAKES: ClassVar[dict[str, tuple[str, ...]]] = {}
    """For each reference (by its field's name), the kinds that it may name."""

    GATHERS: ClassVar[bool] = False
    """Whether its references take every member of the jobs they name, rather than fan out over them."""
    RESULTS_ALONE: ClassVar[bool] = False
    """Whether it reads nothing of its inputs but their result.json."""
    TEAM: ClassVar[bool] = False
    """Whether several GPUs can compute it together."""

    run: Running | None = None
    """Overrides the experiment's `run` for this job."""

    def params(self) -> dict[str, Any]:
        """The parameters that determine the result, as JSON."""
        return self.model_dump(mode="json", exclude={"run", "kind"})
