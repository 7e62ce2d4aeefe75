"""What the verdict on a panel rests on: its constructed sets and its source networks."""

from collections.abc import Sequence
from dataclasses import dataclass

from robxfer_core.jobs.perturb_dataset import PerturbDatasetResult
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports.sources import SourceChecks

from .collect import Panel
from .constructed import too_rarely_fooling


@dataclass(frozen=True)
class Problem:
    """Why a panel has no verdict."""

    reason: str
    """In words."""
    void: bool
    """Whether the fault is the source networks'."""


def find_problem(panel: Panel, sources: SourceChecks, spec: TransferGapReport) -> Problem | None:
    """Why a panel has no verdict, or None. What others published of their networks is not checked."""
    reason = too_rarely_fooling(panel.sets, spec.min_fooling)
    if reason is not None:
        return Problem(reason, void=False)
    reason = sources.void(panel.eps, [head.eps for head in panel.heads if head.published])
    return Problem(f"void: {reason}", void=True) if reason is not None else None


def chance(panel: Panel, panels: Sequence[Panel]) -> float | None:
    """The accuracy that `relabel_only` and `noise` should not exceed; None where the label follows from the image.

    1 / classes where targets are uniform, 1 / (classes - 1) where they exclude the image's own class; with `shift` the
    class determines the target, and the arms are no control.
    """
    if panel.variant not in ("relabel_only", "noise"):
        return None
    antirobust = [p for p in panels if (p.target, p.variant) == (panel.target, "antirobust")]
    sets = [result for p in antirobust for result in p.sets if isinstance(result, PerturbDatasetResult)]
    modes = {result.targets for result in sets}
    if "shift" in modes:
        return None
    return 1 / (panel.classes - ("uniform_other" in modes))
