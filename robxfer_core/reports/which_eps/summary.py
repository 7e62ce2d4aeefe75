"""A `which_eps` study as the JSON of its report: for each amount the level chosen, the set, and what others lose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robxfer_core.jobs.which_eps_report import WhichEpsReport
from robxfer_core.reports.formatting import accuracy, eps_text, listed, number, percent
from robxfer_core.reports.stats import bounds

from .best import DRAWS, difference, with_the_best
from .collect import Amount, Family

SCHEMA = 1
COLUMNS = ["images a class", "eps", "validation", "test", "in the set", "lost to the chosen", "lost to the best"]


def summarise(spec: WhichEpsReport, family: Family, costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All of report.json but the versions of the software. Accuracies are fractions, eps in pixel units."""
    alpha = 1 - spec.confidence
    amounts = [_amount(amount, family, spec, alpha) for amount in family.amounts]
    caveat = _caveat(family)
    return {
        "schema": SCHEMA,
        "title": spec.title,
        "target": spec.target,
        "levels": list(family.eps),
        "seeds": list(family.seeds),
        "caveat": caveat,
        "settings": {
            "confidence": spec.confidence,
            "norm": family.norm,
            "usual": spec.usual,
            "bootstrap_draws": DRAWS,
            "endpoint": "test accuracy of the head tuned on validation images, after its last epoch",
        },
        "amounts": amounts,
        "few_shot_differs": _differs(family, amounts, alpha),
        "cost": list(costs),
        "headline": {"text": _headline(amounts, spec, caveat)},
        "table": {"columns": COLUMNS, "rows": [row for amount in amounts for row in _rows(amount)]},
    }


def amount_text(images_per_class: int | None) -> str:
    """'all training images' or '10 images a class'."""
    return "all training images" if images_per_class is None else f"{images_per_class} images a class"


def set_text(eps: Sequence[float]) -> str:
    """'{0.25, 0.5}'."""
    return f"{{{', '.join(map(eps_text, eps))}}}"


def _amount(amount: Amount, family: Family, spec: WhichEpsReport, alpha: float) -> dict[str, Any]:
    correct = amount.correct.astype(np.float64)
    validation = amount.validation.mean(1)
    chosen = int(validation.argmax())  # of equals the first: the smallest eps
    best = with_the_best(correct, alpha)
    usual = [index for index, eps in enumerate(family.eps) if eps in spec.usual]
    rows = []
    for index, eps in enumerate(family.eps):
        lost = difference(correct[chosen] - correct[index])
        rows.append(
            {
                "eps": eps,
                "model": amount.heads[index][0].model.name,
                "validation": float(validation[index]),
                "accuracy": bounds(difference(correct[index]), alpha),
                "by_seed": correct[index].mean(-1).tolist(),
                "in_set": bool(best.kept[index]),
                "lost_to_chosen": None if index == chosen else bounds(lost, alpha, max(1, len(usual))),
                "lost_to_best_at_most": float(best.loss[index]),
                "critical": float(best.critical[index]),
                "usual": index in usual,
                "at_edge": sum(head.at_edge for head in amount.heads[index]),
            }
        )
    random = np.array([head.correct for head in amount.random], dtype=np.float64)
    return {
        "images_per_class": amount.images_per_class,
        "n_train": amount.n,
        "n_test": correct.shape[-1],
        "chosen": family.eps[chosen],
        "set": [eps for eps, kept in zip(family.eps, best.kept, strict=True) if kept],
        "levels": rows,
        "random_init": bounds(difference(random), alpha) if len(random) else None,
    }


def _differs(family: Family, amounts: Sequence[Mapping[str, Any]], alpha: float) -> dict[str, bool]:
    """For each few-shot amount: whether its best level is shown to be another than with all images.

    It is where the two sets, drawn at a confidence that holds for all amounts at once, share no level.
    """
    sets = [with_the_best(amount.correct, alpha / len(amounts)).kept for amount in family.amounts]
    whole = next((kept for kept, row in zip(sets, amounts, strict=True) if row["images_per_class"] is None), None)
    if whole is None:
        return {}
    found = {row["images_per_class"]: not bool((kept & whole).any()) for kept, row in zip(sets, amounts, strict=True)}
    return {str(images): differs for images, differs in found.items() if images is not None}


def _caveat(family: Family) -> str:
    if family.replicated:
        return ""
    return (
        "these checkpoints; training variance unknown"
        if not family.trained_here
        else ("one training a level; training variance unknown")
    )


def _headline(amounts: Sequence[Mapping[str, Any]], spec: WhichEpsReport, caveat: str) -> str:
    parts = []
    for amount in amounts:
        within = "" if amount["images_per_class"] is None else f"with {amount_text(amount['images_per_class'])} "
        parts.append(within + _answer(amount, spec.confidence))
        parts += [_lost(row) for row in amount["levels"] if row["usual"] and row["lost_to_chosen"]]
    return "; ".join(parts) + (f" ({caveat})" if caveat else "")


def _answer(amount: Mapping[str, Any], confidence: float) -> str:
    chosen, levels = eps_text(amount["chosen"]), len(amount["levels"])
    kept = set_text(amount["set"]) if len(amount["set"]) < levels else f"all {levels} levels"
    of = f"the {100 * confidence:g} % confidence set is {kept}"
    if amount["chosen"] not in amount["set"]:
        return f"validation chooses eps {chosen}, which the test images rule out: {of}"
    return f"use eps {chosen}: {of}"


def _lost(row: Mapping[str, Any]) -> str:
    band = row["lost_to_chosen"]
    gains = band["mean"] < 0
    turned = {"mean": -band["mean"], "low": -band["high"], "high": -band["low"]} if gains else band
    scaled = {end: 100 * value for end, value in turned.items()}
    size, _, interval = number(scaled).partition(" ")
    told = f"eps {eps_text(row['eps'])} {'gains' if gains else 'loses'} {size} points"
    return f"{told} {interval}" if interval else told


def _rows(amount: Mapping[str, Any]) -> list[list[str]]:
    images = "all" if amount["images_per_class"] is None else str(amount["images_per_class"])
    rows = []
    for row in amount["levels"]:
        band = row["lost_to_chosen"]
        lost = "chosen" if band is None else number({end: 100 * value for end, value in band.items()})
        rows.append(
            [
                images,
                eps_text(row["eps"]) + (" (usual)" if row["usual"] else ""),
                percent(row["validation"]),
                accuracy(row["accuracy"]),
                "yes" if row["in_set"] else "no",
                lost,
                f"at most {100 * row['lost_to_best_at_most']:.1f}",
            ]
        )
    return rows


def differing_text(differs: Mapping[str, bool]) -> str:
    """A sentence on whether few images ask for another level; '' where none were asked about."""
    told = [images for images, differs_ in differs.items() if differs_]
    same = [images for images, differs_ in differs.items() if not differs_]
    parts = []
    if told:
        parts.append(f"With {listed(told)} images a class another level is best than with all training images.")
    if same:
        parts.append(f"With {listed(same)} images a class the best level is not shown to be another one.")
    return " ".join(parts)
