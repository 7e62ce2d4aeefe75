"""The study `transfer_gap` (the paper's figure 3): a family of source models by robustness, transferred to each target
and to its antirobust variant, with the control arms. It expands to jobs; nothing else knows of studies.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from robxfer_core.jobs.perturb_dataset import RaiseEps
from robxfer_core.jobs.train import Training
from robxfer_core.jobs.transfer import FineTuning, Heads, Preset, Regime, RobustTransfer
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Attack, Seed
from robxfer_core.studies.family import Eps, Source, Target
from robxfer_core.studies.graph import slug

Control = Literal["relabel_only", "noise", "robust_generator"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class RobustGenerator(Strict):
    """The control's generator: the same training, adversarial, and eps raised until it is fooled often enough."""

    eps: float = Field(gt=0, le=1000)
    """Radius it is trained at."""
    attack: Attack = Attack()
    """The attack it is trained against."""
    raise_eps: RaiseEps
    """The perturbation starts at the antirobust eps and is raised from there."""


class Generator(Strict):
    """The network that the antirobust perturbation is computed on: trained on the target's own training split."""

    training: Training
    """How it is trained; eps is 0."""
    start: Literal["scratch", "source"] = "scratch"
    """`source` fine-tunes the family's eps 0 model of the same seed, which favours that model; the report says so.
    `scratch` with the family's own architecture still shares its random start, which seed and architecture decide."""
    robust: RobustGenerator | None = None
    """Needed where the control `robust_generator` runs."""


class Antirobust(Strict):
    """How far, and how, target images are moved (the paper's section 4.2)."""

    eps: float = Field(gt=0, le=1000)
    """In pixels of the stored image; l2 scales with the square root of the number of pixels."""
    attack: Attack = Attack(steps=100, random_start=False)
    """PGD towards the target class."""
    targets: Literal["uniform", "uniform_other", "shift"] = "uniform"
    """uniform: any class, the image's own too; uniform_other: any but its own; shift: y + 1 mod K."""
    store: Literal["float16", "uint8"] = "float16"
    """How pixels are kept."""


class GapTarget(Target):
    """A target of which a report compares the standard images with the antirobust ones."""

    generator: Generator | None = None
    """Left out: the study's."""
    antirobust: Antirobust | None = None
    """Left out: the study's."""
    heads: Heads | None = None
    """Left out: the study's."""
    fine_tuning: FineTuning | None = None
    """Left out: the study's."""


class TransferGap(Strict):
    """Does robustness help transfer, and does it still where the target's signal is not robust?"""

    kind: Literal["transfer_gap"]
    title: str = Field(default="Transfer by robustness", min_length=1, max_length=120)
    """Of the report."""
    source: Source
    """What the family is trained on, and how."""
    norm: Literal["l2", "linf"] = "l2"
    """Of every threat model of the study."""
    levels: list[Eps] = Field(min_length=2, max_length=20)
    """The family's eps, 0 among them."""
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    """One independent family, generator, draw of targets, subset and head a seed."""
    targets: list[GapTarget] = Field(min_length=1, max_length=50)
    """Data sets that the family is transferred to."""
    generator: Generator
    """The network that antirobust perturbations are computed on."""
    antirobust: Antirobust
    """How target images are moved."""
    controls: list[Control] = ["relabel_only", "noise", "robust_generator"]
    """Control arms that run beside the antirobust variant."""
    regime: Annotated[list[Regime], BeforeValidator(_as_list)] = Field(
        default=["fixed_feature"], min_length=1, max_length=2
    )
    """One or both; each has a report of its own. The `random_init` arm of full_network is training from scratch."""
    preset: Preset = "clean"
    """How images reach the network (see `transfer`). `salman2020` runs it every epoch in both regimes."""
    heads: Heads = Heads()
    """How linear heads are trained, regime fixed_feature."""
    fine_tuning: FineTuning = FineTuning()
    """How whole networks are trained, regime full_network."""
    robust_transfer: RobustTransfer | None = None
    """Also measure robust accuracy after transfer, on the variant's own test split; off by default."""
    evaluation: Attack = Attack(steps=20)
    """The attack on the source models' test images at every level."""
    evaluation_images: int = Field(default=1000, ge=1)
    """Test images that it is run on."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of accuracy within +-margin count as none (1 point)."""
    min_fooling: float = Field(default=0.9, ge=0, le=1)
    """Fooling rate, on either split, below which a constructed set is `unusable`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0.0 not in self.levels:
            raise ValueError(f"levels with 0, the standard model, among them, not {self.levels}")
        for name, values in (
            ("levels", self.levels),
            ("seeds", self.seeds),
            ("controls", self.controls),
            ("regime", self.regime),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} without repetition, not {values}")
        if self.source.published is not None and len(self.seeds) > 1:
            raise ValueError(f"one seed with a published family, which has one checkpoint a level, not {self.seeds}")
        slugs = [slug(target.label) for target in self.targets]
        if len(set(slugs)) != len(slugs):
            raise ValueError(f"targets whose labels differ in letters or digits, not {[t.label for t in self.targets]}")
        if "robust_generator" in self.controls:
            for target in self.targets:
                if (target.generator or self.generator).robust is None:
                    raise ValueError("a generator with `robust` (eps, raise_eps), since controls name robust_generator")
        return self
