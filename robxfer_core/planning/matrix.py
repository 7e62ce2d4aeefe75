"""Matrices: one job of a spec becomes its members, one for each point of its axes.

A job's axes are those of its own `matrix` and those of every job it refers to (a reference fans out); jobs that share
an axis are joined on it. `name[axis=value]` refers to the members at that value. A parameter that reads `$axis` takes
the axis's value. A kind that gathers (a report) takes all members instead.
"""

import copy
import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Any

from robxfer_core.jobs.base import Job
from robxfer_core.spec.errors import Problem, SpecError, place, show

from .references import kind_at, ordered, parsed, some_of, text_of, uses

MAX_NODES = 10_000
MAX_VALUE = 100  # characters of a matrix value
MAX_POINTS = 100_000  # of one job, while its references are joined: later ones may leave fewer
MAX_INPUTS = 200_000  # of all jobs together

Axes = dict[str, Any]


@dataclass(frozen=True)
class MatrixMember:
    """One point of a job's axes, not yet validated."""

    name: str
    job: str
    raw: dict[str, Any]
    axes: Axes = field(default_factory=dict)


def node_name(job: str, axes: Axes) -> str:
    """('gap.source', {eps: .5, seed: 1}) -> 'gap.source[eps=0.5,seed=1]'."""
    return f"{job}[{','.join(f'{axis}={text_of(value)}' for axis, value in axes.items())}]" if axes else job


def expand(jobs: dict[str, dict[str, Any]], root: str = "jobs") -> list[MatrixMember]:
    """All members of all jobs, inputs before the jobs that take them. Raises SpecError."""
    order = ordered(jobs, root)
    done: dict[str, list[MatrixMember]] = {}
    total = inputs = 0
    for job in order:
        members = _members(job, jobs[job], done, (root, job), MAX_NODES - total, MAX_INPUTS - inputs)
        total += len(members)
        inputs += len(members) * len(uses(members[0].raw, kind_at(jobs[job], (root, job))))
        done[job] = members
    return [member for job in order for member in done[job]]


def _members(
    job: str, raw: dict[str, Any], done: dict[str, list[MatrixMember]], at: tuple[str, ...], room: int, inputs: int
) -> list[MatrixMember]:
    """room, inputs: how many members, and inputs of members, the plan has left."""
    kind = kind_at(raw, at)
    raw = dict(raw)
    own = _own_axes(raw.pop("matrix", None), kind, at)
    times = math.prod(len(values) for _, _, values in own)
    taken = 0
    points: list[tuple[Axes, dict[tuple[str | int, ...], Any]]] = [({}, {})]
    for where, text in uses(raw, kind):
        name, pins = parsed(text, (*at, *where))
        matching = [m for m in done[name] if all(text_of(m.axes.get(axis)) == value for axis, value in pins.items())]
        if not matching:
            axes = sorted({axis for member in done[name] for axis in member.axes}) or ["none"]
            raise SpecError(
                [Problem(place((*at, *where)), show(text), f"values of the axes of {name} ({', '.join(axes)})")]
            )
        if kind.GATHERS:
            taken += len(matching) * times
            if taken > inputs:
                got = f"{show(text)}, with which this job has {taken} inputs"
                raise SpecError([Problem(place((*at, *where)), got, f"at most {MAX_INPUTS} in all")])
            for _, chosen in points:
                chosen[where] = [member.name for member in matching]
        else:
            points = _join(points, where, matching, set(pins), at)
            if not points:
                raise SpecError(
                    [Problem(place((*at, *where)), show(text), "a job that shares a value on the common axes")]
                )
    doubled = {axis for axes, _ in points for axis in axes} & {axis for axis, _, _ in own}
    if doubled:
        got = f"the axis {', '.join(sorted(doubled))}, which a job it refers to has too"
        raise SpecError([Problem(place((*at, "matrix")), got, "axes of other names")])
    if len(points) * times > room:
        raise _too_many(len(points) * times, at)
    members = []
    for axes, chosen in points:
        for values in itertools.product(*(values for _, _, values in own)):
            members.append(_member(job, raw, axes, chosen, own, values, at))
    return members


def _join(
    points: list[tuple[Axes, dict[tuple[str | int, ...], Any]]],
    where: tuple[str | int, ...],
    matching: list[MatrixMember],
    pinned: set[str],
    at: tuple[str, ...],
) -> list[tuple[Axes, dict[tuple[str | int, ...], Any]]]:
    """Every point with every member that agrees with it on the axes that both have."""
    offered = [({a: v for a, v in member.axes.items() if a not in pinned}, member.name) for member in matching]
    shared = [axis for axis in offered[0][0] if axis in points[0][0]]
    table: dict[tuple[str, ...], list[tuple[Axes, str]]] = {}
    for axes, name in offered:
        table.setdefault(tuple(text_of(axes[axis]) for axis in shared), []).append((axes, name))
    agreeing = [table.get(tuple(text_of(axes[axis]) for axis in shared), []) for axes, _ in points]
    count = sum(map(len, agreeing))
    if count > MAX_POINTS:  # said before they are made: two axes of thousands would not fit in memory
        raise _too_many(count, at)
    return [
        ({**axes, **more}, {**chosen, where: name})
        for (axes, chosen), given in zip(points, agreeing, strict=True)
        for more, name in given
    ]


def _too_many(count: int, at: tuple[str, ...]) -> SpecError:
    return SpecError([Problem(place((*at, "matrix")), f"{count} jobs from this one", f"at most {MAX_NODES} in all")])


def _member(
    job: str,
    raw: dict[str, Any],
    axes: Axes,
    chosen: dict[tuple[str | int, ...], Any],
    own: list[tuple[str, str, list[Any]]],
    values: tuple[Any, ...],
    at: tuple[str, ...],
) -> MatrixMember:
    made = copy.deepcopy(raw)
    axes = {**axes, **{axis: value for (axis, _, _), value in zip(own, values, strict=True)}}
    for (axis, path, _), value in zip(own, values, strict=True):
        _set(made, path.split("."), value, (*at, "matrix", axis))
    made = _substitute(made, axes, at)
    gathered: dict[tuple[str | int, ...], list[str]] = {}
    for where, name in chosen.items():
        if isinstance(name, list):
            holder = where[:-1] if isinstance(where[-1], int) else where
            gathered.setdefault(holder, []).extend(name)
        else:
            _put(made, where, name)
    for where, names in gathered.items():
        _put(made, where, list(dict.fromkeys(names)))
    return MatrixMember(node_name(job, axes), job, made, axes)


def _own_axes(matrix: Any, kind: type[Job], at: tuple[str, ...]) -> list[tuple[str, str, list[Any]]]:
    """[(axis, parameter path, values)] of a `matrix`; the axis is the path's last word."""
    if matrix is None:
        return []
    if not isinstance(matrix, dict):
        raise SpecError([Problem(place((*at, "matrix")), show(matrix), "a mapping: parameter path -> list of values")])
    axes: list[tuple[str, str, list[Any]]] = []
    for path, values in matrix.items():
        where = place((*at, "matrix", str(path)))
        if not isinstance(path, str) or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", path):
            raise SpecError([Problem(where, show(path), "a parameter path such as threat.eps")])
        words = path.split(".")
        if words[0] in ("kind", "matrix", "run"):
            raise SpecError([Problem(where, show(path), f"a parameter; {words[0]} is the same for all members")])
        if any(word in kind.TAKES for word in words) or uses({"": values}, kind):  # the plan would not see these inputs
            takes = "parameters that are no references; a reference fans out over the matrix of the job that it names"
            raise SpecError([Problem(where, show(values), takes)])
        if not isinstance(values, list) or not values:
            raise SpecError([Problem(where, show(values), "a list of at least one value")])
        long = [value for value in values if len(text_of(value)) > MAX_VALUE]
        if long:
            raise SpecError(
                [Problem(where, show(long[0]), f"values of at most {MAX_VALUE} characters: they name nodes")]
            )
        if len({text_of(value) for value in values}) != len(values):
            raise SpecError([Problem(where, show(values), "values without repetition")])
        axes.append((path.rsplit(".", 1)[-1], path, values))
    if len({axis for axis, _, _ in axes}) != len(axes):
        raise SpecError([Problem(place((*at, "matrix")), show(list(matrix)), "paths with different last words")])
    return axes


def _substitute(value: Any, axes: Axes, at: tuple[str | int, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, axes, (*at, str(key))) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, axes, (*at, index)) for index, item in enumerate(value)]
    if isinstance(value, str) and re.fullmatch(r"\$[a-z_]+", value):
        if value[1:] not in axes:
            raise SpecError([Problem(place(at), show(value), f"an axis of this job: {some_of(axes)}")])
        return axes[value[1:]]
    return value


def _set(made: dict[str, Any], path: list[str], value: Any, at: tuple[str | int, ...]) -> None:
    for part in path[:-1]:
        inner = made.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SpecError([Problem(place(at), f"{part} is {show(inner)}", f"a mapping at {part}")])
        made = inner
    made[path[-1]] = value


def _put(made: Any, where: tuple[str | int, ...], value: Any) -> None:
    for part in where[:-1]:
        made = made[part]
    made[where[-1]] = value
