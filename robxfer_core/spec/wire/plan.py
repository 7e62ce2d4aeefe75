"""What `POST /v1/experiments/plan` answers."""

from typing import Any, Literal

from .base import Wire


class PlanInput(Wire):
    """A reference of a planned node."""

    field: str
    index: int
    node: str
    key: str


class PlanNode(Wire):
    """A node of a plan."""

    name: str
    group: str
    kind: str
    key: str
    state: Literal["done", "known", "new"]
    """done: its result is there; known: the job is there and not done; new: nobody has asked for it yet."""
    inputs: list[PlanInput]
    flops: float


class PlanGroup(Wire):
    """The members of one job of the spec, which differ by its matrix."""

    name: str
    kind: str
    nodes: int
    jobs: int
    """Distinct keys among the nodes: what is computed."""
    done: int
    """Of the jobs, those whose result is there already."""
    flops: float
    """Of the jobs that are not done."""
    after: list[str]
    """The groups whose results it takes."""


class PlanCount(Wire):
    """What a plan asks for of one kind of job."""

    nodes: int = 0
    jobs: int = 0
    done: int = 0


class CostView(Wire):
    """What the jobs that are not done yet will take."""

    seconds: float | None
    """Of one device slot working alone; none where there is nothing to go by."""
    wall_seconds: float | None
    """With the slots of the live workers, bounded below by the longest chain of jobs."""
    gpu_seconds: float = 0.0
    """Of all GPUs together; jobs of the queue `cpu` take none."""
    bytes: float = 0.0
    """What the jobs leave in the store."""
    flops: float
    slots: int
    basis: str
    """What the estimate goes by."""


class PlanView(Wire):
    """A plan that was not run: what would be computed, what is done already, what could be detected, what it costs.

    `groups` are in an order in which each comes after what it takes: enough to print the graph.
    """

    name: str
    groups: list[PlanGroup]
    counts: dict[str, PlanCount]
    """By kind."""
    cost: CostView
    detectable_effect: dict[str, Any] | None = None
    """Of each report: the smallest difference of accuracy that its design would likely show."""
    nodes: list[PlanNode]
    edges: list[tuple[str, str]]
    """Pairs (from, to) of node names."""
