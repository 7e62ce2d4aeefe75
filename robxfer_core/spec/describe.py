"""What each parameter of a kind or a study is: meaning, unit, default, source, read from the models themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .base import Strict

PIXELS = "pixel units of images in [0,1]"
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
"""Unit of each number, by the parameter's name, which means one thing. What is not here is a count or a factor."""
OWN_UNITS: dict[tuple[str, str], str] = {
    ("Linear", "eps"): "standard deviations of the noise in a coordinate",
    ("Multiclass", "eps"): "standard deviations of an input's coordinate",
}
"""Unit of a number that is another in one model, by the model's and the parameter's name."""
_CITED = re.compile(
    r"[A-Z][A-Za-zé]+(?: (?:&|and) [A-Z][A-Za-z]+| et al\.)? \d{4}(?:, (?:section|appendix|table) ?[\w.]*)?"
)
_SAID = re.compile(r"(?:Source: |: )?(the robustness library(?:'s)?|torchvision's?|the paper's section [\d.]+)")


@dataclass(frozen=True)
class Parameter:
    name: str
    meaning: str
    unit: str
    """Empty for what is no number."""
    required: bool
    default: Any
    """As JSON."""
    source: str
    """Publications that the meaning names; empty where the default is this project's own."""


def parameters(model: type[BaseModel]) -> Iterator[Parameter]:
    """The parameters of a kind, a study or a part of one, in the model's order."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        meaning = " ".join((field.description or "").split())
        required = field.is_required()
        default = None if required or field.default is PydanticUndefined else properties[name].get("default")
        yield Parameter(name, meaning, unit(model, name, field), required, default, source(meaning))


def unit(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The unit of a number or a list of numbers of a model; empty for anything else."""
    return OWN_UNITS.get((model.__name__, name), UNITS.get(name, "none")) if _numeric(field.annotation) else ""


def source(meaning: str) -> str:
    """The publications that a parameter's meaning names."""
    return "; ".join(dict.fromkeys([*_CITED.findall(meaning), *_SAID.findall(meaning)]))


def parts(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models inside a model, by name, those inside them too."""
    found: dict[str, type[BaseModel]] = {}

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Strict) and annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            for field in annotation.model_fields.values():
                walk(field.annotation)
        for argument in get_args(annotation):
            walk(argument)

    for field in model.model_fields.values():
        walk(field.annotation)
    return found


def _numeric(annotation: Any) -> bool:
    return annotation in (int, float) or any(_numeric(argument) for argument in get_args(annotation))
