"""The list of all kinds of job.

A job's result is determined by its kind's recipe version, its parameters and its inputs.
"""

from typing import TypeVar

from robxfer_core import __version__

from .base import Artifact, Job
from .component_visualization_report import ComponentVisualizationReport
from .control_dataset import ControlDataset
from .dataset import Dataset
from .detect_stego import DetectStego
from .embed_stego import EmbedStego
from .evaluate import Evaluate
from .export_dataset import ExportDataset
from .features import Features
from .fetch import Fetch
from .import_dataset import ImportDataset
from .import_model import ImportModel
from .perturb_dataset import PerturbDataset
from .probe import Probe
from .robustify_dataset import RobustifyDataset
from .simulate import Simulate
from .simulate_report import SimulateReport
from .source_modification_report import SourceModificationReport
from .steganalysis_report import SteganalysisReport
from .train import Train
from .transfer import Transfer
from .transfer_gap_report import TransferGapReport
from .visualize import Visualize
from .which_eps_report import WhichEpsReport

KINDS: dict[str, type[Job]] = {}
"""All kinds by name."""
PUBLISHED_KINDS: dict[str, str] = {}
"""Names that kinds were first published under, to their names of today."""
K = TypeVar("K", bound=type[Job])


def register(kind: K) -> K:
    """Add a kind to the list; usable as a decorator of its class.

    Raises:
        ValueError: There is a kind of that name.
    """
    name = kind.kind_name()
    if name in KINDS or name in PUBLISHED_KINDS:
        raise ValueError(f"a kind named {name} is registered already")
    KINDS[name] = kind
    if kind.PUBLISHED_KIND is not None:
        PUBLISHED_KINDS[kind.PUBLISHED_KIND] = name
    return kind


for _kind in (
    Dataset,
    Fetch,
    ImportDataset,
    Train,
    ImportModel,
    Evaluate,
    PerturbDataset,
    ControlDataset,
    RobustifyDataset,
    Features,
    Transfer,
    Visualize,
    Probe,
    ComponentVisualizationReport,
    ExportDataset,
    EmbedStego,
    DetectStego,
    TransferGapReport,
    Simulate,
    SimulateReport,
    WhichEpsReport,
    SteganalysisReport,
    SourceModificationReport,
):
    register(_kind)


def find_kind(name: object) -> type[Job] | None:
    """The kind of this name, of today or as first published; None where there is none."""
    return KINDS.get(PUBLISHED_KINDS.get(name, name)) if isinstance(name, str) else None


def get_kind(name: str) -> type[Job]:
    """The kind of this name, of today or as first published.

    Raises:
        LookupError: This version knows no such kind, which another version has put in the ledger.
    """
    kind = find_kind(name)
    if kind is None:
        raise LookupError(f"robxfer {__version__} knows no jobs of kind {name}: update the worker, then retry")
    return kind


def accepted_kinds(kind: type[Job], field: str) -> list[str]:
    """The names of the kinds that a reference may name.

    Args:
        kind: The kind that refers.
        field: The reference's field.
    """
    accepted = kind.TAKES[field]
    return [name for name, other in KINDS.items() if name in accepted or (other.ROLE and other.ROLE in accepted)]


def leaves_report(kind: str) -> bool:
    """Whether jobs of this kind leave a report; False for a kind of another version, which this one does not know."""
    known = find_kind(kind)
    return known is not None and known.ARTIFACT == Artifact.REPORT
