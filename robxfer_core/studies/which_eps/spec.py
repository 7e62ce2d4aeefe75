"""The study `which_eps`: a family of models by robustness is transferred to a user's data set, and the report says
which level to use.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.import_dataset import ImportDataset
from robxfer_core.jobs.import_model import ImportModel
from robxfer_core.jobs.transfer import Heads
from robxfer_core.jobs.which_eps_report import Usual
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Seed
from robxfer_core.studies.family import Eps, Source

Shots = Annotated[int, Field(ge=2, le=100_000)]


class OwnTarget(Strict):
    """The data set that a level is wanted for: one that workers can read, or an upload."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    """What the report calls it."""
    dataset: Dataset | None = None
    """A data set by its name."""
    import_dataset: ImportDataset | None = None
    """A data set by its upload."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.dataset is None) == (self.import_dataset is None):
            raise ValueError("either `dataset` or `import_dataset`")
        return self


class WhichEps(Strict):
    """Which robustness level should be used for this data set?

    Every model of a family is transferred to it (fixed features, tuned heads), with all of its training images and with
    few. The report names a level, the confidence set that holds the best one, and what the usual choices lose.
    """

    kind: Literal["which_eps"]
    title: str = Field(default="Which robustness level to use", min_length=1, max_length=120)
    """Of the report."""
    source: Source | None = None
    """A family that is trained here: on what, and how. Takes `levels`."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the threat models that the family is trained against."""
    levels: list[Eps] = Field(default=[], max_length=20)
    """eps of the family that is trained here."""
    models: list[ImportModel] = Field(default=[], max_length=20)
    """A family that others trained, in place of `source`: uploaded weights, each with its `threat`."""
    seeds: list[Seed] = Field(default=[0], min_length=1, max_length=100)
    """With `source`: one independent family, few-shot draw and head a seed. With `models`: draws and heads alone."""
    target: OwnTarget
    """The data set that a level is wanted for."""
    few_shot: list[Shots] = Field(default=[10], max_length=5)
    """Ask also for so many training images of each class."""
    usual: Usual = [0.0, 3.0]
    """Levels that are usually taken without asking; what those of the family lose to the chosen one is reported."""
    heads: Heads = Heads()
    """How linear heads are trained; the tuned ones are compared."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the confidence set and of the intervals."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source is None) == (not self.models):
            raise ValueError("either `source`, a family to train, or `models`, one that others trained")
        if self.models and self.levels:
            raise ValueError("`levels` with `source` alone: each of `models` says its `threat`")
        family = [model.threat.eps for model in self.models] if self.models else self.levels
        if len(family) < 2:
            raise ValueError(f"at least 2 levels, not {family}")
        for name, values in (("levels", family), ("seeds", self.seeds), ("few_shot", self.few_shot)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} without repetition, not {values}")
        if not self.heads.tune_lr:
            raise ValueError("`heads.tune_lr` with a learning rate or more: tuned heads are compared")
        norms = {model.threat.norm for model in self.models if model.threat.eps > 0}
        if len(norms) > 1:
            raise ValueError("models of one norm, not of l2 and linf")
        return self
