"""Kinds that train and evaluate networks."""

from typing import Annotated, Literal

from pydantic import Field

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Arch, Attack, Augment, Fraction, Precision, Seed, Sgd, ThreatModel
from robxfer_core.spec.job import MADE_SETS, MODELS, SETS, Job


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
