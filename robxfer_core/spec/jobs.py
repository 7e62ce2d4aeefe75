"""Every kind of job. A job's result is determined by its parameters, its kind's recipe version and its inputs."""

from robxfer_core import __version__

from .job import REPORT, Job
from .kinds.data import ControlDataset, Dataset, PerturbDataset, RobustifyDataset
from .kinds.export import ExportDataset
from .kinds.imports import Fetch, ImportDataset, ImportModel
from .kinds.models import Evaluate, Train
from .kinds.probe import Probe
from .kinds.report import Report
from .kinds.simulate import Simulate, SimulateReport
from .kinds.source_modification import SourceModificationReport
from .kinds.stego import DetectStego, EmbedStego, SteganalysisReport
from .kinds.transfer import Features, Transfer
from .kinds.visualize import ComponentVisualizationReport, Visualize
from .kinds.which_eps import WhichEpsReport

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
