"""Kinds that train and evaluate networks."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Apgd, Arch, Attack, Augment, Fraction, Precision, Seed, Sgd, ThreatModel

from .base import MADE_SETS, MODELS, SETS, Job

AttackName = Literal["pgd", "apgd_ce", "apgd_dlr", "apgd_dlr_t"]
Method = Literal["pgd", "trades", "free", "fast"]


class Training(Strict):
    """How a network is trained."""

    arch: Arch
    """The network."""
    threat: ThreatModel = ThreatModel(eps=0.0)
    """eps 0 is standard training; above it, adversarial training."""
    attack: Attack = Attack()
    """How training images are moved within the threat model."""
    method: Method = Field(default="pgd", exclude_if=lambda method: method == "pgd")
    """Where eps is above 0: `pgd` trains on the attacked images (Madry et al. 2018); `trades` on the clean ones and on
    how far the prediction moves (Zhang et al. 2019); `free` takes the perturbation's gradient from the weights' own
    backward pass (Shafahi et al. 2019); `fast` takes one step from a random start (Wong et al. 2020). Of `attack`,
    `trades` uses `steps` and `step_size`, `free` and `fast` only `step_size` (left out: eps, and 1.25 * eps)."""
    trades_beta: float = Field(default=6.0, ge=0, le=1000, exclude_if=lambda beta: beta == 6.0)
    """For `trades`: weight of the KL divergence beside the clean loss (1/lambda of Zhang et al. 2019, section 5)."""
    free_replays: int = Field(default=8, ge=1, le=1000, exclude_if=lambda replays: replays == 8)
    """For `free`: steps taken on each batch in turn (m of Shafahi et al. 2019, section 4: 8 on CIFAR-10). `epochs` is
    divided by it, rounded up, so that as many passes are made as standard training makes."""
    eps_warmup: Fraction = Field(default=0.0, exclude_if=lambda share: share == 0)
    """Fraction of the training in which eps rises linearly from 0, and a `step_size` that is set with it."""
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

    @property
    def rounds(self) -> int:
        """How often the training images are gone through, one held-out accuracy after each."""
        return -(-self.epochs // self.replays)

    @property
    def replays(self) -> int:
        """Steps on each batch in turn."""
        return self.free_replays if self.method == "free" and self.threat.eps > 0 else 1

    @property
    def single_step(self) -> bool:
        """Whether it is attacked by single steps, to which a network can overfit (Wong et al. 2020, section 5)."""
        return self.threat.eps > 0 and (
            self.method in ("free", "fast") or (self.method == "pgd" and self.attack.steps == 1)
        )


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
    """Clean accuracy, and accuracy under attack at each eps (worst case over the attacks), on a data set's test split.

    The result has `warnings` where an attack looks broken, each with a `code`: accuracy_rises, accuracy_flat,
    zero_gradients, loss_flat, single_step_wins, noise_wins, unbounded_survives (Athalye et al. 2018; Carlini et al.
    2019).
    """

    RECIPE = 2
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
    attacks: list[AttackName] = Field(default=["pgd"], min_length=1, max_length=4)
    """In turn, each on the images that those before it left right: `pgd`; `apgd_ce`, `apgd_dlr` and `apgd_dlr_t`,
    Auto-PGD on the cross-entropy, on the DLR loss and on the targeted one (AutoAttack's white-box part is `apgd_ce` and
    `apgd_dlr_t`; Croce & Hein 2020). With fewer than 3 (targeted: 4) classes the margin stands in for DLR."""
    attack: Attack = Attack(steps=20)
    """PGD, untargeted."""
    apgd: Apgd = Apgd()
    """Auto-PGD."""
    max_images: int = Field(default=1000, ge=1)
    """Evaluate on the first this many test images (the order is that of the data set's shards)."""
    seed: Seed = 0
    """Drives the attacks' starts."""
    precision: Precision = "fp32"
    """bf16: under autocast."""

    @field_validator("attacks")
    @classmethod
    def _once_each(cls, attacks: list[AttackName]) -> list[AttackName]:
        if len(set(attacks)) < len(attacks):
            raise ValueError("each attack once")
        return attacks
