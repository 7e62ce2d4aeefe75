"""Kinds that take a representation to a new task."""

from typing import Annotated, Literal

from pydantic import Field

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Precision, Schedule, Seed
from robxfer_core.spec.job import MADE_SETS, MODELS, SETS, Job


class Features(Job):
    """The representation R(x) of every image of a data set, both splits, by one model."""

    ARTIFACT = "features"
    TAKES = {"model": MODELS, "dataset": SETS + MADE_SETS}

    kind: Literal["features"] = "features"
    model: Ref
    """The network."""
    dataset: Ref
    """The images, both splits."""
    precision: Precision = "fp32"
    """bf16: under autocast."""


class Heads(Strict):
    """How linear heads are trained on a representation.

    Defaults: SGD momentum .9, weight decay 5e-4, batch 64, x0.1 every third (Salman et al. 2020, appendix).
    """

    epochs: int = Field(default=60, ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Images of one step."""
    lr: float = Field(default=0.01, gt=0, le=100)
    """The curve's learning rate and weight decay: one of each for the whole family."""
    weight_decay: float = Field(default=5e-4, ge=0, le=10)
    """As `lr`: one for the whole family."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    schedule: Schedule = Schedule(kind="step", milestones=[1 / 3, 2 / 3])
    """The learning rate over the epochs."""
    sizes: list[Annotated[int, Field(ge=2)]] = Field(default=[], max_length=10)
    """Also train on nested stratified subsets of this many training images; the whole split is always trained on."""
    tune_lr: list[Annotated[float, Field(gt=0, le=100)]] = Field(
        default=[0.001, 0.01, 0.1], min_length=1, max_length=20
    )
    """Learning rates of the tuned table."""
    tune_weight_decay: list[Annotated[float, Field(ge=0, le=10)]] = Field(
        default=[0.0, 5e-4], min_length=1, max_length=20
    )
    """Weight decays of the tuned table: every pair is trained and the best on the validation split is reported."""
    validation: float = Field(default=0.2, gt=0, le=0.5)
    """Fraction of the training images, stratified, held out to choose the tuned head (never used for the curve)."""


class Transfer(Heads, Job):
    """Fixed-feature transfer: linear heads on a representation, all of them trained together."""

    ARTIFACT = "result"
    TAKES = {"features": ("features",), "clean": ("features",)}

    kind: Literal["transfer"] = "transfer"
    features: Ref
    """The representation that heads are trained on."""
    clean: Ref | None = None
    """Of a constructed set: R(x) of the set it was made from, by the same model. Its test split, with its own labels,
    is measured beside."""
    images_per_class: int | None = Field(default=None, ge=2, le=100_000)
    """Few-shot: learn from, and tune on, at most this many training images of each class, drawn by `seed` (a smaller
    draw is inside a larger one). Left out: all of them."""
    seed: Seed = 0
    """Drives the subset, the head's start and the order of its batches."""
