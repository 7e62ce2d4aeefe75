"""Every kind of job. A job's result is determined by its parameters, its kind's recipe version and its inputs."""

from robxfer_core import __version__

from .base import REPORT, Job
from .data import ControlDataset, Dataset, PerturbDataset, RobustifyDataset
from .export_dataset import ExportDataset
from .imports import Fetch, ImportDataset, ImportModel
from .models import Evaluate, Train
from .probe import Probe
from .simulate import Simulate, SimulateReport
from .source_modification_report import SourceModificationReport
from .stego import DetectStego, EmbedStego, SteganalysisReport
from .transfer import Features, Transfer
from .transfer_gap_report import Report
from .visualize import ComponentVisualizationReport, Visualize
from .which_eps_report import WhichEpsReport

KINDS: dict[str, type[Job]] = {
    str(model.model_fields["kind"].default): model
    for model in (
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
        Report,
        Simulate,
        SimulateReport,
        WhichEpsReport,
        SteganalysisReport,
        SourceModificationReport,
    )
}


def kind_of(name: str) -> type[Job]:
    """The kind of this name. Raises LookupError for one that another version has put in the ledger, with the remedy."""
    if name not in KINDS:
        raise LookupError(f"robxfer {__version__} knows no jobs of kind {name}: update the worker, then retry")
    return KINDS[name]


def leaves_report(kind: str) -> bool:
    """Whether jobs of this kind leave a report; False for a kind of another version, which this one does not know."""
    return kind in KINDS and KINDS[kind].ARTIFACT == REPORT
