"""The study `component_visualization` (the paper's figure 1): pictures of components by robustness and architecture."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.train import Training
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Arch, Attack, Seed
from robxfer_core.studies.family import Eps, Published
from robxfer_core.studies.graph import slug


class Architecture(Strict):
    """One architecture, of which a family is trained: every level with every seed."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=40)]
    """What the report calls it."""
    training: Training | None = None
    """How each network is trained; the study sets eps and seed."""
    published: Published | None = None
    """A family of others, in place of `training`; takes one seed, which draws the components."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.training is None) == (self.published is None):
            raise ValueError("`training` or `published`, and not both")
        return self

    @property
    def arch(self) -> Arch:
        made = self.training or self.published
        assert made is not None  # the validator has seen to it
        return made.arch


def _how(judge: Any) -> str:
    """Which of the two a judge is meant to be, so that errors speak of that one alone."""
    file = isinstance(judge, Published) or (isinstance(judge, dict) and "file" in judge)
    return "published" if file else "training"


class ComponentVisualization(Strict):
    """Are the components of robust representations easier for people to read, and in which architectures?"""

    kind: Literal["component_visualization"]
    title: str = Field(default="Components by robustness and architecture", min_length=1, max_length=120)
    """Of the report."""
    dataset: Dataset
    """What all networks are trained on; the test split gives the components' top-9 images."""
    architectures: list[Architecture] = Field(min_length=1, max_length=10)
    """The families."""
    judge: Annotated[Annotated[Training, Tag("training")] | Annotated[Published, Tag("published")], Discriminator(_how)]
    """How the independent networks are trained that say what a picture shows, one a seed; eps is 0 unless it says
    otherwise, since a robust judge could favour robust networks' pictures. Its architecture or width must be none of
    the families', with which it would share its random start. Of a published family, its network of eps 0."""
    norm: Literal["l2", "linf"] = "l2"
    """Of every threat model of the study."""
    levels: list[Eps] = Field(min_length=2, max_length=20)
    """The families' eps, 0 among them."""
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    """One independent family of each architecture, judge and draw of components a seed."""
    components: int = Field(default=8, ge=2, le=256)
    """Components of each network, drawn by the seed: the same numbers at every level."""
    steps: int = Field(default=200, ge=1, le=100_000)
    """Gradient steps for each picture (Engstrom et al. 2019, notebooks)."""
    step_size: float | None = Field(default=None, gt=0, le=1000)
    """l2 length of a step, in pixel units. Left out: side / 224 (1 at 224 pixels, 1/7 at 32: Engstrom et al. 2019)."""
    evaluation: Attack = Attack(steps=20)
    """The attack on every network's test images at every level, which shows whether the families are robust."""
    evaluation_images: int = Field(default=1000, ge=1)
    """Test images that it is run on."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0.0 not in self.levels:
            raise ValueError(f"levels with 0, the standard model, among them, not {self.levels}")
        for name, values in (("levels", self.levels), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} without repetition, not {values}")
        published = isinstance(self.judge, Published) or any(each.published for each in self.architectures)
        if published and len(self.seeds) > 1:
            raise ValueError(f"one seed with published networks, of which there is one a level, not {self.seeds}")
        slugs = [slug(each.label) for each in self.architectures]
        if len(set(slugs)) != len(slugs):
            labels = [each.label for each in self.architectures]
            raise ValueError(f"architectures whose labels differ in letters or digits, not {labels}")
        arch = self.judge.arch
        if any((each.arch.name, each.arch.width) == (arch.name, arch.width) for each in self.architectures):
            raise ValueError(f"a judge of another architecture or width than the families', not {arch.name}")
        return self
