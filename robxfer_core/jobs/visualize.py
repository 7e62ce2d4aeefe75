"""The kind `visualize`: images made for a representation, by gradient steps on their pixels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from robxfer_core.spec.base import Ref
from robxfer_core.spec.errors import show
from robxfer_core.spec.fields import Seed
from robxfer_core.spec.units import GradientSteps, Images, PixelUnits, Share

from .base import DATASETS, Artifact, Job, Role
from .results import DatasetName, ModelCard, Record, Result
from .shapes import UNKNOWN_IMAGES, ShapeContext, Shapes

TOP = 9
"""Real images that stand for a component: those on which it is largest (the paper's section 4.1)."""

FEWEST = 2 * TOP
"""Test images that component mode takes at the least: the top ones, and as many to tell them from."""

SMALLEST = 8
"""Side of the images that component mode takes at the least: a smaller spectrum has no slope."""

ONLY = {"component": ("judge", "components", "count"), "inversion": ("images", "start")}
"""Parameters of one mode alone."""

COUNT = 8
"""Components that are drawn where the spec names none."""
IMAGES = 8
"""Targets of an inversion where the spec says no number."""


class TestImages(DatasetName):
    """The test split that was used."""

    n_test: Images
    """Its images."""


class ComponentPicture(Record):
    """One component: how far the picture drives it, and what the picture looks like."""

    component: int
    """Its number in the representation."""
    start: float
    """Its value on the seed image."""
    end: float
    """Its value on the picture."""
    top: float
    """Its mean on the top-9 real images."""
    slope: float
    """Spectral slope of the picture: the steeper, the smoother."""
    alive: bool
    """Whether some real images activate it more than others."""
    auroc: Share | None
    """How much nearer the picture is to the top-9 images than to the others, for the independent network; .5: not."""
    auroc_start: Share | None
    """The same of the seed image."""
    auroc_top: Share | None
    """The same of the top-9 images among themselves."""


class ComponentResult(Result):
    """Pictures of components."""

    mode: Literal["component"]
    """component."""
    model: ModelCard
    """The network that was visualised."""
    judge: ModelCard
    """The independent network."""
    data: TestImages
    """Where the real images are from."""
    steps: GradientSteps
    """Gradient steps."""
    step_size: PixelUnits
    """l2 length of a step, in pixel units."""
    components: list[ComponentPicture]
    """One entry for each picture."""
    slope_real: float
    """Mean spectral slope of real images."""
    slope_start: float
    """Mean spectral slope of the seed images."""


class Inversion(Record):
    """One inversion: distances before and after."""

    model_config = ConfigDict(validate_by_name=True)

    image: int
    """Place of the target in the test split."""
    class_name: str = Field(validation_alias="class", serialization_alias="class")
    """Its class."""
    relative_start: float
    """Relative distance of representations at the start."""
    relative_end: float
    """The same at the end."""
    pixels_start: PixelUnits
    """l2 distance of pixels at the start."""
    pixels_end: PixelUnits
    """The same at the end."""


class InversionMeans(Record):
    """Means over the inversions."""

    relative_start: float
    """Relative distance of representations at the start."""
    relative_end: float
    """The same at the end."""
    pixels_start: PixelUnits
    """l2 distance of pixels at the start."""
    pixels_end: PixelUnits
    """The same at the end."""


class InversionResult(Result):
    """Images with the representations of target images."""

    mode: Literal["inversion"]
    """inversion."""
    model: ModelCard
    """The network that was inverted."""
    data: TestImages
    """Where the targets are from."""
    start: Literal["noise", "image"]
    """What images started from."""
    steps: GradientSteps
    """Gradient steps."""
    step_size: PixelUnits
    """l2 length of a step, in pixel units."""
    images: list[Inversion]
    """One entry for each inversion."""
    mean: InversionMeans
    """Means over the inversions."""


class Visualize(Job):
    """Images made for a representation R: what drives one of its components up, or what it takes for a given image.

    Mode `component` (the paper's section 4.1, figure 1): x_vis = argmax over delta of R(x0 + delta)_i from a Gaussian
    seed x0, with two numbers beside the picture: how smooth it is, and whether an independent network, the judge,
    places it nearer the component's top-9 real images than the other ones. Mode `inversion` (section 3): an image with
    a target image's representation, from noise or from another image, with the distances reached. Steps are l2, of
    fixed length, and pixels are clamped to [0,1] after each (method: Engstrom et al. 2019, their notebooks).
    """

    ARTIFACT = Artifact.RESULT
    TAKES = {"model": (Role.MODEL,), "dataset": DATASETS, "judge": (Role.MODEL,)}
    DISTINCT = (("judge", "model"),)
    ENTRY = "robxfer_core.science.visualize.job:visualize"
    RESULTS = (ComponentResult, InversionResult)
    FILES = ("visualization.npz", "visualization.png")

    kind: Literal["visualize"] = "visualize"
    mode: Literal["component", "inversion"]
    """component: maximise components of the representation; inversion: match the representations of images."""
    model: Ref
    """The network that is visualised."""
    dataset: Ref
    """Its test split gives the real images: top-9 images of components, targets of inversions."""
    steps: int | None = Field(default=None, ge=1, le=100_000)
    """Gradient steps. Left out: 200 for components (Engstrom et al. 2019, notebooks), 1000 for inversions (Ilyas et
    al. 2019, appendix C)."""
    step_size: float | None = Field(default=None, gt=0, le=1000)
    """l2 length of a step, in pixel units. Left out: side / 224, that is 1 at 224 pixels (Engstrom et al. 2019) and
    1/7 at 32, since l2 lengths scale with the side."""
    seed: Seed = 0
    """Draws the components and the noise that images start from."""
    judge: Ref | None = None
    """Mode component, where it is required: a network other than the model, which says what the picture shows."""
    components: list[Annotated[int, Field(ge=0)]] | None = Field(default=None, min_length=1, max_length=256)
    """Mode component: these components of the representation, from 0, in this order."""
    count: int | None = Field(default=None, ge=1, le=256)
    """Mode component, in place of `components`: the first so many of an order drawn by the seed. Left out: 8."""
    images: int | None = Field(default=None, ge=1, le=256)
    """Mode inversion: the first so many test images (the order is that of the data set's shards) are targets. Left
    out: 8."""
    start: Literal["noise", "image"] | None = None
    """Mode inversion: noise: .5 + N(0, 1/20^2) in each pixel (Engstrom et al. 2019); image: another test image, of
    another class. Left out: noise."""

    @model_validator(mode="after")
    def _of_one_mode(self) -> Self:
        for mode, names in ONLY.items():
            given = [name for name in names if getattr(self, name) is not None]
            if mode != self.mode and given:
                raise ValueError(f"{', '.join(given)} with mode {mode} only, and this is mode {self.mode}")
        if self.mode == "component" and self.judge is None:
            raise ValueError("a judge (a network other than the model) with mode component")
        if self.components is not None:
            if self.count is not None:
                raise ValueError("components or count, not both")
            if len(set(self.components)) != len(self.components):
                raise ValueError(f"components without repetition, not {self.components}")
        return self

    @property
    def gradient_steps(self) -> int:
        """`steps`, or the mode's default."""
        return self.steps or (200 if self.mode == "component" else 1000)

    @property
    def made(self) -> int:
        """How many images are made."""
        if self.mode == "inversion":
            return self.images or IMAGES
        return self.count or COUNT if self.components is None else len(self.components)

    def step(self, side: int) -> float:
        """The step size on images of this side."""
        return self.step_size if self.step_size is not None else side / 224

    def shapes(self, context: ShapeContext) -> Shapes:
        data, model = context[self.dataset], context[self.model]
        context.check_model_takes(model, data, "model")
        if self.judge is not None:
            context.check_model_takes(context[self.judge], data, "judge")
            if self.judge == self.model:
                raise context.error("judge", f"{show(self.judge)}, the model itself", "another network")
        fewest, field = (FEWEST, "dataset") if self.mode == "component" else (self.made, "images")
        if data.test is not None and data.test < fewest:
            raise context.error(field, f"{self.dataset} with {data.test}", f"a set of at least {fewest} test images")
        if self.mode == "component" and data.side is not None and data.side < SMALLEST:
            takes = f"images of at least {SMALLEST}x{SMALLEST}"
            raise context.error("dataset", f"{data.side}x{data.side} images", takes)
        longest = max((c + 1 for c in self.components), default=0) if self.components is not None else self.made
        if self.mode == "component" and model.length is not None and longest > model.length:
            field = "count" if self.components is None else "components"
            takes = f"components of a representation of length {model.length}: 0 to {model.length - 1}"
            raise context.error(field, show(self.components or self.made), takes)
        return replace(data, arch=model.arch, length=model.length)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        looks = self.made
        judged = 0.0
        if self.judge is not None:
            looks = (inputs[self.dataset].test or UNKNOWN_IMAGES) + 2 * self.made
            judged = inputs[self.judge].forward * looks
        return judged + inputs[self.model].forward * (looks + 3 * self.gradient_steps * self.made)
