"""Kinds of jobs that check and take up what was uploaded."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.archs import LAYOUTS
from robxfer_core.spec.fields import Arch, Seed, ThreatModel
from robxfer_core.spec.job import Job, SetName

Moments = Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=1, max_length=3)]
Upload = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ImportDataset(Job):
    """Checks an uploaded set of images and reads it into the same artifact as `dataset`.

    The upload is an .npz with x_train, y_train, x_test and y_test (uint8 images), or a .zip, .tar or .tar.gz of
    `train/CLASS/IMAGE` and `test/CLASS/IMAGE` (or `val`), in a folder of its own or not. Without a test split, a
    quarter of the images becomes one.
    """

    ARTIFACT = "dataset"

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


class ImportModel(Job):
    """Checks uploaded weights and keeps them as the same artifact as `train`.

    The upload is a .safetensors file, or a PyTorch file that is read without running code in it (`weights_only`): a
    state dict, plain or under `state_dict` or `model`. Names of parameters are torchvision's, a leading `module.` is
    dropped. The number of classes is that of the head.
    """

    ARTIFACT = "model"

    kind: Literal["import_model"] = "import_model"
    upload: Upload
    """sha256 of the uploaded file (`POST /v1/models`, `robxfer import-model`)."""
    arch: Arch
    """The network; `input_size` is needed for `cnn` alone, the others take 224 (ImageNet stem) or 32 pixels."""
    mean: Moments | None = None
    """Mean that it normalises images by, a channel, in [0,1] pixels. Left out: as `dataset` has it, or the file."""
    std: Moments | None = None
    """Standard deviation, as `mean`."""
    dataset: Literal["imagenet", "cifar10", "cifar100", "mnist", "fashion_mnist"] | None = None
    """Take the published `mean` and `std` of this set."""
    threat: ThreatModel = ThreatModel(eps=0.0)
    """What it was trained against, by the word of who trained it."""
    seed: Seed = 0
    """Tells several trainings of one kind apart in a report."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mean is None) != (self.std is None) or (self.mean is not None and self.dataset is not None):
            raise ValueError("both `mean` and `std`, or `dataset`, or none of them")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ValueError("as many values of `mean` as of `std`, one a channel")
            if min(self.std) <= 0:
                raise ValueError("`std` above 0")
        smallest = LAYOUTS[self.arch.name].smallest
        if self.side is None or self.side < smallest:
            raise ValueError(f"`arch.input_size`, the side of the images that it was trained on, {smallest} or more")
        return self

    @property
    def side(self) -> int | None:
        """Side of the image that it computes on."""
        return self.arch.input_size or {"imagenet": 224, "small": 32}.get(LAYOUTS[self.arch.name].stem)
