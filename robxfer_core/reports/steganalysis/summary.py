"""A steganalysis study as the JSON of its report: verdicts, headline, and the numbers of each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robxfer_core.jobs.steganalysis_report import SteganalysisReport
from robxfer_core.reports.formatting import listed, points
from robxfer_core.reports.sources import SourceChecks
from robxfer_core.reports.stats import Estimate, bounds, crossed, differences
from robxfer_core.reports.verdict import MEANING, Verdict, verdicts_of

from .collect import Task

SCHEMA = 1
UNUSABLE = (
    "the high-pass network cannot do the task, a source model failed its own check, or no detector on any of them "
    "beats chance: no verdict is given"
)
ENDPOINT = "1 - P_E on test pairs of cover and stego, threshold from validation pairs"


def summarise(spec: SteganalysisReport, tasks: Sequence[Task], sources: SourceChecks) -> dict[str, Any]:
    """All of report.json but the versions of the software; `sources` are those of `check_sources`."""
    problems = [problem(task, sources, spec) for task in tasks]
    fit = [i for i, found in enumerate(problems) if found is None]
    judged = verdicts_of([_gain(tasks[i]) for i in fit], spec.margin, spec.confidence)
    words = dict(zip(fit, judged, strict=True))
    alone = [verdicts_of([_gain(task)], spec.margin, spec.confidence)[0] for task in tasks]
    verdicts = [_verdict(task, words.get(i, alone[i]), problems[i]) for i, task in enumerate(tasks)]
    alpha = 1 - spec.confidence
    return {
        "schema": SCHEMA,
        "title": spec.title,
        "settings": {
            "margin": spec.margin,
            "confidence": spec.confidence,
            "max_p_e": spec.max_p_e,
            "norm": sources.norm,
            "endpoint": ENDPOINT,
        },
        "verdicts": verdicts,
        "headline": {"text": headline(verdicts)},
        "sources": sources.model_dump(mode="json"),
        "tasks": [_numbers(task, words.get(i, alone[i]), alpha) for i, task in enumerate(tasks)],
        "meaning": MEANING | {"unusable": UNUSABLE},
    }


def problem(task: Task, sources: SourceChecks, spec: SteganalysisReport) -> str | None:
    """Why a task has no verdict, or None.

    The reference cannot do it, the source models are not what they claim, or no detector on any of them beats chance
    (Bonferroni over the detectors): levels that see nothing of the messages are equal, and that says nothing.
    """
    p_e = float(task.reference().mean())
    if p_e >= spec.max_p_e:
        return f"the high-pass network reaches P_E {p_e:.3f}; takes less than {spec.max_p_e:g}"
    reason = sources.void(task.eps)
    if reason is not None:
        return f"void: {reason}"
    chances = [each.result["p_null"] for each in task.detections if not (each.random or each.network)]
    if min(chances) * len(chances) >= 1 - spec.confidence:
        return (
            f"at chance at every level: the smallest permutation p of {len(chances)} detectors is {min(chances):.3f}; "
            f"takes one below {(1 - spec.confidence) / len(chances):.2g}"
        )
    return None


def _gain(task: Task) -> Estimate:
    """Of 1 - P_E over that of eps 0, at each level above it; seeds and pairs of cover and stego are both draws."""
    return differences(1 - task.family())


def _verdict(task: Task, verdict: Verdict, fault: str | None) -> dict[str, Any]:
    mean = _gain(task).mean
    level = int(np.abs(mean).argmax()) if verdict.level is None else verdict.level
    known = verdict.level is not None
    band = {
        "mean": float(mean[level]),
        "low": verdict.low[level] if known else None,
        "high": verdict.high[level] if known else None,
    }
    if fault is not None:
        reason = fault
    elif not known:
        reason = "one seed gives no interval"
    else:
        reason = f"1 - P_E changes by {points(band)} points at eps {task.eps[level + 1]:g}"
        if verdict.word == "not_shown":
            reason += f"; this design would likely have shown {100 * (verdict.detectable or 0):.1f} (power 80 %)"
    return {
        "target": task.label,
        "variant": "stego",
        "control": False,
        "verdict": "unusable" if fault else verdict.word,
        "reason": reason,
        "level": task.eps[level + 1],
        "difference": band["mean"],
        "low": band["low"],
        "high": band["high"],
        "detectable": verdict.detectable,
        "p_holm": None if fault else verdict.p_holm,
    }


def headline(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """'Robustness hinders steganalysis in 2 of 4 tasks (LSB matching, payload 1; ...)'."""
    usable = [row for row in verdicts if row["verdict"] != "unusable"]
    if not usable:
        return "No verdict: in every task the high-pass network or the sources failed their check, or all are at chance"
    told = []
    for word, text in (("hinders", "hinders"), ("helps", "helps"), ("mixed", "does both to")):
        labels = [row["target"] for row in usable if row["verdict"] == word]
        if labels:
            told.append(f"{text} steganalysis in {len(labels)} of {len(usable)} tasks ({'; '.join(labels)})")
    rest = "" if len(usable) == len(verdicts) else f"; {len(verdicts) - len(usable)} more unusable"
    if not told:
        words = listed(sorted({str(row["verdict"]).replace("_", " ") for row in usable}))
        return f"Whether robustness matters to steganalysis: {words} ({len(usable)} of {len(verdicts)} tasks usable)"
    return f"Robustness {listed(told)}{rest}"


def _numbers(task: Task, verdict: Verdict, alpha: float) -> dict[str, Any]:
    """P_E of every detector (each its own interval), and its rise over eps 0 (simultaneous over the levels)."""
    family, rise = task.family(), _gain(task).mean
    levels = []
    for i, eps in enumerate(task.eps):
        row: dict[str, Any] = {
            "eps": eps,
            "p_e": bounds(crossed(family[i]), alpha),
            "by_seed": family[i].mean(-1).tolist(),
        }
        if i:
            low, high = (verdict.low[i - 1], verdict.high[i - 1]) if verdict.level is not None else (None, None)
            row["gain"] = {"mean": float(rise[i - 1]), "low": low, "high": high}
        row["p_null"] = [d.result["p_null"] for d in task.detections if d.eps == eps and not (d.random or d.network)]
        levels.append(row)
    random = task.random()
    reference = task.reference()
    return {
        "label": task.label,
        **task.embedding["embedding"],
        "change": task.embedding["change"],
        "pairs": task.embedding["pairs"],
        "levels": levels,
        "random_init": bounds(crossed(random), alpha) if len(random) else None,
        "reference": bounds(crossed(reference), alpha) | {"by_seed": reference.mean(-1).tolist()},
        "reference_p_null": [d.result["p_null"] for d in task.detections if d.network],
        "reference_arch": next(d.result["model"]["arch"] for d in task.detections if d.network),
    }
