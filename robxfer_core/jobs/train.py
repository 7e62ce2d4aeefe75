"""The kind `train`: trains a network, standard or adversarially."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from robxfer_core.spec.archs import CHANNELS, LAYOUTS, forward_flops, representation
from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Arch, Attack, Augment, Fraction, Precision, Seed, Sgd, ThreatModel
from robxfer_core.spec.units import Epochs, Share

from .base import DATASETS, Artifact, Job, Role
from .results import ModelCard, Record, Result, is_none
from .shapes import UNKNOWN_IMAGES, UNKNOWN_SIDE, ShapeContext, Shapes

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

    @property
    def step_passes(self) -> int:
        """Forward passes that a training step costs an image; a backward pass counts as two."""
        if self.threat.eps == 0 or self.method == "free":
            return 3
        if self.method == "fast":
            return 3 + 3
        if self.method == "trades":
            return 6 + 1 + 3 * self.attack.steps
        return 3 + 3 * self.attack.steps * self.attack.restarts


class HoldoutCurves(Record):
    """Accuracies on the held-out images after each of the last epochs; empty where none are held out."""

    clean: list[Share]
    """Accuracy on the images as they are, fractions."""
    robust: list[Share]
    """Accuracy under PGD; empty where eps is 0."""


class SingleStepProbe(Record):
    """Accuracies of the last epochs by which catastrophic overfitting to single steps shows."""

    fgsm: list[Share]
    """Under one step (FGSM), fractions."""
    pgd: list[Share]
    """Under PGD, fractions."""


class Overfitting(Record):
    """Where a network was first seen to resist single steps and nothing else."""

    epoch: Epochs
    """The epoch after which."""
    fgsm: Share
    """Accuracy on the probe batch under single steps, as in training, after that epoch; a fraction."""
    pgd: Share
    """The same under PGD."""
    best_pgd: Share
    """The largest accuracy under PGD before."""


class TrainResult(Result):
    """A trained network."""

    model: ModelCard
    """What the network is and can do."""
    holdout: HoldoutCurves
    """Accuracies on held-out images."""
    probe: SingleStepProbe | None = Field(default=None, exclude_if=is_none)
    """Where training takes single steps."""
    overfitting: Overfitting | None = None
    """Catastrophic overfitting to single steps; none where there was none."""

    @model_serializer(mode="wrap")
    def _without_probe(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Training without single steps has neither `probe` nor `overfitting`."""
        fields = serialise(self)
        if self.probe is None:
            del fields["overfitting"]
        return fields


class Train(Training, Job):
    """Trains a network, standard (eps 0) or adversarially (Madry et al. 2018), from scratch or from another model."""

    ARTIFACT = Artifact.MODEL
    ROLE = Role.MODEL
    SEVERAL_GPUS = True
    TAKES = {"dataset": DATASETS, "init": (Role.MODEL,)}
    ENTRY = "robxfer_core.science.training.train:train"
    RESULTS = (TrainResult,)
    FILES = ("model.json", "model.safetensors")

    kind: Literal["train"] = "train"
    dataset: Ref
    """What it is trained on."""
    init: Ref | None = None
    """Start from this model's representation, with a new head where the classes differ (fine-tuning)."""
    seed: Seed = 0
    """Drives the start of the weights, the order of images, the augmentation and the attacks' starts."""

    def shapes(self, context: ShapeContext) -> Shapes:
        data = context[self.dataset]
        side, smallest = self.arch.input_size or data.side, LAYOUTS[self.arch.name].smallest
        if side is not None and side < smallest:
            takes = f"images of at least {smallest}x{smallest} for {self.arch.name} (`arch.input_size` resizes them)"
            raise context.error("arch", f"{side}x{side} images of {self.dataset}", takes)
        if data.channels is not None and data.channels not in CHANNELS:
            takes = f"images of {' or '.join(map(str, CHANNELS))} channels"
            raise context.error("dataset", f"{data.channels} channels", takes)
        context.check_model_takes(Shapes(side=side), data, ("arch", "input_size"))
        channels = data.channels
        if self.init is not None:
            start = context[self.init]
            if start.arch is not None and (start.arch.name, start.arch.width) != (self.arch.name, self.arch.width):
                got = f"{start.arch.name} of width {start.arch.width:g}"
                raise context.error("init", got, f"a {self.arch.name} of width {self.arch.width:g}")
            context.check_model_takes(start, data, "init")
            channels = start.channels
        return replace(data, channels=channels, side=side, arch=self.arch, length=representation(self.arch))

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        data = inputs[self.dataset]
        images = data.train or UNKNOWN_IMAGES
        forward = forward_flops(self.arch, data.channels or 3, data.side or UNKNOWN_SIDE, data.classes or 10)
        check = 1 + (3 * self.holdout_attack_steps if self.threat.eps > 0 else 0)
        probe = 256 * 3 * (2 + self.holdout_attack_steps) if self.single_step else 0
        passes = self.replays * (1 - self.holdout) * self.step_passes + self.holdout * check
        return self.rounds * forward * (images * passes + probe)

    def stored_bytes(self, own: Shapes) -> float:
        return own.model_bytes
