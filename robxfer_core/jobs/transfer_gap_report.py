"""The report of the study `transfer_gap`."""

from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Refs, Strict

from .base import MADE_SETS, REPORT, Job
from .transfer import Regime


class Arm(Strict):
    """One panel of a transfer-gap report: a variant of a target, with the heads trained on it."""

    target: str = Field(min_length=1, max_length=80)
    """The data set, as the report calls it."""
    variant: Literal["standard", "antirobust", "relabel_only", "noise", "robust_generator"]
    """As it is, antirobust, or a control arm."""
    transfers: Refs = Field(min_length=1)
    """Heads on every source model's representation, and on random networks'."""
    data: Refs = []
    """The constructed sets, for their fooling rates and norms; empty for `standard`."""


class Report(Job):
    """Statistics, figure and verdict of a transfer-gap study, from the results of its jobs."""

    ARTIFACT = REPORT
    GATHERS = True
    RESULTS_ALONE = True
    TAKES = {
        "sources": ("evaluate",),
        "transfers": ("transfer",),
        "data": MADE_SETS,
    }

    kind: Literal["report"] = "report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    regime: Regime = "fixed_feature"
    """Of its transfers: how the report names them, and its floor (a frozen random network, or one from scratch)."""
    sources: Refs
    """Evaluations of the source models at every level of the family."""
    arms: list[Arm] = Field(min_length=1, max_length=100)
    """The panels."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the levels."""
    min_fooling: float = Field(default=0.9, ge=0, le=1)
    """Fooling rate, on either split, below which a constructed set is `unusable`."""
