"""The kind `import_model`: checks weights that others trained and keeps them as a model."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.archs import LAYOUTS, representation
from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Arch, MomentsName, Seed, ThreatModel

from .base import Artifact, Job, Role
from .import_dataset import Upload
from .results import ModelCard, Result
from .shapes import SMALL_FLOPS, UNKNOWN_IMAGES, ShapeContext, Shapes

Moments = Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=1, max_length=3)]

ROBUST_STEPS = 20
"""PGD steps of the robust accuracy in the model card."""
ROBUST_IMAGES = 1000
"""Test images, the first so many, of the robust accuracy in the model card."""


class ImportModelResult(Result):
    """The model that was imported."""

    model: ModelCard
    """What the network is, with its measured accuracy where a data set was named."""
    names: list[str]
    """Which tensors were taken, renamed and dropped, a line each."""


class ImportModel(Job):
    """Checks weights that others trained and keeps them as the same artifact as `train`.

    The file is a .safetensors file, or a PyTorch file that is read without running code in it (`weights_only`): a
    state dict, plain or under `state_dict` or `model`, as torchvision, timm, the CIFAR ResNets and the robustness
    library (Salman et al. 2020) name their parameters. The log says first which tensors are taken, renamed and dropped.
    The number of classes is that of the head.
    """

    ARTIFACT = Artifact.MODEL
    ROLE = Role.MODEL
    TAKES = {"file": ("fetch",), "dataset": (Role.SOURCE_DATASET,)}
    ENTRY = "robxfer_core.science.weights.import_model:import_model"
    RESULTS = (ImportModelResult,)
    FILES = ("model.json", "model.safetensors", "mapping.json")

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
    moments: MomentsName | None = None
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

    def shapes(self, context: ShapeContext) -> Shapes:
        return Shapes(side=self.side, arch=self.arch, length=representation(self.arch))

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        if self.dataset is None:
            return SMALL_FLOPS
        attacked = ROBUST_IMAGES * 3 * ROBUST_STEPS if self.threat.eps > 0 else 0
        return own.forward * ((inputs[self.dataset].test or UNKNOWN_IMAGES) + attacked)

    def stored_bytes(self, own: Shapes) -> float:
        return own.model_bytes
