"""Facts of a node's result before it is computed, and checks that the facts of two agree."""

from dataclasses import dataclass

from robxfer_core.spec.errors import Problem, SpecError, place
from robxfer_core.spec.fields import Arch


@dataclass(frozen=True)
class Facts:
    """Sizes of a node's result; None where only the data will tell."""

    channels: int | None = None
    side: int | None = None
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    arch: Arch | None = None
    """The network, for a model and for what was made with it."""
    length: int | None = None
    """Of the representation."""
    exact: bool = False
    """A data set whose signal is in single grey levels, which resampling would smooth away."""
    floats: bool = False
    """Whether images are stored as float16: those that were made, unless they are rounded to grey levels."""


def check_takes(model: Facts, data: Facts, at: tuple[str | int, ...]) -> None:
    """Refuse a model that cannot take the images as they are. at: the reference's place in the spec."""
    if data.exact and model.side is not None and data.side is not None and model.side != data.side:
        got = f"a model that computes on {model.side}x{model.side} pixels, for images of {data.side}x{data.side}"
        raise SpecError([Problem(place(at), got, "one of their very size: nothing is resampled after an embedding")])
    if model.channels == 1 and data.channels == 3:
        takes = "a model trained on 3 channels (one of 3 takes 1, repeated; not the other way)"
        raise SpecError([Problem(place(at), "a model of 1 channel for images of 3", takes)])


def check_classes(model: Facts, data: Facts, at: tuple[str | int, ...]) -> None:
    """A model that classifies the images has one output for each of their classes."""
    if model.classes is not None and data.classes is not None and model.classes != data.classes:
        got = f"a model of {model.classes} classes for a set of {data.classes}"
        raise SpecError([Problem(place(at), got, "a model that classifies this very data set")])


def check_images(seeds: Facts, data: Facts, at: tuple[str | int, ...]) -> None:
    """Seed images become images of the set: of its size, and of its channels (grey ones are repeated)."""
    if None not in (seeds.side, data.side) and seeds.side != data.side:
        got, takes = f"images of side {seeds.side}", f"images of side {data.side}, as those of the set (`size` resizes)"
        raise SpecError([Problem(place(at), got, takes)])
    if seeds.channels == 3 and data.channels == 1:
        raise SpecError([Problem(place(at), "images of 3 channels", "images of 1 channel, as those of the set")])


def check_features(features: Facts, clean: Facts, at: tuple[str | int, ...]) -> None:
    """Features that one head shall take come from one model, for one set of classes."""
    if features.length != clean.length or features.classes != clean.classes:
        got = f"features of length {clean.length} for {clean.classes} classes"
        takes = f"features by the same model, of length {features.length} for {features.classes} classes"
        raise SpecError([Problem(place(at), got, takes)])


def check_task(data: Facts, clean: Facts, at: tuple[str | int, ...]) -> None:
    """A set that was made from another is of its classes, side and channels."""
    for what in ("classes", "side", "channels"):
        own, other = getattr(data, what), getattr(clean, what)
        if own is not None and other is not None and own != other:
            raise SpecError(
                [Problem(place(at), f"a set of {what} {other}", f"the set it was made from, of {what} {own}")]
            )
