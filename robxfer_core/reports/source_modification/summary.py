"""A source-modification study's results as the JSON of its report: arms, verdicts, costs, headline."""

from typing import Any

import numpy as np

from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.reports.formatting import accuracy, percent, points
from robxfer_core.reports.stats import Estimate, bounds, critical, crossed, detectable, differences, over_seeds
from robxfer_core.reports.transfer_gap.claims import epochs_to
from robxfer_core.reports.verdict import MEANING, Word, word

from .collect import Arm, Study, clean, robust
from .costs import costs

SCHEMA = 1
NAMES = {
    "standard": "standard",
    "robust": "robust data",
    "nonrobust": "non-robust data",
    "adversarial": "adversarial",
    "random_init": "random network",
}


def summarise(spec: SourceModificationReport, study: Study) -> dict[str, Any]:
    """All of report.json but the versions of the software. Accuracies are fractions, eps in pixel units."""
    alpha = 1 - spec.confidence
    judged = [arm for arm in study.arms if arm.name != "random_init"]
    estimate = differences([arm.outcomes() for arm in judged])
    first = differences([arm.outcomes(first=True) for arm in judged])
    told = costs(spec, study)
    rows = []
    for arm in study.arms:
        row = _arm(arm, alpha)
        if arm in judged[1:]:
            at = judged.index(arm) - 1
            one = _at(estimate, at)
            row |= _verdict(one, unusable(arm, study, spec), spec, len(judged) - 1)
            row["first_difference"] = bounds(_at(first, at), alpha, len(judged) - 1)
        rows.append(row)
    return {
        "schema": SCHEMA,
        "title": spec.title,
        "target": spec.target,
        "settings": {
            "eps": spec.eps,
            "margin": spec.margin,
            "confidence": spec.confidence,
            "min_agreement": spec.min_agreement,
            "endpoint": "test accuracy at the last epoch, whole training split, raw features",
            "comparisons": len(judged) - 1,
        },
        "source_data": study.data,
        "seeds": list(study.arms[0].seeds),
        "arms": rows,
        "costs": told,
        "headline": {"text": headline(spec.target, {row["name"]: row for row in rows}, told)},
        "table": table(spec, rows, told),
        "curves": [_curves(study, standardised, alpha) for standardised in (False, True)],
        "meaning": {name: text.replace("eps 0", "the standard arm") for name, text in MEANING.items()},
    }


def unusable(arm: Arm, study: Study, spec: SourceModificationReport) -> str | None:
    """Why an arm has no verdict, or None: networks that are not robust as they claim, or a set that was not made."""
    claimed = {"adversarial": ("sources", arm.sources), "robust": ("generators", arm.generators)}
    if arm.name in claimed:
        kind, networks = claimed[arm.name]
        own, other = (float(robust(each).mean()) for each in (networks, study.arms[0].sources))
        if own <= other:
            return (
                f"its adversarially trained {kind} do not beat the standard sources at eps {spec.eps:g} "
                f"({percent(own)} against {percent(other)} robust accuracy)"
            )
    least = min((made["agreement"] for made in arm.made), default=1.0)
    if least < spec.min_agreement:
        return (
            f"the generator gives {percent(least)} of a made set's images the class of their originals, "
            f"below {percent(spec.min_agreement)}"
        )
    return None


def _arm(arm: Arm, alpha: float) -> dict[str, Any]:
    test = arm.test()
    asymptote = np.array([np.nan if head.asymptote is None else head.asymptote for head in arm.whole()])
    epochs = epochs_to(test, 0.9 * asymptote)
    reached = epochs[~np.isnan(epochs)]
    tuned = [head.tuned["test"] for head in arm.whole() if head.tuned is not None]
    row: dict[str, Any] = {
        "name": arm.name,
        "accuracy": bounds(crossed(arm.outcomes()), alpha),
        "first": bounds(crossed(arm.outcomes(first=True)), alpha),
        "epochs_to_90": bounds(over_seeds(reached), alpha) if len(reached) else None,
        "reached": len(reached),
        "seeds": len(test),
        "asymptote": None if np.isnan(asymptote).any() else bounds(over_seeds(asymptote), alpha),
        "tuned": bounds(over_seeds(tuned), alpha) if tuned else None,
        "by_seed": test[:, -1].tolist(),
        "source": _networks(arm.sources, alpha),
        "generator": _networks(arm.generators, alpha),
        "made": None,
    }
    if arm.made:
        row["made"] = {
            "seed_data": arm.made[0]["seed_data"],
            "relative_distance": {
                at: bounds(over_seeds([made["relative_distance"][at]["mean"] for made in arm.made]), alpha)
                for at in ("start", "reached", "stored")
            },
            "agreement": [made["agreement"] for made in arm.made],
            "generator_accuracy": {
                on: bounds(over_seeds([made["generator_accuracy"][on] for made in arm.made]), alpha)
                for on in ("made", "test")
            },
        }
    return row


def _networks(networks: Any, alpha: float) -> dict[str, Any] | None:
    if not networks:
        return None
    return {"clean": bounds(crossed(clean(networks)), alpha), "robust": bounds(crossed(robust(networks)), alpha)}


def _verdict(
    difference: Estimate, problem: str | None, spec: SourceModificationReport, comparisons: int
) -> dict[str, Any]:
    """An arm against the standard one: intervals are simultaneous over the arms (Bonferroni)."""
    alpha = 1 - spec.confidence
    low, high = (np.atleast_1d(end) for end in difference.interval(alpha, comparisons))
    found: Word = "unusable" if problem else word(low, high, spec.margin)
    shown = bounds(difference, alpha, comparisons)
    reach = detectable(Estimate(difference.mean, difference.error, difference.df), alpha / comparisons, spec.margin)
    if problem is None and found == "not_shown":
        problem = (
            "one seed gives no interval"
            if reach is None
            else f"this design would likely have shown {100 * reach:.1f} points (power 80 %)"
        )
    return {"difference": shown, "verdict": found, "reason": problem, "detectable": reach}


def headline(target: str, rows: dict[str, Any], told: dict[str, Any]) -> str:
    """The study's answer, in a sentence without its full stop."""
    said = []
    for name, text in (("robust", "trained on the robust set"), ("adversarial", "adversarially trained")):
        row = rows.get(name)
        if row is not None:
            found = row["verdict"].replace("_", " ")
            said.append(f"sources {text}: {points(row['difference'])} points ({found})")
    answer = f"on {target}, against standard sources at {percent(rows['standard']['accuracy']['mean'])}"
    if said:
        answer += ", " + "; ".join(said)
    if {"robust", "adversarial"} <= rows.keys():
        at = told["break_even"]
        answer += "; the robust set " + (f"costs less from {at} sources on" if at else "never costs less")
    return answer


def table(spec: SourceModificationReport, rows: list[dict[str, Any]], told: dict[str, Any]) -> dict[str, Any]:
    """The arms side by side, as they are printed."""
    columns = [
        "sources",
        "source set",
        f"robust at eps {spec.eps:g}",
        spec.target,
        "against standard",
        "verdict",
        "cost",
    ]
    return {"columns": columns, "rows": [_row(row, told["arms"].get(row["name"])) for row in rows]}


def _row(row: dict[str, Any], cost: dict[str, Any] | None) -> list[str | None]:
    source = row["source"] or {}
    return [
        NAMES[row["name"]],
        percent(source["clean"]["mean"]) if source else None,
        percent(source["robust"]["mean"]) if source else None,
        accuracy(row["accuracy"]),
        points(row["difference"]) if "difference" in row else None,
        row["verdict"].replace("_", " ") if "verdict" in row else None,
        _cost(cost) if cost else None,
    ]


def _cost(cost: dict[str, Any]) -> str:
    once = cost["generator"] + cost["making"]
    return operations(cost["source"]) + (f", and {operations(once)} once" if once else "")


def operations(count: float) -> str:
    """'1.25 TFLOP'."""
    for size, unit in ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GFLOP"


def _curves(study: Study, standardised: bool, alpha: float) -> dict[str, Any]:
    """Mean accuracy by epoch, with a t interval over sources (pointwise)."""
    lines = []
    for arm in study.arms:
        estimate = over_seeds(arm.test(standardised).T)
        half = critical(estimate.df, alpha) * estimate.error
        known = bool(estimate.df)
        lines.append(
            {
                "name": arm.name,
                "mean": estimate.mean.tolist(),
                "low": (estimate.mean - half).tolist() if known else None,
                "high": (estimate.mean + half).tolist() if known else None,
            }
        )
    return {"standardised": standardised, "lines": lines}


def _at(estimate: Estimate, index: int) -> Estimate:
    return Estimate(estimate.mean[index], estimate.error[index], estimate.df)
