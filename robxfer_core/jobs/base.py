"""What every kind of job has: how it refers to other jobs, what it leaves, and how it is run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Queue

from .results import Result
from .shapes import SMALL_BYTES, SMALL_FLOPS, ShapeContext, Shapes


class Artifact(StrEnum):
    """The type of what a job leaves."""

    DATASET = "dataset"
    MODEL = "model"
    FEATURES = "features"
    FILE = "file"
    EXPORT = "export"
    RESULT = "result"
    REPORT = "report"


class Role(StrEnum):
    """What a job can be to another one. Several kinds can have one role; a reference names the roles that it takes."""

    SOURCE_DATASET = "source_dataset"
    """Images as they were read or uploaded."""
    CONSTRUCTED_DATASET = "constructed_dataset"
    """Images that a job has made from others."""
    MODEL = "model"
    """A trained network."""


DATASETS = (Role.SOURCE_DATASET, Role.CONSTRUCTED_DATASET)
"""Roles of a reference that takes any data set."""


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


@dataclass(frozen=True)
class Design:
    """What a report compares, for the effect that it can detect."""

    seeds: int
    """Independent repetitions of each level."""
    levels: int
    """The first of them is what the others are compared with."""
    targets: int
    """Families of comparisons that the error is held over."""
    compared: str = "levels"
    """What the levels are, in words."""
    margin: float = 0.0
    """Differences of accuracy up to this count as none."""
    confidence: float = 0.95
    """Of the intervals."""

    @classmethod
    def of_family(cls, seeds: Mapping[float, set[int]], targets: int, margin: float, confidence: float) -> Self:
        """The design of a report that compares the levels of a family, given the seeds of each level."""
        fewest = min(map(len, seeds.values()), default=0)
        return cls(fewest, len(seeds), targets, margin=margin, confidence=confidence)


SeedsByLevel = Callable[[Iterable[str]], Mapping[float, set[int]]]
"""The seeds of the source models by eps, for the keys of jobs that were computed with those models."""


class Job(Strict):
    """A kind of job: its parameters, and what the planner and the worker ask about it.

    A kind is one module: a subclass of this with a field `kind`, its result's model, and the name of the function that
    computes it. `registry.py` lists all kinds.
    """

    RECIPE: ClassVar[int] = 1
    """Raised when the kind's computation changes, so that old results are not taken for new ones."""
    ARTIFACT: ClassVar[Artifact]
    """The type of what the job leaves."""
    ROLE: ClassVar[Role | None] = None
    """What it can be to other jobs, beside its own kind."""
    TAKES: ClassVar[dict[str, tuple[str, ...]]] = {}
    """For each reference, by its field's name, the roles and kinds that it may name."""
    ENTRY: ClassVar[str]
    """The function that computes it, as `module:name`: (parameters, inputs, run) -> result. Imported when it runs."""
    RESULTS: ClassVar[tuple[type[Result], ...]]
    """The model of its result.json; several where its modes leave different ones."""
    FILES: ClassVar[tuple[str, ...]] = ()
    """Files that it leaves beside result.json, at the least."""
    GATHERS: ClassVar[bool] = False
    """Whether its references take every member of the jobs they name, rather than fan out over them."""
    RESULTS_ONLY: ClassVar[bool] = False
    """Whether it reads nothing of its inputs but their result.json."""
    SEVERAL_GPUS: ClassVar[bool] = False
    """Whether several GPUs can compute it together."""
    DISTINCT: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of references that have to name two different networks."""
    PUBLISHED_KIND: ClassVar[str | None] = None
    """The kind's name as first published, where it was renamed: keys are computed over that, and specs may use it."""
    PUBLISHED_NAMES: ClassVar[dict[str, str]] = {}
    """Parameters that were renamed: today's name to the one first published, over which keys are computed."""

    run: Running | None = None
    """Overrides the experiment's `run` for this job."""

    @model_validator(mode="before")
    @classmethod
    def _accept_published_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if cls.PUBLISHED_KIND is not None and given.get("kind") == cls.PUBLISHED_KIND:
            given = {**given, "kind": cls.kind_name()}
        renamed = {old: new for new, old in cls.PUBLISHED_NAMES.items() if old in given and new not in given}
        return {renamed.get(name, name): value for name, value in given.items()}

    @classmethod
    def kind_name(cls) -> str:
        """The kind's name."""
        return str(cls.model_fields["kind"].default)

    def params(self) -> dict[str, Any]:
        """The parameters that determine the result, as JSON."""
        return self.model_dump(mode="json", exclude={"run", "kind"})

    def key_content(self, params: dict[str, Any]) -> dict[str, Any]:
        """What the job's key is the digest of, under the names first published.

        Args:
            params: The parameters, with the keys of its inputs where it refers to jobs.
        """
        published = {self.PUBLISHED_NAMES.get(name, name): value for name, value in params.items()}
        return {"kind": self.PUBLISHED_KIND or self.kind_name(), "recipe": self.RECIPE, "params": published}

    def shapes(self, context: ShapeContext) -> Shapes:
        """The shapes of the result.

        Raises:
            SpecError: The parameters do not fit the inputs, such as a model that cannot take the images.
        """
        return Shapes()

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        """Floating-point operations, to leading order (a backward pass counts as two forward passes).

        Args:
            inputs: Shapes of the jobs that it refers to, by reference.
            own: Shapes of its result.
        """
        return SMALL_FLOPS

    def stored_bytes(self, own: Shapes) -> float:
        """Bytes that it leaves in the store, to leading order, from the shapes of its result."""
        return SMALL_BYTES

    def design(self, seeds: SeedsByLevel) -> Design | None:
        """What a report compares; None for a job that compares nothing."""
        return None
