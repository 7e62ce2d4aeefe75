"""The kind `detect_stego`: how well covers and stegos are told apart."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.base import Ref
from robxfer_core.spec.errors import show
from robxfer_core.spec.fields import Seed
from robxfer_core.spec.units import Pairs, Share

from .base import Artifact, Job
from .results import ModelCard, Outcomes, Record, Result, TaskSummary, is_none
from .shapes import UNKNOWN_IMAGES, UNKNOWN_LENGTH, ShapeContext, Shapes


class ThresholdChoice(Record):
    """The choice of the threshold on validation pairs."""

    pairs: Pairs
    """Validation pairs."""
    p_e: Share
    """P_E on them."""


class DetectStegoResult(Result):
    """How well a detector tells covers and stegos apart on test pairs."""

    model: ModelCard
    """The network that detects, or whose features the detector learnt on."""
    data: TaskSummary
    """The set of covers and stegos."""
    detector: Literal["linear", "network"]
    """linear: logistic regression on features; network: the model's own head."""
    l2: float | None = Field(default=None, exclude_if=is_none)
    """Of the linear detector: the chosen penalty."""
    converged: bool | None = Field(default=None, exclude_if=is_none)
    """Of the linear detector: whether the solver reached its tolerance."""
    threshold: float
    """Scores above it are flagged as stegos."""
    validation: ThresholdChoice
    """How the threshold was chosen."""
    pairs: Pairs
    """Test pairs."""
    p_fa: Share
    """P_FA: share of covers that are flagged."""
    p_md: Share
    """P_MD: share of stegos that are not flagged."""
    p_e: Share
    """P_E = (P_FA + P_MD) / 2."""
    p_null: Share
    """p of a permutation test of chance."""
    flagged: Outcomes
    """Which images are flagged; cover and stego in turn."""


class DetectStego(Job):
    """How well cover and stego are told apart: P_E = (P_FA + P_MD) / 2 on test pairs, chance .5.

    The threshold is the best one on validation pairs, which the detector has not learnt from; with it the test pairs
    are judged. Takes `features` (a linear detector learns on them), or `model` and `dataset` (the model's own head).
    """

    ARTIFACT = Artifact.RESULT
    TAKES = {"features": ("features",), "model": ("train",), "dataset": ("embed_stego",)}

    ENTRY = "robxfer_core.science.stego.detect:detect_stego"
    RESULTS = (DetectStegoResult,)

    kind: Literal["detect_stego"] = "detect_stego"
    features: Ref | None = None
    """A representation of a set by `embed_stego`: logistic regression on standardised features, solved to its end, its
    penalty chosen on the validation pairs."""
    model: Ref | None = None
    """A network trained on `dataset`."""
    dataset: Ref | None = None
    """What it was trained on."""
    validation: float = Field(default=0.2, gt=0, le=0.5)
    """Fraction of the training pairs that sets the threshold. With `model`: the `holdout` that it was trained with, so
    that it is those pairs again."""
    seed: Seed = 0
    """With `features`: draws the validation pairs."""

    @model_validator(mode="after")
    def _one_detector(self) -> Self:
        given = tuple(ref is not None for ref in (self.features, self.model, self.dataset))
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("either `features`, or `model` with the `dataset` that it was trained on")
        return self

    def shapes(self, context: ShapeContext) -> Shapes:
        if self.features is not None:
            if not context[self.features].exact:
                got = f"{show(self.features)}, of another set"
                raise context.error("features", got, "features of a set by embed_stego")
            return context[self.features]
        assert self.model is not None  # the validator: `features`, or `model` and `dataset`
        assert self.dataset is not None
        data, model = context[self.dataset], context[self.model]
        context.check_model_takes(model, data, "model")
        context.check_model_classifies(model, data, "model")
        return replace(model, train=data.train, test=data.test)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        if self.model is None:
            return 2e3 * (own.length or UNKNOWN_LENGTH) * own.images
        return own.forward * (self.validation * (own.train or UNKNOWN_IMAGES) + (own.test or 0))
