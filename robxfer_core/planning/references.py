"""References of jobs to jobs, as they stand in a spec before it is validated: `name`, or `name[axis=value,...]`."""

import json
import re
from typing import Any

from robxfer_core.jobs.base import Job
from robxfer_core.jobs.registry import KINDS, accepted_kinds, find_kind
from robxfer_core.spec import yaml
from robxfer_core.spec.errors import Place, Problem, SpecError, place, show

_REFERENCE = re.compile(r"^(?P<name>[^\[\]]+)(?:\[(?P<pins>[^\[\]]+)\])?$")


def uses(raw: dict[str, Any], kind: type[Job]) -> list[tuple[tuple[str | int, ...], str]]:
    """The references of an unvalidated job: ((place), text)."""
    found: list[tuple[tuple[str | int, ...], str]] = []

    def walk(value: Any, at: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in kind.TAKES and isinstance(item, str):
                    found.append(((*at, key), item))
                elif key in kind.TAKES and isinstance(item, list):
                    found.extend(((*at, key, i), text) for i, text in enumerate(item) if isinstance(text, str))
                else:
                    walk(item, (*at, str(key)))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, (*at, index))

    walk({key: value for key, value in raw.items() if key not in ("run", "matrix")}, ())
    return found


def kind_at(raw: dict[str, Any], at: Place) -> type[Job]:
    """The kind of an unvalidated job.

    Raises:
        SpecError: There is no kind of that name.
    """
    kind = find_kind(raw.get("kind"))
    if kind is None:
        got = "nothing" if raw.get("kind") is None else show(raw["kind"])
        raise SpecError([Problem(place((*at, "kind")), got, f"one of {', '.join(KINDS)}")])
    return kind


def ordered(jobs: dict[str, dict[str, Any]], root: str) -> list[str]:
    """Job names, inputs first; refuses unknown references, wrong kinds and cycles."""
    problems: list[Problem] = []
    needs: dict[str, list[str]] = {}
    for job, raw in jobs.items():
        kind = kind_at(raw, (root, job))
        needs[job] = []
        for at, text in uses(raw, kind):
            match = _REFERENCE.match(text)
            name = match["name"] if match else text
            where = place((root, job, *at))
            if name not in jobs:
                problems.append(Problem(where, show(text), f"the name of a job: {some_of(jobs)}"))
                continue
            takes = accepted_kinds(kind, str(next(part for part in reversed(at) if isinstance(part, str))))
            other = find_kind(jobs[name].get("kind"))
            if other is not None and other.kind_name() not in takes:
                got = f"{show(name)}, a {other.kind_name()} job"
                problems.append(Problem(where, got, f"a {' or '.join(takes)} job"))
            needs[job].append(name)
    if problems:
        raise SpecError(problems)
    order: list[str] = []
    state: dict[str, int] = {}
    for start in jobs:
        stack = [(start, iter(needs[start]))] if start not in state else []
        if stack:
            state[start] = 1
        while stack:
            job, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[job] = 2
                order.append(job)
                stack.pop()
            elif state.get(following) == 1:
                names = [name for name, _ in stack]
                loop = [*names[names.index(following) :], following]
                raise SpecError([Problem(f"{root}.{job}", f"a cycle: {' -> '.join(loop)}", "jobs without a cycle")])
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(needs[following])))
    return order


def parsed(text: str, at: tuple[str | int, ...]) -> tuple[str, dict[str, str]]:
    """'source[eps=0.50]' -> ('source', {'eps': '0.5'})."""
    match = _REFERENCE.match(text)
    pins: dict[str, str] = {}
    for pin in (match["pins"] or "").split(",") if match else []:
        axis, equals, value = pin.partition("=")
        if equals:
            pins[axis.strip()] = text_of(_value(value.strip()))
        elif pin:
            raise SpecError([Problem(place(at), show(text), "name[axis=value,...]")])
    return (match["name"] if match else text), pins


def _value(text: str) -> Any:
    """What the text of a pin stands for: as in a spec, `.5` is the number 0.5."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = yaml.load(text.encode())
    except SpecError:
        return text
    return value if isinstance(value, bool | int | float | None) else text


def text_of(value: Any) -> str:
    """One text for equal values: 1 and 1.0 are the same point of an axis."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def some_of(names: dict[str, Any]) -> str:
    """The first of the names, for an error's text."""
    known = sorted(names)
    return (
        ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "") if known else "there is none"
    )
