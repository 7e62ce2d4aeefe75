"""Kinds that read and construct data sets."""

from typing import Literal

from pydantic import Field

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Attack, Precision, Seed, ThreatModel

from .base import MODELS, SETS, Job, SetName


class Dataset(Job):
    """Reads a source of images once into an artifact of uint8 shards, with a train and a test split."""

    ARTIFACT = "dataset"

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


class RaiseEps(Strict):
    """Raise eps until the perturbation fools its generator often enough, as the robust-generator control needs."""

    until: float = Field(default=0.9, gt=0, le=1)
    """Fooling rate, on up to 512 training images, at which eps is enough."""
    factor: float = Field(default=1.25, gt=1, le=4)
    """What eps is multiplied by from one try to the next."""
    limit: float = Field(gt=0, le=1000)
    """Largest eps tried."""


class PerturbDataset(Job):
    """The antirobust variant: each image is moved towards a target class of a generator and labelled with it.

    Both splits are made. Source: Ilyas et al. 2019, section 3.2 (D_rand, D_det); the paper's section 4.2.
    """

    ARTIFACT = "dataset"
    TAKES = {"dataset": SETS, "generator": MODELS}

    kind: Literal["perturb_dataset"] = "perturb_dataset"
    dataset: Ref
    """The set whose images are moved."""
    generator: Ref
    """A network that classifies this very data set."""
    threat: ThreatModel
    """eps is in pixels of the stored image."""
    attack: Attack = Attack(steps=100, random_start=False)
    """PGD, targeted. Ilyas et al. 2019 take 100 steps of .1 for l2 .5."""
    targets: Literal["uniform", "uniform_other", "shift"] = "uniform"
    """uniform: any class, the image's own too; uniform_other: any but its own; shift: y + 1 mod K."""
    raise_eps: RaiseEps | None = None
    """Take a larger eps where this one fools the generator too rarely."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept; the fooling rate after storing is reported."""
    seed: Seed = 0
    """Draws the targets."""
    precision: Precision = "fp32"
    """bf16: under autocast."""


class ControlDataset(Job):
    """A control arm of a perturbed set: the same targets as labels, without the perturbation that carries them."""

    ARTIFACT = "dataset"
    TAKES = {"like": ("perturb_dataset",), "dataset": SETS}

    kind: Literal["control_dataset"] = "control_dataset"
    like: Ref
    """The perturbed set whose targets (and, for `noise`, whose norm for each image) are taken."""
    dataset: Ref
    """The set that it was made from."""
    arm: Literal["relabel_only", "noise"]
    """relabel_only: the unchanged image with the target as label; noise: a random direction of the same norm."""
    seed: Seed = 0
    """Draws the directions of the noise."""


class RobustifyDataset(Job):
    """The robust (or non-robust) variant: images that a generator represents as it does the set's, made from others.

    Each training image x is replaced by x_r, which begins as a *seed image* drawn from `seed_data` and is moved until
    the generator's representation of it is near that of x; it keeps the label of x. What x_r shares with x is what the
    generator sees. With an adversarially trained generator (eps > 0) the variant is `robust`, with a standard one
    `nonrobust`. Training images alone are made: the test split is that of `dataset`, unchanged, as source models are
    measured on it. Source: Ilyas et al. 2019, section 3.1 (D_rob, D_nonrob); the paper's section 4.3.
    """

    ARTIFACT = "dataset"
    TAKES = {"dataset": SETS, "generator": MODELS, "seed_data": SETS}

    kind: Literal["robustify_dataset"] = "robustify_dataset"
    dataset: Ref
    """The set whose representations and labels are taken."""
    generator: Ref
    """A network that classifies this very data set."""
    seed_data: Ref | None = None
    """The set whose training images the seed images are drawn from, of the same size. Left out: `dataset` itself, an
    image never being its own seed (Ilyas et al. 2019); the paper takes ImageNet."""
    steps: int = Field(default=1000, ge=1, le=10_000)
    """Gradient steps on the relative distance of the representations, of which the best iterate is kept; there is no
    ball around the seed image. 1000: Ilyas et al. 2019, appendix C."""
    step_size: float = Field(default=0.1, gt=0, le=1000)
    """l2 length of a step, in pixel units. .1: Ilyas et al. 2019, appendix C, at 32x32."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept; the distance after storing is reported."""
    seed: Seed = 0
    """Draws the seed images."""
    precision: Precision = "fp32"
    """bf16: under autocast."""
