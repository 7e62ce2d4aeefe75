"""The kind `embed_stego`: a set of covers, and beside each the image with a hidden message."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Seed
from robxfer_core.spec.units import GreyLevels, Pairs, PixelUnits, Share

from .base import Artifact, Job, Role
from .results import DatasetName, Record, Result, Split
from .shapes import ShapeContext, Shapes

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


class ChangeSummary(Record):
    """What the messages changed, over the images of a split."""

    rate: Share
    """Share of pixels that were changed."""
    mean: GreyLevels
    """Mean change, in grey levels."""
    max: PixelUnits
    """Largest change, in [0,1] pixels."""
    l2: PixelUnits
    """Mean l2 norm of the change, in [0,1] pixels."""


class EmbedStegoResult(Result):
    """A set of covers and stegos."""

    data: DatasetName
    """The set."""
    embedding: Embedding
    """How messages were hidden."""
    pairs: dict[Split, Pairs]
    """Pairs of cover and stego, by split."""
    change: dict[Split, ChangeSummary]
    """What the messages changed, by split."""


class EmbedStego(Embedding, Job):
    """A set of two classes: each image as it is (label 0, cover) and beside it with a message (label 1, stego).

    A pair stays in the split of its image; image 2i is the cover and 2i + 1 its stego. Exact uint8 pixels, never
    decoded from JPEG: its traces would give the message away, or hide it.
    """

    ARTIFACT = Artifact.DATASET
    ROLE = Role.CONSTRUCTED_DATASET
    TAKES = {"dataset": (Role.SOURCE_DATASET,)}
    ENTRY = "robxfer_core.science.stego.embed:embed_stego"
    RESULTS = (EmbedStegoResult,)
    FILES = ("dataset.json", "examples.png")

    kind: Literal["embed_stego"] = "embed_stego"
    dataset: Ref
    """The covers."""
    assume_lossless: bool = False
    """Take images of which nobody knows whether they were once a JPEG (an .npz, an upload): you say that they were
    not. Images that are known to be decoded from JPEG are refused all the same."""
    seed: Seed = 0
    """Draws message, places and signs."""

    def shapes(self, context: ShapeContext) -> Shapes:
        data = context[self.dataset]
        return replace(data, classes=2, train=_twice(data.train), test=_twice(data.test), exact=True)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        # textured: 60 bisections of three entropies; lsb_matching: three draws
        return (2e4 if self.method == "textured" else 100.0) * own.values * own.images

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes


def _twice(count: int | None) -> int | None:
    return None if count is None else 2 * count
