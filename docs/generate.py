"""Writes docs/settings.md and docs/job-kinds.md from the models: `python docs/generate.py` (a test compares)."""

import json
import re
import textwrap
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from robxfer_core.jobs.registry import KINDS
from robxfer_core.settings import Settings
from robxfer_core.spec.base import Strict
from robxfer_core.spec.describe import parts as models_inside
from robxfer_core.spec.describe import source, type_name, unit
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
    """Every kind of job with its parameters and its result, every study, and the models inside them after that."""
    page = [
        "# Kinds of jobs\n\nAlso at `GET /v1/job-kinds`. A reference is the name of another job of the spec, see"
        " [spec.md](spec.md).\nEvery job also takes `run` (see [Running](#running)) and `matrix`.\n"
        "After a parameter's name stand its type, the unit of a number that has one, and its default. A source is the\n"
        "publication that the meaning or the default is from; where none is named, it is this project's own.\n"
        "Every job leaves a `result.json`; its fields are listed after the parameters of the kind, with their types and"
        " units.\n"
    ]
    inside: dict[str, type[BaseModel]] = {}
    inside_results: dict[str, type[BaseModel]] = {}
    for kind, model in KINDS.items():
        inside |= models_inside(model)
        page.append(_section(f"`{kind}`", model))
        for result in model.RESULTS:
            inside_results |= models_inside(result)
            page.append(f"{_wrapped(f'**Result.** {result.__doc__}')}\n\n{_result_items(result)}")
    for kind, (model, _) in STUDIES.items():
        inside |= models_inside(model)
        page.append(_section(f"Study `{kind}`", model))
    page += [_section(name, model) for name, model in inside.items()]
    page += [
        f"## {name}\n\n{_wrapped(model.__doc__ or '')}\n\n{_result_items(model)}"
        for name, model in inside_results.items()
        if name not in inside
    ]
    return "\n".join(page)


def _section(title: str, model: type[BaseModel]) -> str:
    items = []
    for name, field in model.model_fields.items():
        if name in ("kind", "run"):
            continue
        meaning = field.description or ""
        publications = source(meaning)
        cited = f"{meaning} Source: {publications}." if publications else meaning
        items.append(_item(name, [_typed(model, name, field), _default(field)], cited))
    return f"## {title}\n\n{_wrapped(model.__doc__ or '')}\n\n" + "\n".join(items) + "\n"


def _result_items(model: type[BaseModel]) -> str:
    items = []
    for name, field in model.model_fields.items():
        facts = [_typed(model, name, field)] + ([] if field.is_required() else ["absent where it does not apply"])
        items.append(_item(name, facts, field.description or ""))
    return "\n".join(items) + "\n"


def _typed(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """The type of a field, with the unit of a number that has one."""
    of = unit(model, name, field)
    kind = type_name(field.annotation, lambda nested: f"[{nested}](#{nested.lower()})")
    return kind + ("" if of.startswith("none") else f" ({of})" if of else "")


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
