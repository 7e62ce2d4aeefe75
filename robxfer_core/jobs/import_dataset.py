"""The kind `import_dataset`: checks an uploaded set of images and reads it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from robxfer_core.spec.fields import Seed, SetName

from .base import Artifact, Job, Role
from .results import DatasetResult
from .shapes import ShapeContext, Shapes

Upload = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ImportDataset(Job):
    """Checks an uploaded set of images and reads it into the same artifact as `dataset`.

    The upload is an .npz with x_train, y_train, x_test and y_test (uint8 images), or a .zip, .tar or .tar.gz of
    `train/CLASS/IMAGE` and `test/CLASS/IMAGE` (or `val`), in a folder of its own or not. Without a test split, a
    quarter of the images becomes one.
    """

    ARTIFACT = Artifact.DATASET
    ROLE = Role.SOURCE_DATASET
    ENTRY = "robxfer_core.science.data.uploads.dataset:import_dataset"
    RESULTS = (DatasetResult,)
    FILES = ("dataset.json",)

    kind: Literal["import_dataset"] = "import_dataset"
    upload: Upload
    """sha256 of the uploaded file (`POST /v1/datasets`, `robxfer import-dataset`)."""
    name: SetName
    """What the set is called."""
    size: int | None = Field(default=None, ge=4, le=1024)
    """Side in pixels: the short side is resized to it and the middle is cut out. Needed where images differ."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """How images are resized to `size`."""
    max_train: int | None = Field(default=None, ge=2)
    """Keep a stratified draw of this many training images."""
    max_test: int | None = Field(default=None, ge=2)
    """The same, of test images."""
    seed: Seed = 0
    """Draws the subsets and, for an upload without a test split, the split."""

    def shapes(self, context: ShapeContext) -> Shapes:
        return Shapes(side=self.size)  # nobody looks into an upload before its job does

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return 100.0 * own.images * own.values

    def stored_bytes(self, own: Shapes) -> float:
        return own.dataset_bytes
