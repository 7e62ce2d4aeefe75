"""Power analysis: the smallest effect that the design of a planned report would likely show, before anything runs."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from robxfer_core.jobs.base import Design
from robxfer_core.jobs.shapes import Shapes

from .plan import Node, Plan

SEED_SD = 0.02
"""Assumed standard deviation of a difference of accuracy over seeds, as a fraction, while there are no results."""
IMAGE_SD = 0.2
"""Assumed standard deviation of a difference over test images: about that of two networks of 90 % accuracy whose errors
mostly coincide."""


def detectable_effects(plan: Plan) -> dict[str, dict[str, Any]]:
    """The smallest detectable difference of accuracy of each report of a plan that compares accuracies.

    Returns:
        By the report's node: `effect` (a fraction; None where nothing can be shown), `basis` (what is assumed, in
        words), `seeds`, `levels`, `targets` and `n_test`.
    """
    by_key = {node.key: node for node in plan.nodes}
    by_name = {node.name: node for node in plan.nodes}

    def seeds(references: Iterable[str]) -> Mapping[float, set[int]]:
        return _seeds_by_level((by_name[reference] for reference in references), by_key)

    designs = {node.name: node.job.design(seeds) for node in plan.nodes}
    return {name: _effect(design, by_name[name].shapes) for name, design in designs.items() if design is not None}


def _effect(design: Design, shapes: Shapes) -> dict[str, Any]:
    effect = None
    if shapes.test:
        effect = detectable_effect(
            design.seeds,
            design.levels,
            shapes.test,
            SEED_SD,
            IMAGE_SD,
            targets=design.targets,
            margin=design.margin,
            confidence=design.confidence,
        )
    basis = (
        f"{design.levels} {design.compared}, {design.seeds} seeds, "
        f"{shapes.test or 'an unknown number of'} test images, {design.targets} targets; power 0.8; "
        f"assumed spread of a difference: {SEED_SD:g} over seeds, "
        f"{IMAGE_SD:g} over images"
    )
    counts = {"seeds": design.seeds, "levels": design.levels, "targets": design.targets, "n_test": shapes.test}
    return {"effect": effect, "basis": basis, **counts}


def _seeds_by_level(nodes: Iterable[Node], by_key: Mapping[str, Node]) -> Mapping[float, set[int]]:
    """Seeds of the family's models by eps, with which these jobs are computed."""
    seeds: dict[float, set[int]] = defaultdict(set)
    for node in nodes:
        model = _model_of(node, by_key)
        if model.params.get("epochs", 1) > 0:  # a random network is no level of the family
            seeds[model.params["threat"]["eps"]].add(model.params["seed"])
    return seeds


def _model_of(node: Node, by_key: Mapping[str, Node]) -> Node:
    """The model that a job takes, or that its features are computed by."""
    inputs = {ref.field: by_key[ref.key] for ref in node.inputs}
    return inputs["model"] if "model" in inputs else _model_of(inputs["features"], by_key)


def detectable_effect(
    seeds: int,
    levels: int,
    n_test: int,
    seed_sd: float,
    image_sd: float,
    *,
    targets: int = 1,
    margin: float = 0.01,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """The smallest true difference acc(eps) - acc(0) that the design finds beyond the margin with the given power.

    The effect is `margin + (t[1 - alpha / (2 (levels - 1) targets)] + t[power]) * se`, where
    `se**2 = seed_sd**2 / seeds + image_sd**2 / n_test`, `alpha = 1 - confidence`, and both quantiles are those of
    Student's t with `seeds - 1` degrees of freedom. The interval of a report must lie wholly beyond the margin,
    simultaneously over the levels, at the strictest step of Holm's procedure over the targets.

    Args:
        seeds: Source models at each level.
        levels: Levels of robustness, eps = 0 among them.
        n_test: Test images, which all seeds share; at least 1.
        seed_sd: Assumed standard deviation, over seeds, of the paired difference of accuracy. Accuracy is a fraction:
            0.02 is 2 points.
        image_sd: Assumed standard deviation, over test images, of the seed-averaged paired difference beyond what
            seeds explain. It is at most `sqrt(2 a (1 - a))` at accuracy `a`, and usually well below.
        targets: Target data sets that are tested together; at least 1.
        margin: Differences within the margin count as none.
        confidence: Simultaneous confidence of the report's intervals, in (0, 1).
        power: Probability of detecting the effect, in (0, 1).

    Returns:
        The effect as a fraction of accuracy, or None where no difference can ever be shown: fewer than two seeds, or
        one level.

    Raises:
        ValueError: The design has no test image or no target.
    """
    if seeds < 2 or levels < 2:
        return None
    if n_test < 1 or targets < 1:
        raise ValueError("a design has at least one test image and one target")
    from scipy.special import stdtrit  # here, for it takes 0.4 s to import, and only plans with a report need it

    error = math.sqrt(seed_sd**2 / seeds + image_sd**2 / n_test)
    tail = (1 - confidence) / (2 * (levels - 1) * targets)
    return margin + (float(stdtrit(seeds - 1, power)) - float(stdtrit(seeds - 1, tail))) * error
