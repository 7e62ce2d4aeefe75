"""Writes docs/settings.md and docs/job-kinds.md from the models: `python docs/generate.py` (a test compares)."""

import json
import re
import textwrap
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from robxfer_core.jobs.registry import KINDS
from robxfer_core.settings import Settings
from robxfer_core.spec.base import Strict
from robxfer_core.spec.describe import source, unit
from robxfer_core.studies import STUDIES

HERE = Path(__file__).parent


def settings() -> str:
    """All settings, with defaults and meanings."""
    items = [
        _item(f"ROBXFER_{name.upper()}", [_default(field)], field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return (
        "# Settings\n\nRead from the environment by the API, the workers and the command line. Nothing has to be set:\n"
        "the default is the embedded stack in `robxfer-data`. A relative folder is made absolute at the start.\n\n"
        + "\n".join(items)
        + "\n"
    )


def job_kinds() -> str:
    """Every kind of job and every study with its parameters, nested models after them."""
    parts = [
        "# Kinds of jobs\n\nAlso at `GET /v1/job-kinds`. A reference is the name of another job of the spec, see"
        " [spec.md](spec.md).\nEvery job also takes `run` (see [Running](#running)) and `matrix`.\n"
        "After a parameter's name stand its type, the unit of a number that has one, and its default. A source is the\n"
        "publication that the meaning or the default is from; where none is named, it is this project's own.\n"
    ]
    nested: dict[str, type[BaseModel]] = {}
    for kind, model in KINDS.items():
        parts.append(_section(f"`{kind}`", model, nested))
    parts += [_section(f"Study `{kind}`", model, nested) for kind, (model, _) in STUDIES.items()]
    done: set[str] = set()
    while len(done) < len(nested):
        for name, model in list(nested.items()):
            if name not in done:
                done.add(name)
                parts.append(_section(name, model, nested))
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], nested: dict[str, type[BaseModel]]) -> str:
    items = []
    for name, field in model.model_fields.items():
        if name in ("kind", "run"):
            continue
        _models(field.annotation, nested)
        meaning, of = field.description or "", unit(model, name, field)
        kind = _type(field.annotation) + ("" if of.startswith("none") else f" ({of})" if of else "")
        publications = source(meaning)
        items.append(
            _item(name, [kind, _default(field)], meaning + (f" Source: {publications}." if publications else ""))
        )
    if "run" in model.model_fields:
        _models(model.model_fields["run"].annotation, nested)
    return f"## {title}\n\n{_wrapped(model.__doc__ or '')}\n\n" + "\n".join(items) + "\n"


def _models(annotation: Any, nested: dict[str, type[BaseModel]]) -> None:
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        nested.setdefault(annotation.__name__, annotation)
    for argument in get_args(annotation):
        _models(argument, nested)


def _type(annotation: Any) -> str:
    arguments = [a for a in get_args(annotation) if a is not NoneType]
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    if get_origin(annotation) is list:
        item = _type(arguments[0]).removeprefix("one of ")
        return f"list of {item.replace('integer', 'integers').replace('number', 'numbers')}"
    if get_origin(annotation) is not None and all(isinstance(a, str) for a in arguments):
        return ("one of " if len(arguments) > 1 else "") + ", ".join(f"`{a}`" for a in arguments)
    if arguments and all(isinstance(a, type) and issubclass(a, Strict) for a in arguments):
        return " or ".join(_type(a) for a in arguments)
    if get_origin(annotation) is not None and arguments:
        return _type(arguments[0])
    names = {
        "Ref": "reference",
        "Gather": "reference to all members",
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
    }
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _default(field: FieldInfo) -> str:
    """What a parameter is where it is left out, in words."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Strict):
        value = value.model_dump(mode="json", exclude_defaults=True)
        if not value:
            return "by default its own defaults"
    if value is PydanticUndefined or value in (None, "", []) or hasattr(value, "get_secret_value"):
        return "optional"
    return f"by default `{json.dumps(value, default=str) if not isinstance(value, Path) else value}`"


def _item(name: str, facts: list[str], meaning: str) -> str:
    """A parameter as an item of a list."""
    return _wrapped(f"- `{name}`: {'; '.join(facts)}. {meaning}", "  ")


def _wrapped(text: str, indent: str = "") -> str:
    """Lines of at most 120 characters, none of which begins with what Markdown takes for a list or a heading."""
    text = re.sub(r" (?=(?:[-+*>#]+|\d+[.)]) )", "\0", " ".join(text.split()))
    lines = textwrap.wrap(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


if __name__ == "__main__":
    (HERE / "settings.md").write_text(settings())
    (HERE / "job-kinds.md").write_text(job_kinds())
