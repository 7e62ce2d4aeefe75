"""A study's results as the content of its report: verdicts, headline, and the statistics of each arm."""

from collections.abc import Sequence

import numpy as np

from robxfer_core.jobs.results import Interval
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports.formatting import change, points
from robxfer_core.reports.heads import Head
from robxfer_core.reports.sources import check_sources
from robxfer_core.reports.stats import (
    Estimate,
    Floats,
    crossed,
    differences,
    mean_interval,
    over_seeds,
    page_trend_test,
    rank_correlations,
    slope_weights,
)
from robxfer_core.reports.verdict import MEANING, Verdict, verdicts_of

from .checks import Problem, chance, find_problem
from .claims import advantages, tuned_levels
from .collect import Curves, Panel, Study
from .constructed import summarise_set
from .content import (
    ArmSummary,
    Chance,
    CurveGroup,
    EpsAccuracy,
    LevelAccuracy,
    Line,
    PanelVerdict,
    RandomAccuracy,
    Settings,
    SizeAccuracies,
    TransferGapContent,
)
from .headline import slope_contrast

ENDPOINTS = {
    "fixed_feature": "test accuracy at the last epoch, whole training split, raw features, variant's own split",
    "full_network": "test accuracy at the last epoch, whole training split, variant's own split",
}


def summarise(spec: TransferGapReport, study: Study) -> TransferGapContent:
    """The statistics of a study. Accuracies are fractions, eps in pixel units."""
    alpha, panels = 1 - spec.confidence, study.panels
    sources = check_sources(study.family, alpha).model_copy(update={"norm": study.norm})
    problems = [find_problem(panel, sources, spec) for panel in panels]
    verdicts = _verdicts(spec, panels, problems)
    sound = [panel for panel, problem in zip(panels, problems, strict=True) if problem is None]
    return TransferGapContent(
        title=spec.title,
        regime=spec.regime,
        settings=Settings(
            margin=spec.margin,
            confidence=spec.confidence,
            min_fooling=spec.min_fooling,
            norm=study.norm,
            endpoint=ENDPOINTS[spec.regime],
        ),
        levels=sorted({eps for panel in panels for eps in panel.eps}),
        seeds=sorted({seed for panel in panels for seed in panel.seeds}),
        verdicts=[_panel_verdict(*parts) for parts in zip(panels, verdicts, problems, strict=True)],
        headline=slope_contrast(panels, sound, alpha),
        sources=sources,
        arms=[_arm(panel, verdict, panels, spec) for panel, verdict in zip(panels, verdicts, strict=True)],
        meaning=MEANING,
    )


def _verdicts(spec: TransferGapReport, panels: Sequence[Panel], problems: Sequence[Problem | None]) -> list[Verdict]:
    """A verdict on every panel. Holm's families are the sound panels of a variant.

    A panel with a problem is a family of its own, for its table of intervals: its word is never shown.
    """
    verdicts: dict[int, Verdict] = {}
    for variant in dict.fromkeys(panel.variant for panel in panels):
        family = [i for i, p in enumerate(panels) if p.variant == variant and problems[i] is None]
        data = [differences(panels[i].curves().last) for i in family]
        verdicts |= dict(zip(family, verdicts_of(data, spec.margin, spec.confidence), strict=True))
    return [
        verdicts.get(i) or verdicts_of([differences(panel.curves().last)], spec.margin, spec.confidence)[0]
        for i, panel in enumerate(panels)
    ]


def _panel_verdict(panel: Panel, verdict: Verdict, problem: Problem | None) -> PanelVerdict:
    mean = differences(panel.curves().last).mean
    level = int(np.abs(mean).argmax()) if verdict.level is None else verdict.level
    difference = _difference(mean, verdict, level)
    return PanelVerdict(
        target=panel.target,
        variant=panel.variant,
        control=panel.control,
        verdict="unusable" if problem else verdict.word,
        reason=problem.reason if problem else _reason(panel, verdict, mean),
        void=problem is not None and problem.void,
        level=panel.eps[level + 1],
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        p=verdict.p,
        p_holm=None if problem else verdict.p_holm,
        confidence=1 - verdict.alpha,
        detectable=verdict.detectable,
    )


def _reason(panel: Panel, verdict: Verdict, mean: Floats) -> str:
    if verdict.level is None:
        return "these checkpoints; training variance unknown: one seed gives no interval"
    difference = _difference(mean, verdict, verdict.level)
    eps = panel.eps[verdict.level + 1]
    if verdict.word == "mixed":
        up, down = int(np.argmax(verdict.low)), int(np.argmin(verdict.high))
        return " and ".join(change(panel.eps[i + 1], _difference(mean, verdict, i)) for i in (up, down))
    if verdict.word in ("helps", "hinders"):
        return change(eps, difference)
    largest = f"the largest difference is {points(difference)} points, at eps {eps:g}"
    if verdict.word == "no_difference":
        return f"within the margin at every level; {largest}"
    return f"{largest}; this design would likely have shown {100 * (verdict.detectable or 0):.1f} points (power 80 %)"


def _difference(mean: Floats, verdict: Verdict, level: int) -> Interval:
    """The difference at a level, with the interval that the verdict was read off; it has no ends with one seed."""
    known = verdict.level is not None
    low, high = (verdict.low[level], verdict.high[level]) if known else (None, None)
    return Interval(mean=float(mean[level]), low=low, high=high)


def _arm(panel: Panel, verdict: Verdict, panels: Sequence[Panel], spec: TransferGapReport) -> ArmSummary:
    alpha = 1 - spec.confidence
    main = panel.curves()
    last = main.last.mean(-1).T  # [seed, level]
    correlations = rank_correlations(panel.eps, last)
    slopes = np.tensordot(slope_weights(panel.eps), main.last.astype(float), 1)
    raw = advantages(panel.eps, main, alpha)
    has_standardised = any(head.standardised for head in panel.heads)
    standardised = advantages(panel.eps, panel.curves(standardised=True), alpha) if has_standardised else None
    return ArmSummary(
        target=panel.target,
        variant=panel.variant,
        control=panel.control,
        n_train=panel.n_train,
        n_test=panel.n_test,
        classes=panel.classes,
        seeds=list(panel.seeds),
        dropped_seeds=list(panel.dropped),
        levels=_levels(panel, main, verdict, alpha),
        random_init=_random(panel, main, alpha),
        trend=page_trend_test(last),
        spearman=correlations["spearman"],
        kendall=correlations["kendall"],
        slope=mean_interval(crossed(slopes), alpha),
        advantages={"raw": raw} if standardised is None else {"raw": raw, "standardised": standardised},
        unconverged=sum(head.n == panel.n_train and not head.converged for head in panel.heads),
        tuned=tuned_levels(panel, alpha),
        sizes=[
            SizeAccuracies(n=n, levels=_accuracies(panel.eps, crossed(panel.curves(n).last), alpha))
            for n in panel.sizes()
        ],
        chance=_chance(panel, panels, main, spec),
        sets=[summarise_set(result) for result in panel.sets],
        curves=_curves(panel, alpha),
    )


def _levels(panel: Panel, main: Curves, verdict: Verdict, alpha: float) -> list[LevelAccuracy]:
    """Accuracy by level (each its own interval) and its difference to eps 0 (simultaneous over the levels)."""
    last, first = crossed(main.last), crossed(main.first)
    last_differences, first_differences = differences(main.last), differences(main.first)
    comparisons = len(panel.eps) - 1
    return [
        LevelAccuracy(
            eps=eps,
            accuracy=mean_interval(_at(last, i), alpha),
            first=mean_interval(_at(first, i), alpha),
            clean=_over_heads([head.clean_last for head in heads], alpha),
            first_clean=_over_heads([head.clean_first for head in heads], alpha),
            mean_per_class=_over_heads([head.mean_per_class for head in heads], alpha),
            robust=_robust(heads, alpha),
            by_seed=main.last[i].mean(-1).tolist(),
            difference=_difference(last_differences.mean, verdict, i - 1) if i else None,
            first_difference=mean_interval(_at(first_differences, i - 1), alpha, comparisons) if i else None,
        )
        for i, (eps, heads) in enumerate(zip(panel.eps, panel.family(), strict=True))
    ]


def _robust(heads: Sequence[Head], alpha: float) -> dict[str, Interval]:
    """Robust accuracy after transfer, over seeds, by eps of the attacks that all heads were measured under."""
    attacks = sorted(set.intersection(*(set(head.robust) for head in heads)))
    return {f"{at:g}": mean_interval(over_seeds([head.robust[at] for head in heads]), alpha) for at in attacks}


def _random(panel: Panel, main: Curves, alpha: float) -> RandomAccuracy | None:
    """Accuracies on the random networks; None where there are none."""
    if not len(main.random):
        return None
    heads = [head for head in panel.heads if head.random and head.n == panel.n_train and not head.standardised]
    return RandomAccuracy(
        accuracy=mean_interval(crossed(main.random_last), alpha),
        first=mean_interval(crossed(main.random_first), alpha),
        clean=_over_heads([head.clean_last for head in heads], alpha),
        first_clean=_over_heads([head.clean_first for head in heads], alpha),
    )


def _over_heads(values: Sequence[float | None], alpha: float) -> Interval | None:
    """The mean of what each head was measured at, over seeds; None where a head was not measured."""
    known = [value for value in values if value is not None]
    return mean_interval(over_seeds(known), alpha) if len(known) == len(values) else None


def _chance(panel: Panel, panels: Sequence[Panel], main: Curves, spec: TransferGapReport) -> Chance | None:
    expected = chance(panel, panels)
    if expected is None:
        return None
    estimate = crossed(main.last)
    low, _ = estimate.interval(1 - spec.confidence, len(panel.eps))
    return Chance(expected=expected, above=bool((low > expected + spec.margin).any()) if estimate.df else None)


def _curves(panel: Panel, alpha: float) -> list[CurveGroup]:
    """Mean accuracy by epoch with a t interval over seeds (pointwise); the line of random networks comes last."""
    groups = []
    for n, standardised in sorted({(head.n, head.standardised) for head in panel.heads}):
        curves = panel.curves(n, standardised)
        lines = [_line(eps, curves.test[i], alpha) for i, eps in enumerate(panel.eps)]
        if len(curves.random):
            lines.append(_line(None, curves.random, alpha))
        groups.append(CurveGroup(n=n, standardised=standardised, lines=lines))
    return groups


def _line(eps: float | None, test: Floats, alpha: float) -> Line:
    estimate = over_seeds(test.T)
    low, high = estimate.interval(alpha)
    known = bool(estimate.df)
    return Line(
        eps=eps,
        mean=estimate.mean.tolist(),
        low=low.tolist() if known else None,
        high=high.tolist() if known else None,
    )


def _accuracies(eps: Sequence[float], estimate: Estimate, alpha: float) -> list[EpsAccuracy]:
    return [EpsAccuracy(eps=level, accuracy=mean_interval(_at(estimate, i), alpha)) for i, level in enumerate(eps)]


def _at(estimate: Estimate, index: int) -> Estimate:
    return Estimate(estimate.mean[index], estimate.error[index], estimate.df)
