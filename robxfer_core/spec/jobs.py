"""Every kind of job. A job's result is determined by its parameters, its kind's recipe version and its inputs."""

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


def leaves_report(kind: str) -> bool:
    """Whether jobs of this kind leave a report; False for a kind of another version, which this one does not know."""
    return kind in KINDS and KINDS[kind].ARTIFACT == REPORT
