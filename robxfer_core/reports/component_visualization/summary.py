"""report.json of a study of components: measures by architecture and level with their intervals, trends, a sentence."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robxfer_core.reports.formatting import percent
from robxfer_core.reports.stats import Trend, bounds, critical, holm, over_seeds, page_trend_test, rank_correlations

from .collect import Family

MEASURES = {"auroc": "AUROC", "slope": "spectral slope"}
CAVEAT = "these networks alone: with one training a level, training variance is unknown"
COLUMNS = (
    "architecture",
    "eps",
    "clean",
    "robust",
    "spectral slope",
    "AUROC",
    "AUROC, over trainings",
    "AUROC of the start",
    "AUROC of a top image",
    "alive",
)


def summarise(title: str, families: Sequence[Family], confidence: float) -> dict[str, Any]:
    """Everything that the report tells, as JSON.

    Intervals of a level: `components`, for these very networks (the components of each are drawn, the networks fixed:
    the variance is the mean over seeds of each network's variance over components, divided by their number, with as
    many degrees of freedom as there are components but one for each network); and `trainings`, Student's t over seeds,
    for networks trained anew, which covers the draw of components too, since each seed draws its own.

    Trends: Page's L of the networks' means within seeds, two-sided, with Holm's correction over all tests told; all
    architectures together as well, where each pair of architecture and seed is a block. A network with no component
    that images activate has no AUROC, and its seed is left out of that trend.
    """
    alpha = 1 - confidence
    arms = [_arm(family, alpha) for family in families]
    trends = _trends(families, alpha)
    weak = [f"{arm['label']} at eps {level['eps']:g}" for arm in arms for level in arm["levels"] if level["weak"]]
    return {
        "title": title,
        "confidence": confidence,
        "architectures": arms,
        "trends": trends,
        "weak": weak,
        "headline": {"text": _headline(families, trends, alpha)},
        "table": {"columns": list(COLUMNS), "rows": [_row(arm, level) for arm in arms for level in arm["levels"]]},
    }


def over_components(values: Sequence[np.ndarray], alpha: float) -> dict[str, Any] | None:
    """The mean of the networks' means, {"mean", "low", "high"}, with the interval `components` of `summarise`.

    values: for each network, its components' values. None where a network has none; no ends where one has only one.
    """
    if any(len(each) == 0 for each in values):
        return None
    mean = float(np.mean([each.mean() for each in values]))
    df = sum(len(each) - 1 for each in values)
    if any(len(each) < 2 for each in values):
        return {"mean": mean, "low": None, "high": None}
    variance = sum(each.var(ddof=1) / len(each) for each in values) / len(values) ** 2
    half = critical(df, alpha) * math.sqrt(variance)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _arm(family: Family, alpha: float) -> dict[str, Any]:
    cards = [pictures.result["model"] for pictures in family.pictures.values()]
    levels = []
    for at, eps in enumerate(family.eps):
        pictures = [family.pictures[eps, seed] for seed in family.seeds]
        rows = [row for each in pictures for row in each.result["components"]]
        level: dict[str, Any] = {"eps": eps, "components": len(rows), "alive": sum(row["alive"] for row in rows)}
        for name in ("slope", "auroc", "auroc_start", "auroc_top"):
            level[name] = over_components([each.values(name) for each in pictures], alpha)
        for name in MEASURES:
            means = family.mean(name)[:, at]
            known = len(means) > 1 and bool(np.isfinite(means).all())
            level[f"{name}_trainings"] = bounds(over_seeds(means), alpha) if known else None
        level["gain"] = float(np.mean([row["end"] - row["start"] for row in rows]))
        level["clean"], level["robust"] = family.accuracies(eps, 0.0), family.accuracies(eps, eps)
        standard, own = family.accuracies(0.0, eps), family.accuracies(eps, eps)
        level["weak"] = eps > 0 and standard is not None and own is not None and own <= standard
        levels.append(level)
    return {
        "label": family.label,
        "arch": cards[0]["arch"],
        "seeds": list(family.seeds),
        "levels": levels,
        "slope_real": float(np.mean([each.result["slope_real"] for each in family.pictures.values()])),
        "slope_start": float(np.mean([each.result["slope_start"] for each in family.pictures.values()])),
    }


def _trends(families: Sequence[Family], alpha: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in MEASURES:
        blocks = [(family.label, family.eps, _whole(family.mean(name))) for family in families]
        if len(families) > 1 and len({eps for _, eps, _ in blocks}) == 1:
            blocks.append(("all", blocks[0][1], np.concatenate([means for _, _, means in blocks])))
        for label, eps, means in blocks:
            trend = page_trend_test(means) if len(means) else Trend(0.0, None, None, "none: no seed has all levels")
            up, down = trend.p_increasing, trend.p_decreasing
            two_sided = None if up is None or down is None else min(1.0, 2 * min(up, down))
            found.append(
                {
                    "measure": name,
                    "architecture": label,
                    "blocks": len(means),
                    "method": trend.method,
                    "p": two_sided,
                    "direction": "rises" if up is not None and down is not None and up <= down else "falls",
                    **(rank_correlations(eps, means) if len(means) else {"spearman": None, "kendall": None}),
                }
            )
    tested = [row for row in found if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(p)
    for row in found:
        row.setdefault("p_holm", None)
        row["shown"] = row["p_holm"] is not None and row["p_holm"] <= alpha
    return found


def _whole(means: np.ndarray) -> np.ndarray:
    """The seeds that have all levels."""
    return means[np.isfinite(means).all(1)]


def _headline(families: Sequence[Family], trends: Sequence[dict[str, Any]], alpha: float) -> str:
    parts = []
    for name, words in MEASURES.items():
        rows = [row for row in trends if row["measure"] == name]
        row = next((row for row in rows if row["architecture"] == "all"), rows[0])
        means = np.concatenate([_whole(family.mean(name))[:, [0, -1]] for family in families])
        first, last = means.mean(0).tolist() if len(means) else (math.nan, math.nan)
        told = f"{words} {row['direction']} with eps" if row["shown"] else f"no trend of {words} with eps is shown"
        p = "no test" if row["p_holm"] is None else f"p {p_text(row['p_holm'])}"
        parts.append(f"{told} ({first:.2f} at the lowest level, {last:.2f} at the highest; {p})")
    caveat = [] if any(len(family.seeds) > 1 for family in families) else [CAVEAT]
    return "; ".join(parts + caveat)


def p_text(p: float | None) -> str:
    """A p value as it is printed."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def band_text(band: dict[str, Any] | None) -> str:
    """'-0.71 [-0.82, -0.60]'."""
    if band is None:
        return "-"
    mean = f"{band['mean']:.2f}"
    return mean if band["low"] is None else f"{mean} [{band['low']:.2f}, {band['high']:.2f}]"


def share_text(band: dict[str, Any] | None) -> str:
    """The same of what lies between 0 and 1, and so do the interval's ends as they are printed."""
    if band is None or band["low"] is None:
        return band_text(band)
    return band_text({"mean": band["mean"], "low": max(band["low"], 0.0), "high": min(band["high"], 1.0)})


def _row(arm: dict[str, Any], level: dict[str, Any]) -> list[str]:
    return [
        arm["label"],
        f"{level['eps']:g}",
        percent(level["clean"]),
        percent(level["robust"]),
        band_text(level["slope"]),
        share_text(level["auroc"]),
        share_text(level["auroc_trainings"]),
        f"{level['auroc_start']['mean']:.2f}" if level["auroc_start"] else "-",
        f"{level['auroc_top']['mean']:.2f}" if level["auroc_top"] else "-",
        f"{level['alive']} of {level['components']}",
    ]
