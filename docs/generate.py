"""Writes docs/settings.md and docs/job-kinds.md from the models: `python docs/generate.py` (a test compares)."""

import json
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
    """The table of all settings."""
    rows = [
        f"| `ROBXFER_{name.upper()}` | {_default(field)} | {_cell(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return (
        "# Settings\n\nRead from the environment by the API, the workers and the command line. Nothing has to be set:\n"
        "the default is the embedded stack in `robxfer-data`. A relative folder is made absolute at the start.\n\n"
        "| variable | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def job_kinds() -> str:
    """Every kind of job and every study with its parameters, nested models after them."""
    parts = [
        "# Kinds of jobs\n\nAlso at `GET /v1/job-kinds`. A reference is the name of another job of the spec, see"
        " [spec.md](spec.md).\nEvery job also takes `run` (see [Running](#running)) and `matrix`.\n"
        "Unit: of a number; none for a count or a factor. Source: the publications that a meaning or a default is from;"
        " where\nthere is none, it is this project's own.\n"
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
    rows = []
    for name, field in model.model_fields.items():
        if name in ("kind", "run"):
            continue
        _models(field.annotation, nested)
        meaning = _cell(field.description or "")
        kind, of = _type(field.annotation), unit(model, name, field)
        cells = (f"`{name}`", kind, of, _default(field), meaning, source(meaning))
        rows.append(f"| {' | '.join(cells)} |")
    if "run" in model.model_fields:
        _models(model.model_fields["run"].annotation, nested)
    text = " ".join((model.__doc__ or "").split())
    head = "| parameter | type | unit | default | meaning | source |\n|---|---|---|---|---|---|\n"
    table = head + "\n".join(rows)
    return f"## {title}\n\n{text}\n\n{table}\n"


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
        return f"list of {_type(arguments[0])}"
    if get_origin(annotation) is not None and all(isinstance(a, str) for a in arguments):
        return ", ".join(f"`{a}`" for a in arguments)
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
    }
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is PydanticUndefined:
        return "see meaning"
    if isinstance(value, Strict):
        changed = value.model_dump(mode="json", exclude_defaults=True)
        return f"`{json.dumps(changed)}`" if changed else "its defaults"
    if value is None or value == "" or value == []:
        return "none"
    if hasattr(value, "get_secret_value"):
        return "none"
    return f"`{json.dumps(value, default=str)}`" if not isinstance(value, Path) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    (HERE / "settings.md").write_text(settings())
    (HERE / "job-kinds.md").write_text(job_kinds())
