"""The spec as a user hands it in: bytes of YAML or JSON to a validated experiment."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints, ValidationError

from robxfer_core.jobs.base import Running
from robxfer_core.spec.base import Strict
from robxfer_core.spec.errors import SHOWN, Problem, SpecError, place, show
from robxfer_core.spec.yaml import MAX_DEPTH
from robxfer_core.spec.yaml import load as from_yaml
from robxfer_core.studies import Study

MAX_BYTES = 1 << 20

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class Experiment(Strict):
    """A spec: jobs by name, studies that expand to jobs, and how to run them."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
    description: str = Field(default="", max_length=4000)
    labels: dict[Label, Label] = Field(default={}, max_length=32)
    run: Running = Running()
    jobs: dict[Name, dict[str, Any]] = {}
    """Each: `kind`, its parameters, and optionally `matrix` (parameter path -> values)."""
    studies: dict[Name, Study] = {}


def read_spec(data: bytes, media: Literal["yaml", "json"] = "yaml") -> Experiment:
    """Parse and validate the outside of a spec; its jobs are validated when they are planned.

    Raises SpecError for bytes over 1 MiB, broken or duplicated keys, anchors that multiply, unknown keys.
    """
    if len(data) > MAX_BYTES:
        raise SpecError([Problem("", f"{len(data)} bytes", f"at most {MAX_BYTES} bytes")])
    raw = _from_json(data) if media == "json" else from_yaml(data)
    if not isinstance(raw, dict):
        raise SpecError([Problem("", f"a {type(raw).__name__}", "a mapping with `name` and `jobs` or `studies`")])
    problems = list(_unstorable(raw, ()))
    if problems:
        raise SpecError(problems[:20])
    try:
        experiment = Experiment.model_validate(raw)
    except ValidationError as error:
        raise SpecError(problems_of(error, raw)) from None
    if not experiment.jobs and not experiment.studies:
        raise SpecError([Problem("jobs", "no job and no study", "at least one job or study")])
    return experiment


def _unstorable(value: Any, at: tuple[str | int, ...]) -> Iterator[Problem]:
    """What neither a key (RFC 8785 numbers are doubles) nor PostgreSQL (text without NUL, Unicode) can hold, and what
    is nested too deep to be walked through."""
    if len(at) > MAX_DEPTH:
        yield Problem(place(at[:5]), f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                got = f"the key {show(key)}, which is no text"
                yield Problem(place(at), got, "keys that are text: in YAML, quotes make one of a number")
                continue
            yield from _unstorable(key, (*at, key.encode("ascii", "backslashreplace").decode()))
            yield from _unstorable(item, (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, (*at, index))
    elif isinstance(value, int) and abs(value) >= 2**53:
        yield Problem(place(at), show(value), "integers of less than 2**53")
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        yield Problem(place(at), show(value), "Unicode text without NUL")


def problems_of(error: ValidationError, given: Any, prefix: tuple[str | int, ...] = ()) -> list[Problem]:
    """pydantic's errors as ours: where, what it got, what it takes. given: what was validated, which lies at prefix."""
    problems = []
    for item in error.errors(include_url=False):
        kind, got = item["type"], _got(item["input"])
        where = _within(given, item["loc"], lacks_last=kind == "missing")
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            told = item.get("ctx", {})
            where = (*where, str(told.get("discriminator", "kind")).strip("'"))
            got = show(told["tag"]) if "tag" in told else "nothing"
            takes = f"one of {told['expected_tags']}" if "expected_tags" in told else "a value (it is required)"
        elif kind == "extra_forbidden":
            takes, got = "no such key", f"the unknown key {show(where[-1])}"
        elif kind == "missing":
            takes, got = "a value (it is required)", "nothing"
        else:
            takes = _takes(item["msg"])
        problems.append(Problem(place((*prefix, *where)), got, takes))
    return problems


def _within(given: Any, loc: tuple[str | int, ...], *, lacks_last: bool) -> tuple[str | int, ...]:
    """The parts of pydantic's place that are in what was given; the others name members of unions.

    lacks_last: the last part is the name of what is missing there.
    """
    where: list[str | int] = []
    for part in loc[:-1] if lacks_last else loc:
        if part in (given if isinstance(given, dict) else range(len(given)) if isinstance(given, list) else ()):
            given = cast(Any, given)[part]
            where.append(part)
    return (*where, loc[-1]) if lacks_last else tuple(where)


def _got(value: Any) -> str:
    """A wrong value; of a large mapping, which is wrong as a whole, its keys."""
    text = show(value)
    if isinstance(value, dict) and text.endswith("..."):
        keys = ", ".join(map(str, value))
        return f"a mapping of {keys if len(keys) <= SHOWN else keys[:SHOWN] + '...'}"
    return text


def _takes(message: str) -> str:
    for start in ("Input should be ", "Value error, ", "String should match pattern "):
        if message.startswith(start):
            rest = message.removeprefix(start)
            return f"a string like {rest}" if "pattern" in start else rest
    return message[:1].lower() + message[1:]


def _from_json(data: bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in items:
            if key in seen:
                raise SpecError([Problem(show(key), "the same key twice in one object", "each key once")])
            seen[key] = value
        return seen

    def constant(text: str) -> Any:
        raise SpecError([Problem("", text, "finite numbers")])

    try:
        return json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError([Problem("", f"no JSON ({error})", "JSON in UTF-8")]) from None
