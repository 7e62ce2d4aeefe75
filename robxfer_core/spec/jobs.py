"""Every kind of job and its parameters. A job's result is determined by these, its recipe version and its inputs."""

from typing import Annotated, Literal

from pydantic import Field

from .base import Ref, Refs, Strict
from .fields import Arch, Attack, Augment, Fraction, Precision, Schedule, Seed, Sgd, ThreatModel
from .imports import ImportDataset, ImportModel
from .job import MADE_SETS, MODELS, SETS, Job, SetName


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


class Training(Strict):
    """How a network is trained."""

    arch: Arch
    """The network."""
    threat: ThreatModel = ThreatModel(eps=0.0)
    """eps 0 is standard training; above it, adversarial training (Madry et al. 2018)."""
    attack: Attack = Attack()
    """How training images are moved within the threat model."""
    epochs: int = Field(default=30, ge=0, le=10_000)
    """0 leaves the network at its random start: the `random_init` arm."""
    batch_size: int = Field(default=128, ge=2, le=65_536)
    """Images of one step."""
    optimizer: Sgd = Sgd()
    """How the weights are moved."""
    augment: Augment = Augment()
    """What is done to training images; none by default."""
    label_smoothing: Fraction = 0.0
    """This share of each label is spread over all classes."""
    ema: Fraction | None = None
    """Publish an exponential moving average of the weights with this decay per step."""
    holdout: float = Field(default=0.1, ge=0, le=0.5)
    """Fraction of the training images, stratified, kept out of training for the accuracy after each epoch."""
    holdout_attack_steps: int = Field(default=10, ge=1, le=1000)
    """PGD steps of the robust accuracy after each epoch (only where eps > 0)."""
    precision: Precision = "fp32"
    """bf16: forward and backward passes under autocast; weights stay fp32."""


class Train(Training, Job):
    """Trains a network, standard (eps 0) or adversarially (Madry et al. 2018), from scratch or from another model."""

    ARTIFACT = "model"
    TEAM = True
    TAKES = {"dataset": SETS + MADE_SETS, "init": MODELS}

    kind: Literal["train"] = "train"
    dataset: Ref
    """What it is trained on."""
    init: Ref | None = None
    """Start from this model's representation, with a new head where the classes differ (fine-tuning)."""
    seed: Seed = 0
    """Drives the start of the weights, the order of images, the augmentation and the attacks' starts."""


class Evaluate(Job):
    """Clean accuracy, and accuracy under PGD at each eps, on a data set's test split."""

    ARTIFACT = "result"
    TAKES = {"model": MODELS, "dataset": SETS + MADE_SETS}

    kind: Literal["evaluate"] = "evaluate"
    model: Ref
    """The network."""
    dataset: Ref
    """Its test split is used."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the threat models."""
    eps: list[Annotated[float, Field(ge=0, le=1000)]] = Field(min_length=1, max_length=50)
    """Radii of the threat models; 0 is the clean accuracy."""
    attack: Attack = Attack(steps=20)
    """PGD, untargeted."""
    max_images: int = Field(default=1000, ge=1)
    """Evaluate on the first this many test images (the order is that of the data set's shards)."""
    seed: Seed = 0
    """Drives the attacks' starts."""
    precision: Precision = "fp32"
    """bf16: under autocast."""


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


class Features(Job):
    """The representation R(x) of every image of a data set, both splits, by one model."""

    ARTIFACT = "features"
    TAKES = {"model": MODELS, "dataset": SETS + MADE_SETS}

    kind: Literal["features"] = "features"
    model: Ref
    """The network."""
    dataset: Ref
    """The images, both splits."""
    precision: Precision = "fp32"
    """bf16: under autocast."""


class Heads(Strict):
    """How linear heads are trained on a representation.

    Defaults: SGD momentum .9, weight decay 5e-4, batch 64, x0.1 every third (Salman et al. 2020, appendix).
    """

    epochs: int = Field(default=60, ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Images of one step."""
    lr: float = Field(default=0.01, gt=0, le=100)
    """The curve's learning rate and weight decay: one of each for the whole family."""
    weight_decay: float = Field(default=5e-4, ge=0, le=10)
    """As `lr`: one for the whole family."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    schedule: Schedule = Schedule(kind="step", milestones=[1 / 3, 2 / 3])
    """The learning rate over the epochs."""
    sizes: list[Annotated[int, Field(ge=2)]] = Field(default=[], max_length=10)
    """Also train on nested stratified subsets of this many training images; the whole split is always trained on."""
    tune_lr: list[Annotated[float, Field(gt=0, le=100)]] = Field(
        default=[0.001, 0.01, 0.1], min_length=1, max_length=20
    )
    """Learning rates of the tuned table."""
    tune_weight_decay: list[Annotated[float, Field(ge=0, le=10)]] = Field(
        default=[0.0, 5e-4], min_length=1, max_length=20
    )
    """Weight decays of the tuned table: every pair is trained and the best on the validation split is reported."""
    validation: float = Field(default=0.2, gt=0, le=0.5)
    """Fraction of the training images, stratified, held out to choose the tuned head (never used for the curve)."""


class Transfer(Heads, Job):
    """Fixed-feature transfer: linear heads on a representation, all of them trained together."""

    ARTIFACT = "result"
    TAKES = {"features": ("features",), "clean": ("features",)}

    kind: Literal["transfer"] = "transfer"
    features: Ref
    """The representation that heads are trained on."""
    clean: Ref | None = None
    """Of a constructed set: R(x) of the set it was made from, by the same model. Its test split, with its own labels,
    is measured beside."""
    seed: Seed = 0
    """Drives the subset, the head's start and the order of its batches."""


class Arm(Strict):
    """One panel of a transfer-gap report: a variant of a target, with the heads trained on it."""

    target: str = Field(min_length=1, max_length=80)
    """The data set, as the report calls it."""
    variant: Literal["standard", "antirobust", "relabel_only", "noise", "robust_generator"]
    """As it is, antirobust, or a control arm."""
    transfers: Refs
    """Heads on every source model's representation, and on random networks'."""
    data: Refs = []
    """The constructed sets, for their fooling rates and norms; empty for `standard`."""


class Report(Job):
    """Statistics, figure and verdict of a transfer-gap study, from the results of its jobs."""

    ARTIFACT = "report"
    GATHERS = True
    TAKES = {
        "sources": ("evaluate",),
        "transfers": ("transfer",),
        "data": MADE_SETS,
    }

    kind: Literal["report"] = "report"
    title: str = Field(min_length=1, max_length=120)
    """Of the report."""
    sources: Refs
    """Evaluations of the source models at every level of the family."""
    arms: list[Arm] = Field(min_length=1, max_length=100)
    """The panels."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, simultaneous over the levels."""
    min_fooling: float = Field(default=0.9, ge=0, le=1)
    """Fooling rate, on either split, below which a constructed set is `unusable`."""


KINDS: dict[str, type[Job]] = {
    str(model.model_fields["kind"].default): model
    for model in (
        Dataset,
        ImportDataset,
        Train,
        ImportModel,
        Evaluate,
        PerturbDataset,
        ControlDataset,
        Features,
        Transfer,
        Report,
    )
}
