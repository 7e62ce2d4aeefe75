"""Spec to plan: expand studies and matrices, resolve references, order, check that models fit the images, key.

A key is known before anything runs: it is the sha256 of the kind, its recipe version, its parameters and the keys of
its inputs. Equal keys are one job, in one experiment or in many.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from robxfer_core.jobs.base import Job, Running
from robxfer_core.jobs.registry import get_kind
from robxfer_core.jobs.shapes import ShapeContext, Shapes
from robxfer_core.spec.base import digest, references
from robxfer_core.spec.datasets import DatasetInfo
from robxfer_core.spec.errors import Place, Problem, SpecError, place, show
from robxfer_core.studies import expand as expand_study

from .experiment import Experiment, problems_of
from .matrix import MatrixMember, expand


@dataclass(frozen=True)
class InputRef:
    """One input of a node: the reference's field ('arms.0.transfers'), its index there, and what it resolved to."""

    field: str
    index: int
    node: str
    key: str


@dataclass(frozen=True)
class Node:
    """An experiment's name for a job."""

    name: str
    kind: str
    recipe: int
    params: dict[str, Any]
    """References hold keys."""
    key: str
    inputs: tuple[InputRef, ...]
    running: Running
    artifact: str
    """The type of what it leaves."""
    job: Job
    """The validated parameters, with references to node names."""
    shapes: Shapes
    """Sizes of its result."""
    flops: float
    """Floating-point operations."""
    bytes: float
    """Bytes that it will leave in the store."""


@dataclass(frozen=True)
class Plan:
    """Nodes, inputs before the nodes that take them. Several nodes may share a key."""

    nodes: tuple[Node, ...]


def make_plan(experiment: Experiment, datasets: Mapping[str, DatasetInfo] | None = None) -> Plan:
    """Plan a whole experiment.

    Args:
        experiment: The validated spec.
        datasets: The data sets that workers can read, by name (`spec.datasets.scan`). None: unknown, so that names are
            not checked.

    Raises:
        SpecError: Something does not fit; the error names every place, up to 20.
    """
    jobs, places = _jobs(experiment)
    nodes: dict[str, Node] = {}
    shapes: dict[str, Shapes] = {}
    problems: dict[tuple[str, str], Problem] = {}
    try:
        members = expand(jobs)
    except SpecError as error:
        raise SpecError([_at_study(problem, places) for problem in error.problems]) from None
    for member in members:
        at = places[member.job]
        try:
            job = _validated(member, at)
            lacking = next(((where, ref) for where, ref in references(job) if ref not in nodes), None)
            if lacking and problems:
                continue  # what it takes is wrong already
            if lacking:
                where, ref = lacking
                raise SpecError([Problem(place((*at, *where)), show(ref), "the name of a job of this spec")])
            shapes[member.name] = job.shapes(ShapeContext(shapes, datasets, at))
            node = _node(member.name, job, nodes, shapes, _running(job, experiment.run, at))
            _check_distinct(node, at)
            nodes[member.name] = node
        except SpecError as error:
            problems |= {(p.at, p.takes): p for p in error.problems}
            if len(problems) >= 20:
                break
    if problems:
        raise SpecError(list(problems.values()))
    return Plan(tuple(nodes.values()))


def _jobs(experiment: Experiment) -> tuple[dict[str, dict[str, Any]], dict[str, Place]]:
    """All jobs by name, those of studies included, and the place in the spec each comes from."""
    jobs: dict[str, dict[str, Any]] = dict(experiment.jobs)
    places: dict[str, Place] = {name: ("jobs", name) for name in jobs}
    for name, study in experiment.studies.items():
        graph = expand_study(name, study)
        jobs |= graph.jobs
        places |= {job: ("studies", name, *at) for job, at in graph.places.items()}
    return jobs, places


def _at_study(problem: Problem, places: dict[str, Place]) -> Problem:
    """A problem of a study's job, at its place in the study."""
    for job, at in places.items():
        if at[0] == "studies" and (problem.at == f"jobs.{job}" or problem.at.startswith(f"jobs.{job}.")):
            return Problem(place(at), f"{problem.got} (in its job {job})", problem.takes)
    return problem


def _validated(member: MatrixMember, at: Place) -> Job:
    try:
        return get_kind(str(member.raw["kind"])).model_validate(member.raw)
    except ValidationError as error:
        raise SpecError(problems_of(error, member.raw, at)) from None


def _running(job: Job, default: Running, at: Place) -> Running:
    """How a job is run. The GPUs that the experiment's `run` says are meant for the jobs that can take them."""
    if job.SEVERAL_GPUS:
        return job.run or default
    if job.run is not None and job.run.gpus > 1:
        at = (*at, "run", "gpus")
        raise SpecError([Problem(place(at), str(job.run.gpus), "1; only `train` computes on several")])
    return (job.run or default).model_copy(update={"gpus": 1})


def _check_distinct(node: Node, at: Place) -> None:
    """Refuse references that have to name different jobs and name one: two names of one key are one job."""
    inputs = {ref.field: ref for ref in node.inputs}
    for field, other in node.job.DISTINCT:
        if field in inputs and other in inputs and inputs[field].key == inputs[other].key:
            got = f"{show(inputs[field].node)}, the very network that {show(inputs[other].node)} is"
            raise SpecError([Problem(place((*at, field)), got, "another network")])


def _node(name: str, job: Job, nodes: dict[str, Node], shapes: dict[str, Shapes], running: Running) -> Node:
    params = job.params()
    inputs: list[InputRef] = []
    by_field: dict[str, list[Node]] = {}
    for where, ref in references(job):
        field = ".".join(str(part) for part in (where[:-1] if job.GATHERS else where))
        by_field.setdefault(field, []).append(nodes[ref])
    for field, taken in by_field.items():
        if job.GATHERS:
            taken = sorted({node.key: node for node in taken}.values(), key=lambda node: node.key)
        inputs += [InputRef(field, index, node.name, node.key) for index, node in enumerate(taken)]
        keys = [node.key for node in taken]
        _replace(params, field.split("."), keys if job.GATHERS else keys[0])
    return Node(
        name=name,
        kind=job.kind_name(),
        recipe=job.RECIPE,
        params=params,
        key=digest(job.key_content(params)),
        inputs=tuple(inputs),
        running=running,
        artifact=job.ARTIFACT,
        job=job,
        shapes=shapes[name],
        flops=job.flops(shapes, shapes[name]),
        bytes=job.stored_bytes(shapes[name]),
    )


def _replace(params: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        params = params[int(part)] if isinstance(params, list) else params[part]
    params[int(path[-1]) if isinstance(params, list) else path[-1]] = value
