"""A study's results as the JSON of its report: verdicts, headline, and a table of each arm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports.formatting import change, points
from robxfer_core.reports.stats import (
    Estimate,
    Floats,
    bounds,
    crossed,
    differences,
    over_seeds,
    page_trend_test,
    rank_correlations,
    slope_weights,
)
from robxfer_core.reports.verdict import MEANING, Verdict, verdicts_of

from .checks import chance, check_sources, fooling, unfit, void
from .claims import advantages, tuned
from .collect import Curves, Head, Panel, Study, arch_text
from .headline import headline

SCHEMA = 1


def summarise(spec: TransferGapReport, study: Study) -> dict[str, Any]:
    """All of report.json but the versions of the software. Accuracies are fractions, eps in pixel units."""
    alpha = 1 - spec.confidence
    sources = check_sources(study, alpha)
    problems = [_problem(panel, sources, spec) for panel in study.panels]
    judged = _judged(spec, study.panels, problems)
    fit = [panel for panel, problem in zip(study.panels, problems, strict=True) if problem is None]
    return {
        "schema": SCHEMA,
        "title": spec.title,
        "regime": spec.regime,
        "settings": {
            "margin": spec.margin,
            "confidence": spec.confidence,
            "min_fooling": spec.min_fooling,
            "norm": study.norm,
            "endpoint": "test accuracy at the last epoch, whole training split, raw features, variant's own split"
            if spec.regime == "fixed_feature"
            else "test accuracy at the last epoch, whole training split, variant's own split",
        },
        "levels": sorted({eps for panel in study.panels for eps in panel.eps}),
        "seeds": sorted({seed for panel in study.panels for seed in panel.seeds}),
        "verdicts": [_verdict(*each) for each in zip(study.panels, judged, problems, strict=True)],
        "headline": headline(study.panels, fit, alpha),
        "sources": sources | {"failed": {f"{eps:g}": reason for eps, reason in sources["failed"].items()}},
        "arms": [_arm(p, v, study.panels, spec) for p, v in zip(study.panels, judged, strict=True)],
        "meaning": MEANING,
    }


def _problem(panel: Panel, sources: Mapping[str, Any], spec: TransferGapReport) -> dict[str, Any] | None:
    """Why a panel has no verdict: {"reason", "void"}; void where the fault is the source models'."""
    reason = unfit(panel, spec.min_fooling)
    if reason:
        return {"reason": reason, "void": False}
    reason = void(panel, sources)
    return {"reason": f"void: {reason}", "void": True} if reason else None


def _judged(spec: TransferGapReport, panels: Sequence[Panel], problems: Sequence[Any]) -> list[Verdict]:
    """A verdict on every panel; Holm's families are the sound panels of a variant. A faulty one is judged alone, for
    its table of intervals: its word is never shown."""
    verdicts: dict[int, Verdict] = {}
    for variant in dict.fromkeys(panel.variant for panel in panels):
        family = [i for i, p in enumerate(panels) if p.variant == variant and problems[i] is None]
        data = [differences(panels[i].curves().last) for i in family]
        verdicts |= dict(zip(family, verdicts_of(data, spec.margin, spec.confidence), strict=True))
    return [
        verdicts.get(i) or verdicts_of([differences(panel.curves().last)], spec.margin, spec.confidence)[0]
        for i, panel in enumerate(panels)
    ]


def _verdict(panel: Panel, verdict: Verdict, problem: dict[str, Any] | None) -> dict[str, Any]:
    mean = differences(panel.curves().last).mean
    level = int(np.abs(mean).argmax()) if verdict.level is None else verdict.level
    band = _band(mean, verdict, level)
    word = "unusable" if problem else verdict.word
    return {
        "target": panel.target,
        "variant": panel.variant,
        "control": panel.control,
        "verdict": word,
        "reason": problem["reason"] if problem else _reason(panel, verdict, mean),
        "void": bool(problem and problem["void"]),
        "level": panel.eps[level + 1],
        "difference": band["mean"],
        "low": band["low"],
        "high": band["high"],
        "p": verdict.p,
        "p_holm": None if problem else verdict.p_holm,
        "confidence": 1 - verdict.alpha,
        "detectable": verdict.detectable,
    }


def _reason(panel: Panel, verdict: Verdict, mean: Floats) -> str:
    if verdict.level is None:
        return "these checkpoints; training variance unknown: one seed gives no interval"
    band = _band(mean, verdict, verdict.level)
    at = panel.eps[verdict.level + 1]
    if verdict.word == "mixed":
        up, down = int(np.argmax(verdict.low)), int(np.argmin(verdict.high))
        both = (change(panel.eps[i + 1], _band(mean, verdict, i)) for i in (up, down))
        return " and ".join(both)
    if verdict.word in ("helps", "hinders"):
        return change(at, band)
    largest = f"the largest difference is {points(band)} points, at eps {at:g}"
    if verdict.word == "no_difference":
        return f"within the margin at every level; {largest}"
    return f"{largest}; this design would likely have shown {100 * (verdict.detectable or 0):.1f} points (power 80 %)"


def _band(mean: Floats, verdict: Verdict, level: int) -> dict[str, Any]:
    known = verdict.level is not None
    low, high = (verdict.low[level], verdict.high[level]) if known else (None, None)
    return {"mean": float(mean[level]), "low": low, "high": high}


def _arm(panel: Panel, verdict: Verdict, panels: Sequence[Panel], spec: TransferGapReport) -> dict[str, Any]:
    alpha = 1 - spec.confidence
    main = panel.curves()
    last = main.last.mean(-1).T  # [seed, level]
    return {
        "target": panel.target,
        "variant": panel.variant,
        "control": panel.control,
        "n_train": panel.n_train,
        "n_test": panel.n_test,
        "classes": panel.classes,
        "seeds": list(panel.seeds),
        "dropped_seeds": list(panel.dropped),
        "levels": _levels(panel, main, verdict, alpha),
        "random_init": _random(panel, main, alpha),
        "trend": vars(page_trend_test(last)),
        **rank_correlations(panel.eps, last),
        "slope": bounds(crossed(np.tensordot(slope_weights(panel.eps), main.last.astype(float), 1)), alpha),
        "advantages": {
            name: advantages(panel.eps, panel.curves(standardised=flag), alpha)
            for name, flag in (("raw", False), ("standardised", True))
            if any(head.standardised == flag for head in panel.heads)
        },
        "unconverged": sum(head.n == panel.n_train and not head.converged for head in panel.heads),
        "tuned": tuned(panel, alpha),
        "sizes": [
            {"n": n, "levels": _accuracies(panel.eps, crossed(panel.curves(n).last), alpha)} for n in panel.sizes()
        ],
        "chance": _chance(panel, panels, main, spec),
        "sets": [_set(result) for result in panel.sets],
        "curves": _curves(panel, alpha),
    }


def _levels(panel: Panel, main: Curves, verdict: Verdict, alpha: float) -> list[dict[str, Any]]:
    """Accuracy by level (each its own interval) and its difference to eps 0 (simultaneous over the levels); of a
    constructed set also the clean accuracy, on the images it was made from with their own labels."""
    last, first = crossed(main.last), crossed(main.first)
    d_last, d_first = differences(main.last), differences(main.first)
    rows = []
    for i, (eps, heads) in enumerate(zip(panel.eps, panel.family(), strict=True)):
        row = {"eps": eps, "accuracy": bounds(_at(last, i), alpha), "first": bounds(_at(first, i), alpha)}
        row |= _clean(heads, alpha) | _after_transfer(heads, alpha)
        row["by_seed"] = main.last[i].mean(-1).tolist()
        row["difference"] = _band(d_last.mean, verdict, i - 1) if i else None
        row["first_difference"] = bounds(_at(d_first, i - 1), alpha, len(panel.eps) - 1) if i else None
        rows.append(row)
    return rows


def _after_transfer(heads: Sequence[Head], alpha: float) -> dict[str, Any]:
    """Mean per-class accuracy and robust accuracy (by eps of the attack), over seeds; where they were measured."""
    classes = [head.mean_per_class for head in heads if head.mean_per_class is not None]
    attacks = sorted(set.intersection(*(set(head.robust) for head in heads)))
    return {
        "mean_per_class": bounds(over_seeds(classes), alpha) if len(classes) == len(heads) else None,
        "robust": {f"{at:g}": bounds(over_seeds([head.robust[at] for head in heads]), alpha) for at in attacks},
    }


def _random(panel: Panel, main: Curves, alpha: float) -> dict[str, Any] | None:
    """The random networks' accuracies, as `_levels` has those of a level."""
    if not len(main.random):
        return None
    return {
        "accuracy": bounds(crossed(main.random_last), alpha),
        "first": bounds(crossed(main.random_first), alpha),
        **_clean([h for h in panel.heads if h.random and _endpoint(h, panel)], alpha),
    }


def _clean(heads: Sequence[Head], alpha: float) -> dict[str, Any]:
    """Accuracy on the images that a constructed set was made from, over seeds; null where there is none."""
    found = {"clean": [h.clean_last for h in heads], "first_clean": [h.clean_first for h in heads]}
    return {
        name: bounds(over_seeds([each for each in values if each is not None]), alpha) if None not in values else None
        for name, values in found.items()
    }


def _endpoint(head: Head, panel: Panel) -> bool:
    return head.n == panel.n_train and not head.standardised


def _chance(panel: Panel, panels: Sequence[Panel], main: Curves, spec: TransferGapReport) -> dict[str, Any] | None:
    expected = chance(panel, panels)
    if expected is None:
        return None
    estimate = crossed(main.last)
    low, _ = estimate.interval(1 - spec.confidence, len(panel.eps))
    return {"expected": expected, "above": bool((low > expected + spec.margin).any()) if estimate.df else None}


def _set(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a constructed set's job reported, without the parts that only its own page needs."""
    kept = ("eps", "eps_tried", "generator_accuracy", "norm", "targets", "arm", "unreached")
    row = {name: result[name] for name in kept if name in result} | {"fooling": fooling(result)}
    if "generator" in result:
        model = result["generator"]
        row["generator"] = {"arch": arch_text(model["arch"]), "name": model["name"], "seed": model["seed"]}
    if "stored" in result:
        row["stored"] = {name: result["stored"][name] for name in ("dtype", "bytes") if name in result["stored"]}
    return row


def _curves(panel: Panel, alpha: float) -> list[dict[str, Any]]:
    """Mean accuracy by epoch with a t interval over seeds (pointwise); the line of random networks has eps null."""
    out = []
    for n, standardised in sorted({(head.n, head.standardised) for head in panel.heads}):
        curves = panel.curves(n, standardised)
        lines = [_line(eps, curves.test[i], alpha) for i, eps in enumerate(panel.eps)]
        if len(curves.random):
            lines.append(_line(None, curves.random, alpha))
        out.append({"n": n, "standardised": standardised, "lines": lines})
    return out


def _line(eps: float | None, test: Floats, alpha: float) -> dict[str, Any]:
    estimate = over_seeds(test.T)
    low, high = estimate.interval(alpha)
    known = bool(estimate.df)
    return {
        "eps": eps,
        "mean": estimate.mean.tolist(),
        "low": low.tolist() if known else None,
        "high": high.tolist() if known else None,
    }


def _accuracies(eps: Sequence[float], estimate: Estimate, alpha: float) -> list[dict[str, Any]]:
    return [{"eps": level, "accuracy": bounds(_at(estimate, i), alpha)} for i, level in enumerate(eps)]


def _at(estimate: Estimate, index: int) -> Estimate:
    return Estimate(estimate.mean[index], estimate.error[index], estimate.df)
