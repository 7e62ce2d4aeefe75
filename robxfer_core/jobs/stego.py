"""Kinds of steganalysis: sets of covers and stegos, how well they are told apart, and the study's report."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.base import Ref, Refs, Strict
from robxfer_core.spec.fields import Seed

from .base import REPORT, SETS, Job

Method = Literal["lsb_matching", "textured"]
Payload = Annotated[float, Field(gt=0, le=1)]


class Embedding(Strict):
    """How a message is hidden in an image. No pixel changes by more than one grey level."""

    method: Method = "lsb_matching"
    """lsb_matching: a pixel is chosen with probability `payload`; where its lowest bit is not the message's, it moves
    by +1 or -1 at random (Sharp 2001; 0 only up, 255 only down). textured: +1 or -1 where a change costs little, by the
    costs of HILL (Li et al. 2014), as an optimal code would at that payload (Filler and Fridrich 2010)."""
    payload: Payload = 1.0
    """Bits of message a pixel, of each channel. Changed pixels: lsb_matching payload / 2; textured fewer, since a code
    saves changes (.23 at payload 1, .06 at .4, where costs are equal)."""


class EmbedStego(Embedding, Job):
    """A set of two classes: each image as it is (label 0, cover) and beside it with a message (label 1, stego).

    A pair stays in the split of its image; image 2i is the cover and 2i + 1 its stego. Exact uint8 pixels, never
    decoded from JPEG: its traces would give the message away, or hide it.
    """

    ARTIFACT = "dataset"
    TAKES = {"dataset": SETS}

    kind: Literal["embed_stego"] = "embed_stego"
    dataset: Ref
    """The covers."""
    assume_lossless: bool = False
    """Take images of which nobody knows whether they were once a JPEG (an .npz, an upload): you say that they were
    not. Images that are known to be decoded from JPEG are refused all the same."""
    seed: Seed = 0
    """Draws message, places and signs."""


class DetectStego(Job):
    """How well cover and stego are told apart: P_E = (P_FA + P_MD) / 2 on test pairs, chance .5.

    The threshold is the best one on validation pairs, which the detector has not learnt from; with it the test pairs
    are judged. Takes `features` (a linear detector learns on them), or `model` and `dataset` (the model's own head).
    """

    ARTIFACT = "result"
    TAKES = {"features": ("features",), "model": ("train",), "dataset": ("embed_stego",)}

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


class StegoArm(Strict):
    """One task of a steganalysis report: covers and stegos by one method at one payload."""

    label: str = Field(min_length=1, max_length=80)
    """The task, as the report calls it."""
    embedding: Refs = Field(min_length=1)
    """The set, for its change rate and norm."""
    detections: Refs = Field(min_length=1)
    """Linear detectors on every source model's representation, and on random networks'."""
    reference: Refs = Field(min_length=1)
    """The high-pass networks, trained on the task itself."""


class SteganalysisReport(Job):
    """Statistics, figure and verdicts of a steganalysis study, from the results of its jobs."""

    RECIPE = 3
    ARTIFACT = REPORT
    GATHERS = True
    RESULTS_ALONE = True
    TAKES = {
        "sources": ("evaluate",),
        "embedding": ("embed_stego",),
        "detections": ("detect_stego",),
        "reference": ("detect_stego",),
    }

    kind: Literal["steganalysis_report"] = "steganalysis_report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    sources: Refs
    """Evaluations of the source models at every level of the family."""
    arms: list[StegoArm] = Field(min_length=1, max_length=20)
    """The tasks."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of 1 - P_E within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the levels."""
    max_p_e: float = Field(default=0.4, gt=0, le=0.5)
    """A task is `unusable` unless the high-pass networks' mean P_E is below this, and some source's is below chance."""
