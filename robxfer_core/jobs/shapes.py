"""Shape inference: sizes of a job's result, before it is computed, and checks that the sizes of two jobs agree."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from robxfer_core.spec.archs import forward_flops, weights
from robxfer_core.spec.datasets import DatasetInfo
from robxfer_core.spec.errors import Place, Problem, SpecError, place
from robxfer_core.spec.fields import Arch

UNKNOWN_IMAGES = 10_000
"""Images of a split, in estimates, where the size of the data set is unknown."""
UNKNOWN_SIDE = 32
"""Side of an image in pixels, in estimates, where it is unknown."""
UNKNOWN_LENGTH = 512
"""Length of a representation, in estimates, where it is unknown."""
SMALL_BYTES = 64 * 1024
"""Estimate for an artifact that holds little more than its result.json."""
SMALL_FLOPS = 1e8
"""Estimate for a job that computes little."""
REPORT_BYTES = 4 << 20
"""Estimate for a report with its figures."""


@dataclass(frozen=True)
class Shapes:
    """Sizes of a job's result. None: only the data will tell."""

    channels: int | None = None
    """Channels of an image, 1 or 3."""
    side: int | None = None
    """Side of a square image, in pixels."""
    classes: int | None = None
    """Number of classes."""
    train: int | None = None
    """Images of the training split."""
    test: int | None = None
    """Images of the test split."""
    arch: Arch | None = None
    """The network, for a model and for a result that was computed with one."""
    length: int | None = None
    """Length of the representation."""
    exact: bool = False
    """Whether a data set carries its signal in single grey levels, which resampling would smooth away."""
    floats: bool = False
    """Whether images are stored as float16; otherwise as uint8."""

    @property
    def images(self) -> int:
        """Images of both splits; an assumed number where the training split is unknown."""
        return (self.train or UNKNOWN_IMAGES) + (self.test or 0)

    @property
    def values(self) -> int:
        """Values of one image: channels times pixels."""
        return (self.channels or 3) * (self.side or UNKNOWN_SIDE) ** 2

    @property
    def forward(self) -> float:
        """Floating-point operations of one image's forward pass through the network."""
        if self.arch is None:
            return 1e9
        return forward_flops(self.arch, self.channels or 3, self.side or UNKNOWN_SIDE, self.classes or 10)

    @property
    def dataset_bytes(self) -> float:
        """Bytes of a stored data set: pixels, and eight bytes of labels and order an image."""
        return self.images * (self.values * (2 if self.floats else 1) + 8)

    @property
    def model_bytes(self) -> float:
        """Bytes of a stored network: four for each weight."""
        if self.arch is None:
            return SMALL_BYTES
        return 4.0 * weights(self.arch, self.channels or 3, self.classes or 10)


@dataclass(frozen=True)
class ShapeContext:
    """What a kind may ask while it infers the shapes of its result."""

    inputs: Mapping[str, Shapes]
    """Shapes of the jobs that it may refer to, by node name."""
    datasets: Mapping[str, DatasetInfo] | None
    """Data sets that workers can read, by name. None: unknown, so that names are not checked."""
    place: Place
    """Where the job stands in the spec, for errors."""

    def __getitem__(self, reference: str) -> Shapes:
        return self.inputs[reference]

    def error(self, field: str | Place, got: str, takes: str) -> SpecError:
        """An error at a field of this job."""
        at = (field,) if isinstance(field, str) else field
        return SpecError([Problem(place((*self.place, *at)), got, takes)])

    def check_model_takes(self, model: Shapes, data: Shapes, field: str | Place) -> None:
        """Refuse a model that cannot take the images as they are.

        Raises:
            SpecError: The sides differ although nothing may be resampled, or the model takes one channel and the images
                have three.
        """
        if data.exact and None not in (model.side, data.side) and model.side != data.side:
            got = f"a model that computes on {model.side}x{model.side} pixels, for images of {data.side}x{data.side}"
            raise self.error(field, got, "one of their very size: nothing is resampled after an embedding")
        if model.channels == 1 and data.channels == 3:
            takes = "a model trained on 3 channels (one of 3 takes 1, repeated; not the other way)"
            raise self.error(field, "a model of 1 channel for images of 3", takes)

    def check_model_classifies(self, model: Shapes, data: Shapes, field: str | Place) -> None:
        """Refuse a model whose number of outputs is not the number of classes.

        Raises:
            SpecError: The two numbers are known and differ.
        """
        if None not in (model.classes, data.classes) and model.classes != data.classes:
            got = f"a model of {model.classes} classes for a set of {data.classes}"
            raise self.error(field, got, "a model that classifies this very data set")


def at_most(count: int | None, limit: int | None) -> int | None:
    """The smaller of two numbers of which either may be unknown."""
    return min((n for n in (count, limit) if n is not None), default=None)


def fewest_tests(context: ShapeContext, references: Iterable[str]) -> int | None:
    """The smallest number of test images among these jobs; None where none is known."""
    return min((n for n in (context[reference].test for reference in references) if n is not None), default=None)
