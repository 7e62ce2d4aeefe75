"""The kind `dataset`: reads a source of images into an artifact."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from robxfer_core.spec.errors import show
from robxfer_core.spec.fields import Seed, SetName

from .base import Artifact, Job, Role
from .results import DatasetResult
from .shapes import ShapeContext, Shapes, at_most


class Dataset(Job):
    """Reads a source of images once into an artifact of uint8 shards, with a train and a test split."""

    ARTIFACT = Artifact.DATASET
    ROLE = Role.SOURCE_DATASET
    ENTRY = "robxfer_core.science.data.read:read_dataset"
    RESULTS = (DatasetResult,)
    FILES = ("dataset.json",)

    kind: Literal["dataset"] = "dataset"
    name: SetName
    """A built-in set (`digits`) or a name under ROBXFER_DATA_ROOT."""
    classes: list[int] | None = Field(default=None, min_length=2, max_length=1000)
    """Keep these classes, relabelled 0, 1, ... in this order."""
    size: int | None = Field(default=None, ge=4, le=1024)
    """Side in pixels: the short side is resized to it and the middle is cut out. Needed for folders of images."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """How images are resized to `size`."""
    max_train: int | None = Field(default=None, ge=2)
    """Keep a stratified draw of this many training images; a smaller one is inside a larger one of the same seed."""
    max_test: int | None = Field(default=None, ge=2)
    """The same, of test images."""
    seed: Seed = 0
    """Draws the subsets and, for a source without a test split, the split."""
    download: bool = False
    """Let torchvision fetch the set if it is not under ROBXFER_DATA_ROOT."""

    def shapes(self, context: ShapeContext) -> Shapes:
        datasets = context.datasets
        if datasets is not None and self.name not in datasets and not self.download:
            names = ", ".join(sorted(datasets)) or "none"
            takes = f"a data set that a worker can read ({names}); others go under ROBXFER_DATA_ROOT"
            raise context.error("name", show(self.name), takes)
        info = (datasets or {}).get(self.name)
        shape, classes = (info["shape"], info["classes"]) if info else (None, None)
        if info and shape is None and self.size is None:
            takes = "a side in pixels, since the images of this set differ in size"
            raise context.error("size", "nothing", takes)
        if self.classes is not None:
            wrong = [c for c in self.classes if c < 0 or (classes is not None and c >= classes)]
            if wrong or len(set(self.classes)) != len(self.classes):
                takes = f"different classes from 0 to {classes - 1 if classes else 'K - 1'}"
                raise context.error("classes", show(self.classes), takes)
        share = len(self.classes) / classes if self.classes is not None and classes else 1.0
        return Shapes(
            channels=shape[0] if shape else 3 if info else None,
            side=self.size or (shape[1] if shape else None),
            classes=len(self.classes) if self.classes is not None else classes,
            train=at_most(_share_of(info["train"] if info else None, share), self.max_train),
            test=at_most(_share_of(info["test"] if info else None, share), self.max_test),
        )

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 100.0 * own.images * own.values

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes


def _share_of(count: int | None, share: float) -> int | None:
    return None if count is None else max(1, round(count * share))
