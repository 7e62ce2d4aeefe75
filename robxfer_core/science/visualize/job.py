"""The job `visualize`, by its mode."""

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.visualize import ComponentResult, InversionResult, Visualize
from robxfer_core.science.support.precision import same_kernels

from .component import component
from .inversion import inversion


def visualize(spec: Visualize, inputs: Inputs, run: Run) -> ComponentResult | InversionResult:
    """Leave visualization.npz and visualization.png; see the mode's function."""
    with same_kernels():
        return component(spec, inputs, run) if spec.mode == "component" else inversion(spec, inputs, run)
