"""Plans: the answer of `POST /v1/experiments/plan`."""

from typing import Any, Literal

from .base import Wire


class PlanInput(Wire):
    """An input of a planned node."""

    field: str
    """The parameter that refers to it: `model`, `arms.0.transfers`."""
    index: int
    """Position in a parameter that is a list."""
    node: str
    """Name of the input's node."""
    key: str
    """Content key of the input's job."""


class PlanNode(Wire):
    """A node of a plan."""

    name: str
    """Such as `gap.source[eps=0.5,seed=1]`."""
    group: str
    """The job of the spec that the node is a member of."""
    kind: str
    key: str
    """Content key of the job."""
    state: Literal["done", "known", "new"]
    """`done`: the result exists. `known`: the job exists and is not done. `new`: the job does not exist yet."""
    inputs: list[PlanInput]
    flops: float
    """Floating-point operations of the job, estimated."""


class PlanGroup(Wire):
    """The nodes of one job of the spec, which differ by its matrix."""

    name: str
    kind: str
    nodes: int
    """How many nodes."""
    jobs: int
    """How many distinct keys the nodes have: so many jobs are computed."""
    done: int
    """How many of the jobs are done already."""
    flops: float
    """Floating-point operations of the jobs that are not done."""
    after: list[str]
    """The groups whose results it uses."""


class PlanCount(Wire):
    """Number of nodes and jobs of one kind."""

    nodes: int = 0
    jobs: int = 0
    """Distinct keys among the nodes."""
    done: int = 0
    """How many of the jobs are done already."""


class CostView(Wire):
    """An estimate of what the jobs that are not done will take."""

    seconds: float | None
    """Seconds on one slot; none where nothing is known to estimate it from."""
    wall_seconds: float | None
    """Seconds on the slots of the live workers, at least those of the longest chain of jobs."""
    gpu_seconds: float = 0.0
    """Seconds of all GPUs together; jobs of the queue `cpu` take none."""
    bytes: float = 0.0
    """Bytes that the results take in the store."""
    flops: float
    """Floating-point operations."""
    slots: int
    """Slots that `wall_seconds` counts with."""
    basis: str
    """What the estimate is based on."""


class PlanView(Wire):
    """A plan: what a spec would compute, what is done already, what could be detected and what it costs."""

    name: str
    """Name of the spec."""
    groups: list[PlanGroup]
    """Each group comes after the groups whose results it uses."""
    counts: dict[str, PlanCount]
    """By kind of job."""
    cost: CostView
    detectable_effect: dict[str, Any] | None = None
    """By report job: the smallest difference of accuracy that its design would likely detect."""
    nodes: list[PlanNode]
    edges: list[tuple[str, str]]
    """Pairs (from, to) of node names."""
