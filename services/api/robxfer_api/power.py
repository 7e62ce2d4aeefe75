"""The smallest difference that the design of a planned report would likely show, before anything runs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from robxfer_core.jobs.registry import KINDS
from robxfer_core.jobs.shapes import Facts
from robxfer_core.planning.fit import facts_of
from robxfer_core.planning.plan import Catalog, Node, Plan
from robxfer_core.planning.power import detectable_effect

# Before there are results, the spread is assumed: differences of accuracy vary by 2 points over seeds, and images
# disagree about as often as two networks of 90 % accuracy whose errors mostly coincide.
SEED_SD = 0.02
IMAGE_SD = 0.2

Nodes = Mapping[str, Node]


@dataclass(frozen=True)
class Design:
    """What a report compares: `levels`, the first of which the others are held against, each with so many seeds."""

    seeds: int
    levels: int
    targets: int
    compared: str = "levels"


def detectable(plan: Plan, catalog: Catalog | None) -> dict[str, Any] | None:
    """Of each report: the smallest difference of accuracy that its design would likely show, and what that assumes."""
    reports = [node for node in plan.nodes if node.kind in DESIGNS]
    if not reports:
        return None
    by_key = {node.key: node for node in plan.nodes}
    facts: dict[str, Facts] = {}
    for node in plan.nodes:
        facts.setdefault(node.key, facts_of(KINDS[node.kind].model_validate(node.params), facts, catalog, (node.name,)))
    return {report.name: _effect(report, DESIGNS[report.kind](report, by_key), facts[report.key]) for report in reports}


def _effect(report: Node, design: Design, facts: Facts) -> dict[str, Any]:
    effect = None
    if facts.test:
        effect = detectable_effect(
            design.seeds,
            design.levels,
            facts.test,
            SEED_SD,
            IMAGE_SD,
            targets=design.targets,
            margin=report.params.get("margin", 0.0),
            confidence=report.params["confidence"],
        )
    basis = (
        f"{design.levels} {design.compared}, {design.seeds} seeds, {facts.test or 'an unknown number of'} test images, "
        f"{design.targets} targets; power 0.8; assumed spread of a difference: {SEED_SD:g} over seeds, "
        f"{IMAGE_SD:g} over images"
    )
    told = {"seeds": design.seeds, "levels": design.levels, "targets": design.targets, "n_test": facts.test}
    return {"effect": effect, "basis": basis, **told}


def _gap(report: Node, by_key: Nodes) -> Design:
    return _family(report, by_key, len({arm["target"] for arm in report.params["arms"]}))


def _steganalysis(report: Node, by_key: Nodes) -> Design:
    return _family(report, by_key, len(report.params["arms"]))


def _family(report: Node, by_key: Nodes, targets: int) -> Design:
    """By the evaluations of the source models; of a published family, which has none, by what was made with them."""
    told = [ref.key for ref in report.inputs if ref.field == "sources"]
    seeds = _seeds(told or (ref.key for ref in report.inputs if ref.field == "arms.0.transfers"), by_key)
    return Design(min((len(each) for each in seeds.values()), default=0), len(seeds), targets)


def _which_eps(report: Node, by_key: Nodes) -> Design:
    seeds = _seeds((ref.key for ref in report.inputs if ref.field == "amounts.0.transfers"), by_key)
    return Design(min((len(each) for each in seeds.values()), default=0), len(seeds), len(report.params["amounts"]))


def _source_modification(report: Node, by_key: Nodes) -> Design:
    arms = [arm for arm in report.params["arms"] if arm["name"] != "random_init"]
    return Design(min(len(arm["transfers"]) for arm in arms), len(arms), 1, "ways of making sources")


def _seeds(keys: Iterable[str], by_key: Nodes) -> dict[float, set[int]]:
    """Seeds of the family's models by eps, of which these jobs were made."""
    found: dict[float, set[int]] = defaultdict(set)
    for key in keys:
        model = _model_of(by_key[key], by_key)
        if model.params.get("epochs", 1) > 0:  # a random network is no level of the family
            found[model.params["threat"]["eps"]].add(model.params["seed"])
    return found


def _model_of(node: Node, by_key: Nodes) -> Node:
    """The model that a job was given, or that its features were computed by."""
    given = {ref.field: by_key[ref.key] for ref in node.inputs}
    return given["model"] if "model" in given else _model_of(given["features"], by_key)


DESIGNS: dict[str, Callable[[Node, Nodes], Design]] = {
    "report": _gap,
    "source_modification_report": _source_modification,
    "steganalysis_report": _steganalysis,
    "which_eps_report": _which_eps,
}
"""Of the reports that compare accuracies."""
