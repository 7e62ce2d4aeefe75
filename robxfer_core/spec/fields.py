"""The field's terms, as models: threat model, attack, architecture, optimiser."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .base import Strict

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["fp32", "bf16"]
SetName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
"""What a data set is called."""
Norm = Literal["l2", "linf"]
MomentsName = Literal["imagenet", "cifar10", "cifar100", "mnist", "fashion_mnist"]
"""A data set whose channel means and standard deviations are published."""


def _no_digit_last(queue: Any) -> Any:
    if isinstance(queue, str) and queue[-1:].isdigit():  # `gpu2` is the queue of jobs that compute on two GPUs
        name = queue.rstrip("0123456789")
        raise ValueError(f"a queue that does not end in a digit: {queue} is queue {name} with gpus set")
    return queue


Queue = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9_-]{0,30}[a-z_-])?$"), BeforeValidator(_no_digit_last)]
"""The queue of a job, without the number of GPUs that the service adds."""


class ThreatModel(Strict):
    """What an adversary may do to an image in [0,1]^(C x H x W): move it by at most eps in the norm, inside the box."""

    norm: Norm = "l2"
    """l2: Euclidean norm over all pixels of an image; linf: largest change of a pixel."""
    eps: float = Field(ge=0, le=1000)
    """Radius of the ball, in pixel units of images in [0,1]; 0 is no adversary."""


class Attack(Strict):
    """Projected gradient steps inside a threat model (Madry et al. 2018, section 2)."""

    steps: int = Field(default=7, ge=1, le=10_000)
    """Gradient steps. 7 is the robustness library's default for training."""
    step_size: float | None = Field(default=None, gt=0)
    """Length of a step in the norm, in pixel units. Left out: 2.5 * eps / steps (Madry et al. 2018)."""
    random_start: bool = True
    """Start from a uniform draw in the ball."""
    restarts: int = Field(default=1, ge=1, le=100)
    """Independent runs, of which each image keeps its best iterate."""

    def step(self, eps: float) -> float:
        """The step size for a ball of radius eps."""
        return self.step_size if self.step_size is not None else 2.5 * eps / self.steps


class Apgd(Strict):
    """Auto-PGD (Croce & Hein 2020), which sets its step size itself. Defaults: AutoAttack's."""

    steps: int = Field(default=100, ge=1, le=10_000)
    """Gradient steps of a run."""
    restarts: int = Field(default=1, ge=1, le=100)
    """Runs from random starts, for `apgd_dlr_t` towards each class, of which each image keeps its best iterate."""
    targets: int = Field(default=9, ge=1, le=1000)
    """Classes that `apgd_dlr_t` aims at, those likeliest beside the image's own; at most one less than there are."""


ArchName = Literal[
    "cnn",
    "highpass_cnn",
    "resnet18",
    "resnet50",
    "wide_resnet50_2",
    "wide_resnet50_4",
    "resnext50_32x4d",
    "resnet18_cifar",
    "resnet50_cifar",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
]


class Arch(Strict):
    """A network: an architecture of the registry, its width, and the images it takes."""

    name: ArchName
    """`cnn` is small; `highpass_cnn` finds hidden messages: high-pass filters, then plain layers; `resnet18`,
    `resnet50`, `wide_resnet50_2` and `resnext50_32x4d` are torchvision's, and
    `wide_resnet50_4` is twice as wide as the first of these; `resnetN_cifar` have a 3x3 stem; `cifar_resnetN` are He et
    al. 2016, section 4.2."""
    width: float = Field(default=1.0, gt=0, le=16)
    """Multiplies the channels of every layer (1.0: the published network; `cnn` has 16 channels at 1.0)."""
    input_size: int | None = Field(default=None, ge=4, le=1024)
    """Side of the square image the network computes on; images of another size are resized by its first layer.
    Left out: the size of the images it is trained on."""


class Schedule(Strict):
    """The learning rate over training."""

    kind: Literal["cosine", "step", "constant"] = "cosine"
    """cosine: to 0 over the training; step: times `factor` after each milestone."""
    milestones: list[Fraction] = Field(default=[], max_length=10)
    """For `step`: fractions of the training after which the rate is multiplied by `factor`."""
    factor: float = Field(default=0.1, gt=0, le=1)
    """What a milestone multiplies the rate by."""
    warmup: Fraction = 0.0
    """Fraction of the training in which the rate rises linearly from 0."""


class Sgd(Strict):
    """SGD with momentum. Defaults: the robustness library's for CIFAR (lr .1, momentum .9, weight decay 5e-4)."""

    lr: float = Field(default=0.1, gt=0, le=100)
    """Learning rate, at its largest."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of the heavy-ball method."""
    nesterov: bool = False
    """Nesterov's momentum instead."""
    weight_decay: float = Field(default=5e-4, ge=0, le=10)
    """Added to the gradient, times the weight; on all parameters."""
    schedule: Schedule = Schedule()
    """The learning rate over training."""


class Augment(Strict):
    """What is done to a training batch, on the device."""

    crop: int = Field(default=0, ge=0, le=64)
    """Pad by this many pixels (zeros) and cut a random window of the image's size."""
    flip: bool = False
    """Mirror left-right with probability one half."""
