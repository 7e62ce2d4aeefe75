"""Every study: a template in a spec that expands to jobs. Nothing after the plan knows of studies."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from robxfer_core.spec.base import Strict

from .component_visualization import ComponentVisualization
from .component_visualization import expand as expand_component_visualization
from .graph import Graph, Place
from .source_modification import SourceModification
from .source_modification import expand as expand_source_modification
from .steganalysis import Steganalysis
from .steganalysis import expand as expand_steganalysis
from .transfer_gap import TransferGap
from .transfer_gap import expand as expand_transfer_gap
from .which_eps import WhichEps
from .which_eps import expand as expand_which_eps

__all__ = ["STUDIES", "Place", "Study", "expand"]

Study = Annotated[
    TransferGap | WhichEps | ComponentVisualization | Steganalysis | SourceModification, Field(discriminator="kind")
]

STUDIES: dict[str, tuple[type[Strict], Callable[[Graph, Any], None]]] = {
    "transfer_gap": (TransferGap, expand_transfer_gap),
    "which_eps": (WhichEps, expand_which_eps),
    "component_visualization": (ComponentVisualization, expand_component_visualization),
    "steganalysis": (Steganalysis, expand_steganalysis),
    "source_modification": (SourceModification, expand_source_modification),
}
"""Each kind of study: its model, and what adds its jobs to a graph."""


def expand(name: str, study: Study) -> Graph:
    """The study of this name as jobs."""
    graph = Graph(name)
    _, add_jobs = STUDIES[study.kind]
    add_jobs(graph, study)
    return graph
