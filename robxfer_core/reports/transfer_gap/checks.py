"""What a verdict rests on: source models as robust as they claim, sets that fool, controls at chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robxfer_core.reports.formatting import eps_text, percent
from robxfer_core.reports.stats import bounds, crossed

from .collect import Panel, Source, Study


def check_sources(study: Study, alpha: float) -> dict[str, Any]:
    """Clean and robust accuracy by level, and whether each level beats eps 0 at its own eps (mean over paired seeds).

    `failed` maps a level to why it voids the verdicts of families that hold it.
    """
    by_level: dict[float, dict[int, Source]] = {}
    for source in study.sources:
        by_level.setdefault(source.eps, {})[source.seed] = source
    standard = by_level.get(0.0, {})
    levels, failed = [], dict[float, str]()
    for eps, sources in by_level.items():
        row: dict[str, Any] = {
            "eps": eps,
            "name": next(iter(sources.values())).name,
            "arch": next(iter(sources.values())).arch,
            "seeds": sorted(sources),
            "clean": bounds(crossed([s.correct[0.0] for s in sources.values()]), alpha),
            "robust": {eps_text(at): _mean_robust(sources, at) for at in sorted(next(iter(sources.values())).robust)},
        }
        if eps > 0:
            row["gain"] = None
            paired = [s for s in sources if s in standard and eps in sources[s].correct and eps in standard[s].correct]
            if paired:
                own = np.array([sources[s].correct[eps] for s in paired], dtype=np.float64)
                other = np.array([standard[s].correct[eps] for s in paired], dtype=np.float64)
                row |= {"own": float(own.mean()), "standard": float(other.mean())}
                row["gain"] = bounds(crossed(own - other), alpha)
                if own.mean() <= other.mean():
                    failed[eps] = (
                        f"the source at eps {eps_text(eps)} does not beat eps 0 at its own eps "
                        f"({percent(own.mean())} against {percent(other.mean())} robust accuracy)"
                    )
            else:
                failed[eps] = f"no evaluation compares the source at eps {eps_text(eps)} with eps 0 at its own eps"
        row["ok"] = eps not in failed
        levels.append(row)
    return {"norm": study.norm, "levels": levels, "failed": failed}


def void(panel: Panel, sources: Mapping[str, Any]) -> str | None:
    """Why the source models void the verdict on a panel, or None. What others published is taken by their word."""
    known = {row["eps"] for row in sources["levels"]} | {head.eps for head in panel.heads if head.published}
    reasons = [sources["failed"][eps] for eps in panel.eps if eps in sources["failed"]]
    reasons += [f"the source at eps {eps_text(eps)} was not evaluated" for eps in panel.eps if eps not in known]
    return "; ".join(reasons) or None


def fooling(result: Mapping[str, Any]) -> dict[str, float] | None:
    """Fooling rate by split, as stored where that was measured; None for a set that is not perturbed."""
    return result.get("stored", {}).get("fooling") or result.get("fooling")


def unfit(panel: Panel, least: float) -> str | None:
    """Why a panel's constructed sets are unusable, or None: any split of any set that fools too rarely."""
    rates = [
        (rate, split, result["generator"]["seed"])
        for result in panel.sets
        for split, rate in (fooling(result) or {}).items()
        if rate < least
    ]
    if not rates:
        return None
    rate, split, seed = min(rates)
    more = f" (and {len(rates) - 1} more)" if len(rates) > 1 else ""
    return f"fooling rate {rate:.3f} on the {split} split of the set of seed {seed} is below {least:g}{more}"


def chance(panel: Panel, panels: Sequence[Panel]) -> float | None:
    """The accuracy that `relabel_only` and `noise` should not exceed; None where the label follows from the image.

    1 / classes where targets are uniform, 1 / (classes - 1) where they exclude the image's own class; with `shift` the
    class tells the target, and the arms are no control.
    """
    if panel.variant not in ("relabel_only", "noise"):
        return None
    like = [p for p in panels if (p.target, p.variant) == (panel.target, "antirobust")]
    modes = {result.get("targets", "uniform") for p in like for result in p.sets} or {"uniform"}
    if "shift" in modes:
        return None
    return 1 / (panel.classes - ("uniform_other" in modes))


def _mean_robust(sources: Mapping[int, Source], at: float) -> float | None:
    values = [source.robust[at] for source in sources.values() if at in source.robust]
    return float(np.mean(values)) if values else None
