"""Every study: a template in a spec that expands to jobs. Nothing after the plan knows of studies."""

from collections.abc import Callable
from typing import Any

from .graph import Graph, Place
from .transfer_gap import TransferGap
from .transfer_gap import expand as expand_transfer_gap

__all__ = ["STUDIES", "Place", "Study", "expand"]

Study = TransferGap

STUDIES: dict[str, tuple[type[Study], Callable[[Graph, Any], None]]] = {
    "transfer_gap": (TransferGap, expand_transfer_gap),
}
"""Each kind of study: its model, and what adds its jobs to a graph."""


def expand(name: str, study: Study) -> Graph:
    """The study of this name as jobs."""
    graph = Graph(name)
    _, add_jobs = STUDIES[study.kind]
    add_jobs(graph, study)
    return graph
