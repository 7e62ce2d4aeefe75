"""The kind `evaluate`: clean accuracy and accuracy under attack."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator

from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Apgd, Attack, Precision, Seed
from robxfer_core.spec.units import Images, Share

from .base import DATASETS, Artifact, Job, Role
from .results import ModelCard, Norm, Outcomes, Record, Result
from .shapes import ShapeContext, Shapes, at_most

MASKING_PASSES = 32 * 150
"""Passes that the gradient-masking checks make: about 150 on each of 32 images."""


AttackName = Literal["pgd", "apgd_ce", "apgd_dlr", "apgd_dlr_t"]


class AttackOutcome(Record):
    """What one attack left at one level."""

    tried: Images
    """Images that it attacked: those that the attacks before it left right."""
    accuracy: Share
    """Accuracy after it, a fraction of all images."""


class MaskingWarning(Record):
    """A sign that an attack is broken, most often that gradients are masked."""

    code: str
    """Which sign, one of those that `evaluate` lists."""
    text: str
    """What was seen."""


class EvaluateResult(Result):
    """Accuracies of a model, clean and under attack."""

    model: ModelCard
    """The network."""
    n: Images
    """Test images that it was evaluated on."""
    clean: Share
    """Accuracy on the images as they are, a fraction."""
    robust: dict[str, Share]
    """Accuracy after all attacks, by eps."""
    attacks: dict[str, dict[str, AttackOutcome]]
    """By eps above 0, what each attack in turn left."""
    margin_in_place_of_dlr: list[str]
    """Attacks that used the margin, since there are too few classes for DLR."""
    norm: Norm
    """Of the threat models."""
    correct: dict[str, Outcomes]
    """By eps, which images are classified right after all attacks; 0 is clean."""
    warnings: list[MaskingWarning]
    """Signs that an attack is broken."""


class Evaluate(Job):
    """Clean accuracy, and accuracy under attack at each eps (worst case over the attacks), on a data set's test split.

    The result has `warnings` where an attack looks broken, each with a `code`: accuracy_rises, accuracy_flat,
    zero_gradients, loss_flat, single_step_wins, noise_wins, unbounded_survives (Athalye et al. 2018; Carlini et al.
    2019).
    """

    RECIPE = 2
    ARTIFACT = Artifact.RESULT
    TAKES = {"model": (Role.MODEL,), "dataset": DATASETS}
    ENTRY = "robxfer_core.science.attacks.evaluate:evaluate"
    RESULTS = (EvaluateResult,)

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

    def shapes(self, context: ShapeContext) -> Shapes:
        data, model = context[self.dataset], context[self.model]
        context.check_model_takes(model, data, "model")
        context.check_model_classifies(model, data, "model")
        return replace(model, test=at_most(data.test, self.max_images), side=data.side)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        images = own.test or self.max_images
        return inputs[self.model].forward * (images * (1 + self._attack_passes()) + MASKING_PASSES)

    def _attack_passes(self) -> float:
        """Passes of all attacks at all levels on an image; attacks after the first see half of the images."""
        runs = {
            "pgd": self.attack.steps * self.attack.restarts,
            "apgd_ce": self.apgd.steps * self.apgd.restarts,
            "apgd_dlr": self.apgd.steps * self.apgd.restarts,
            "apgd_dlr_t": self.apgd.steps * self.apgd.restarts * self.apgd.targets,
        }
        first, *later = (runs[attack] for attack in self.attacks)
        return 3 * sum(eps > 0 for eps in self.eps) * (first + sum(later) / 2)
