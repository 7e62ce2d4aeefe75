"""Kinds of jobs that check and take up what was uploaded."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.archs import LAYOUTS
from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Arch, Seed, ThreatModel

from .base import SETS, Job, SetName

Moments = Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=1, max_length=3)]
Upload = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


ROBUST_STEPS, ROBUST_IMAGES = 20, 1000
"""PGD steps, and the first so many test images, of the robust accuracy in the model card of an imported model."""


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


class Fetch(Job):
    """Fetches a published file: from a folder of this machine where it lies there, else by URL, mirror after mirror.

    What breaks off is gone on with where the server allows it, and the file is there whole or not at all. Only hosts
    that the operator allows are asked (`ROBXFER_FETCH_HOSTS`).
    """

    ARTIFACT = "file"

    kind: Literal["fetch"] = "fetch"
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(\{eps\})?[A-Za-z0-9._-]*$", max_length=128)]
    """Its name, in which `{eps}` stands for the eps below."""
    eps: float | None = Field(default=None, ge=0, le=1000)
    """Of families whose files are named by it: 0.25 is written `0.25`, 3 is written `3`."""
    urls: list[Annotated[str, Field(pattern=r"^https?://[^\s?#]+$", max_length=500)]] = Field(default=[], max_length=10)
    """Where it is published, mirrors after it. One that ends in `/` has the name added."""
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$")] = "models"
    """Under ROBXFER_DATA_ROOT, where the file may lie already."""
    sha256: dict[str, Upload] = Field(default={}, max_length=100)
    """By the file's name. Where it is not there any content is taken, and the job's log says what to write here."""
    max_bytes: int = Field(default=4 << 30, ge=1, le=64 << 30)
    """Most bytes that are taken."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.file == "result.json":
            raise ValueError("another name than that of the job's own result")
        if ("{eps}" in self.file) != (self.eps is not None):
            raise ValueError("`eps` with a `file` that has {eps} in its name, and only then")
        return self

    @property
    def name(self) -> str:
        """The file's name."""
        if self.eps is None:
            return self.file
        short = f"{self.eps:g}"
        return self.file.format(eps=short if float(short) == self.eps else repr(self.eps))


class ImportModel(Job):
    """Checks weights that others trained and keeps them as the same artifact as `train`.

    The file is a .safetensors file, or a PyTorch file that is read without running code in it (`weights_only`): a
    state dict, plain or under `state_dict` or `model`, as torchvision, timm, the CIFAR ResNets and the robustness
    library (Salman et al. 2020) name their parameters. The log says first which tensors are taken, renamed and dropped.
    The number of classes is that of the head.
    """

    ARTIFACT = "model"
    TAKES = {"file": ("fetch",), "dataset": SETS}

    kind: Literal["import_model"] = "import_model"
    upload: Upload | None = None
    """sha256 of an uploaded file (`POST /v1/models`, `robxfer import-model`); or else `file`."""
    file: Ref | None = None
    """A `fetch` job, which has the file."""
    arch: Arch
    """The network; `input_size` is needed for `cnn` alone, the others take 224 (ImageNet stem) or 32 pixels."""
    mean: Moments | None = None
    """Mean that it normalises images by, a channel, in [0,1] pixels. Left out: as `moments` has it, or the file, or
    what is published of the data set."""
    std: Moments | None = None
    """Standard deviation, as `mean`."""
    moments: Literal["imagenet", "cifar10", "cifar100", "mnist", "fashion_mnist"] | None = None
    """Take the published `mean` and `std` of this set."""
    dataset: Ref | None = None
    """On its test split the clean accuracy, and the robust accuracy where eps > 0, of the model card is measured."""
    threat: ThreatModel = ThreatModel(eps=0.0)
    """What it was trained against, by the word of who trained it."""
    seed: Seed = 0
    """Tells several trainings of one kind apart in a report."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.upload is None) == (self.file is None):
            raise ValueError("`upload` or `file`, and not both")
        if (self.mean is None) != (self.std is None) or (self.mean is not None and self.moments is not None):
            raise ValueError("both `mean` and `std`, or `moments`, or none of them")
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
