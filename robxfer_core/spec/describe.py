"""Describes the parameters and the results of kinds and studies, from the models themselves."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .base import Strict
from .units import PIXELS, Unit

UNITS: dict[str, str] = {
    **dict.fromkeys(("eps", "step_size", "levels", "limit", "usual"), PIXELS),
    **dict.fromkeys(("crop", "input_size", "size"), "pixels"),
    **dict.fromkeys(("mean", "std"), "pixel values in [0,1]"),
    **dict.fromkeys(("epochs",), "epochs"),
    **dict.fromkeys(("steps", "attack_steps", "holdout_attack_steps"), "gradient steps"),
    **dict.fromkeys(("batch_size", "max_images", "max_train", "max_test", "sizes", "evaluation_images"), "images"),
    "images": "numbers of images",
    "payload": "bits a value of a pixel",
    **dict.fromkeys(("images_per_class", "few_shot"), "images of each class"),
    **dict.fromkeys(("n1", "n2", "test"), "samples"),
    **dict.fromkeys(("deadline_s", "backoff_s"), "seconds"),
    **dict.fromkeys(("max_bytes",), "bytes"),
    **dict.fromkeys(("failed", "timed_out", "out_of_memory", "lost"), "attempts"),
    **dict.fromkeys(("gpus",), "GPUs"),
    **dict.fromkeys(("components", "hidden", "rank", "dimension", "support"), "components"),
    **dict.fromkeys(("classes", "source_classes", "target_classes"), "classes"),
    **dict.fromkeys(("seed", "seeds"), "none: the number of a draw"),
    **dict.fromkeys(
        ("holdout", "validation", "warmup", "eps_warmup", "milestones", "label_smoothing", "until", "min_fooling"),
        "fraction from 0 to 1",
    ),
    **dict.fromkeys(("margin", "confidence", "max_p_e", "min_agreement"), "fraction from 0 to 1"),
    **dict.fromkeys(("snr",), "ratio of signal to noise"),
    **dict.fromkeys(("lr", "tune_lr"), "weights' change for a unit of gradient"),
    **dict.fromkeys(("weight_decay", "tune_weight_decay"), "gradient for a unit of weight"),
}
"""Unit of each number, by the parameter's name, which means one thing. A parameter that is not here is a count or a
factor. Numbers of results have their unit in their type."""
OWN_UNITS: dict[tuple[str, str], str] = {
    ("Linear", "eps"): "standard deviations of the noise in a coordinate",
    ("Multiclass", "eps"): "standard deviations of an input's coordinate",
}
"""Unit of a number that differs in one model, by the model's and the parameter's name."""
_CITED = re.compile(
    r"[A-Z][A-Za-zé]+(?: (?:&|and) [A-Z][A-Za-z]+| et al\.)? \d{4}(?:, (?:section|appendix|table) ?[\w.]*)?"
)
_SAID = re.compile(r"(?:Source: |: )?(the robustness library(?:'s)?|torchvision's?|the paper's section [\d.]+)")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kind, a study or a part of one."""

    name: str
    meaning: str
    type: str
    """In words: `number`, `list of integers`, the name of a model."""
    unit: str
    """Empty for other types than numbers."""
    required: bool
    default: Any
    """As JSON."""
    source: str
    """Publications that the meaning names; empty where the default is this project's own."""


@dataclass(frozen=True)
class ResultField:
    """A field of a result or of a part of one."""

    name: str
    meaning: str
    type: str
    """In words: `number`, `list of integers`, the name of a model."""
    unit: str
    """Empty for other types than numbers."""
    optional: bool
    """Whether it may be absent or null."""


def parameters(model: type[BaseModel]) -> Iterator[Parameter]:
    """Describes the parameters of a kind, a study or a part of one, in the model's order."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        required = field.is_required()
        default = None if required or field.default is PydanticUndefined else properties[name].get("default")
        yield Parameter(
            name=name,
            meaning=_meaning(field),
            type=type_name(field.annotation),
            unit=unit(model, name, field),
            required=required,
            default=default,
            source=source(_meaning(field)),
        )


def result_fields(model: type[BaseModel]) -> Iterator[ResultField]:
    """Describes the fields of a result or of a part of one, in the model's order."""
    for name, field in model.model_fields.items():
        optional = not field.is_required() or NoneType in get_args(field.annotation)
        yield ResultField(name, _meaning(field), type_name(field.annotation), unit(model, name, field), optional)


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def unit(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The unit of a number, a list or a map of numbers of a model; empty for other types."""
    if not _numeric(field.annotation):
        return ""
    own = next((item for item in field.metadata if isinstance(item, Unit)), None) or _unit_inside(field.annotation)
    if own is not None:
        return own.name
    return OWN_UNITS.get((model.__name__, name), UNITS.get(name, "none")) if issubclass(model, Strict) else "none"


def _unit_inside(annotation: Any) -> Unit | None:
    """The unit in a type such as `dict[str, Annotated[float, Unit(...)]]`."""
    inside = (item if isinstance(item, Unit) else _unit_inside(item) for item in get_args(annotation))
    return next((item for item in inside if item is not None), None)


def source(meaning: str) -> str:
    """The publications that a parameter's meaning names, separated by semicolons."""
    return "; ".join(dict.fromkeys([*_CITED.findall(meaning), *_SAID.findall(meaning)]))


def parts(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models inside a model, at any depth, by name."""
    inside: dict[str, type[BaseModel]] = {}

    def walk(annotation: Any) -> None:
        if _is_model(annotation) and annotation.__name__ not in inside:
            inside[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                walk(field.annotation)
        for argument in get_args(annotation):
            walk(argument)

    for field in model.model_fields.values():
        walk(field.annotation)
    return inside


def type_name(annotation: Any, link: Callable[[str], str] = str) -> str:
    """Names a type in words: "number", "list of integers", "map of numbers", "one of `a`, `b`".

    Args:
        annotation: The type.
        link: Renders the name of a model.
    """
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    if _is_model(annotation):
        return link(annotation.__name__)
    if get_origin(annotation) is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(f"`{argument}`" for argument in arguments)
    if get_origin(annotation) in (list, tuple, dict):
        is_map = get_origin(annotation) is dict
        return f"{'map' if is_map else 'list'} of {_plural(type_name(arguments[1 if is_map else 0], link))}"
    if arguments and all(map(_is_model, arguments)):
        return " or ".join(type_name(argument, link) for argument in arguments)
    if get_origin(annotation) is not None and arguments:
        return type_name(arguments[0], link)
    name = getattr(annotation, "__name__", str(annotation))
    return _TYPE_NAMES.get(name, name)


def _plural(name: str) -> str:
    first, space, rest = name.removeprefix("one of ").partition(" ")
    return (
        f"{first}s{space}{rest}" if first in ("integer", "number", "list", "map", "reference") else first + space + rest
    )


_TYPE_NAMES = {
    "Ref": "reference",
    "Gather": "reference to all members",
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
}


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _numeric(annotation: Any) -> bool:
    return annotation in (int, float) or any(_numeric(argument) for argument in get_args(annotation))
