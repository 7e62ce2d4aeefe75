"""A source-modification study's results as the content of its report: arms, verdicts, costs, headline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robxfer_core.jobs.results import Headline, Interval, TableResult
from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.reports.formatting import accuracy, percent, points
from robxfer_core.reports.heads import epochs_to
from robxfer_core.reports.stats import Estimate, critical, crossed, detectable, differences, mean_interval, over_seeds
from robxfer_core.reports.verdict import MEANING, Word, word

from .collect import Arm, Evaluated, Study, clean, robust
from .content import (
    AgreementAccuracy,
    ArmCost,
    ArmSummary,
    ConstructedSets,
    Costs,
    CurveGroup,
    Distances,
    Line,
    NetworkAccuracy,
    Settings,
    SourceModificationContent,
)
from .costs import count_costs
from .naming import NAMES, operations


@dataclass(frozen=True)
class Comparison:
    """An arm against the standard one. Intervals are simultaneous over the arms (Bonferroni)."""

    difference: Interval
    first_difference: Interval
    verdict: Word
    reason: str | None
    detectable: float | None


def summarise(spec: SourceModificationReport, study: Study) -> SourceModificationContent:
    """The statistics of a study. Accuracies are fractions, eps in pixel units."""
    alpha = 1 - spec.confidence
    trained = [arm for arm in study.arms if arm.name != "random_init"]
    last = differences([arm.outcomes() for arm in trained])
    first = differences([arm.outcomes(first=True) for arm in trained])
    comparisons = {
        arm.name: _compare(_at(last, i), _at(first, i), unusable(arm, study, spec), spec, len(trained) - 1)
        for i, arm in enumerate(trained[1:])
    }
    arms = [_arm(arm, comparisons.get(arm.name), alpha) for arm in study.arms]
    costs = count_costs(spec, study)
    return SourceModificationContent(
        title=spec.title,
        target=spec.target,
        settings=Settings(
            eps=spec.eps,
            margin=spec.margin,
            confidence=spec.confidence,
            min_agreement=spec.min_agreement,
            endpoint="test accuracy at the last epoch, whole training split, raw features",
            comparisons=len(trained) - 1,
        ),
        source_data=study.data,
        seeds=list(study.arms[0].seeds),
        arms=arms,
        costs=costs,
        headline=Headline(text=headline(spec.target, arms, costs)),
        table=table(spec, arms, costs),
        curves=[_curves(study, standardised, alpha) for standardised in (False, True)],
        meaning={name: text.replace("eps 0", "the standard arm") for name, text in MEANING.items()},
    )


def unusable(arm: Arm, study: Study, spec: SourceModificationReport) -> str | None:
    """Why an arm has no verdict, or None: networks that are not robust as they claim, or a set that was not made."""
    claimed = {"adversarial": ("sources", arm.sources), "robust": ("generators", arm.generators)}
    if arm.name in claimed:
        role, networks = claimed[arm.name]
        own, other = float(robust(networks).mean()), float(robust(study.arms[0].sources).mean())
        if own <= other:
            return (
                f"its adversarially trained {role} do not beat the standard sources at eps {spec.eps:g} "
                f"({percent(own)} against {percent(other)} robust accuracy)"
            )
    least = min((result.agreement for result in arm.sets), default=1.0)
    if least < spec.min_agreement:
        return (
            f"the generator gives {percent(least)} of a made set's images the class of their originals, "
            f"below {percent(spec.min_agreement)}"
        )
    return None


def _arm(arm: Arm, comparison: Comparison | None, alpha: float) -> ArmSummary:
    test = arm.test()
    asymptote = np.array([np.nan if head.asymptote is None else head.asymptote for head in arm.whole()])
    epochs = epochs_to(test, 0.9 * asymptote)
    reached = epochs[~np.isnan(epochs)]
    tuned = [head.tuned.test for head in arm.whole() if head.tuned is not None]
    compared: dict[str, Any] = {} if comparison is None else vars(comparison)
    return ArmSummary(
        name=arm.name,
        accuracy=mean_interval(crossed(arm.outcomes()), alpha),
        first=mean_interval(crossed(arm.outcomes(first=True)), alpha),
        epochs_to_90=mean_interval(over_seeds(reached), alpha) if len(reached) else None,
        reached=len(reached),
        seeds=len(test),
        asymptote=None if np.isnan(asymptote).any() else mean_interval(over_seeds(asymptote), alpha),
        tuned=mean_interval(over_seeds(tuned), alpha) if tuned else None,
        by_seed=test[:, -1].tolist(),
        source=_networks(arm.sources, alpha),
        generator=_networks(arm.generators, alpha),
        made=_sets(arm, alpha),
        **compared,
    )


def _sets(arm: Arm, alpha: float) -> ConstructedSets | None:
    if not arm.sets:
        return None
    distances = [result.relative_distance for result in arm.sets]
    accuracies = [result.generator_accuracy for result in arm.sets]
    return ConstructedSets(
        seed_data=arm.sets[0].seed_data,
        relative_distance=Distances(
            start=mean_interval(over_seeds([distance.start.mean for distance in distances]), alpha),
            reached=mean_interval(over_seeds([distance.reached.mean for distance in distances]), alpha),
            stored=mean_interval(over_seeds([distance.stored.mean for distance in distances]), alpha),
        ),
        agreement=[result.agreement for result in arm.sets],
        generator_accuracy=AgreementAccuracy(
            made=mean_interval(over_seeds([accuracy.made for accuracy in accuracies]), alpha),
            test=mean_interval(over_seeds([accuracy.test for accuracy in accuracies]), alpha),
        ),
    )


def _networks(networks: Sequence[Evaluated], alpha: float) -> NetworkAccuracy | None:
    if not networks:
        return None
    return NetworkAccuracy(
        clean=mean_interval(crossed(clean(networks)), alpha), robust=mean_interval(crossed(robust(networks)), alpha)
    )


def _compare(
    difference: Estimate, first: Estimate, problem: str | None, spec: SourceModificationReport, comparisons: int
) -> Comparison:
    alpha = 1 - spec.confidence
    low, high = (np.atleast_1d(end) for end in difference.interval(alpha, comparisons))
    verdict: Word = "unusable" if problem else word(low, high, spec.margin)
    smallest = detectable(difference, alpha / comparisons, spec.margin)
    if verdict == "not_shown":
        problem = (
            "one seed gives no interval"
            if smallest is None
            else f"this design would likely have shown {100 * smallest:.1f} points (power 80 %)"
        )
    return Comparison(
        difference=mean_interval(difference, alpha, comparisons),
        first_difference=mean_interval(first, alpha, comparisons),
        verdict=verdict,
        reason=problem,
        detectable=smallest,
    )


def headline(target: str, arms: Sequence[ArmSummary], costs: Costs) -> str:
    """The study's answer, in a sentence without its full stop."""
    by_name = {arm.name: arm for arm in arms}
    parts = [f"on {target}, against standard sources at {percent(by_name['standard'].accuracy.mean)}"]
    answers = []
    for name, text in (("robust", "trained on the robust set"), ("adversarial", "adversarially trained")):
        arm = by_name.get(name)
        if arm is not None and arm.difference is not None and arm.verdict is not None:
            answers.append(f"sources {text}: {points(arm.difference)} points ({arm.verdict.replace('_', ' ')})")
    if answers:
        parts.append(", " + "; ".join(answers))
    if {"robust", "adversarial"} <= by_name.keys():
        even = costs.break_even
        parts.append("; the robust set " + (f"costs less from {even} sources on" if even else "never costs less"))
    return "".join(parts)


def table(spec: SourceModificationReport, arms: Sequence[ArmSummary], costs: Costs) -> TableResult:
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
    return TableResult(columns=columns, rows=[_row(arm, costs.arms.get(arm.name)) for arm in arms])


def _row(arm: ArmSummary, cost: ArmCost | None) -> list[str | None]:
    return [
        NAMES[arm.name],
        percent(arm.source.clean.mean) if arm.source else None,
        percent(arm.source.robust.mean) if arm.source else None,
        accuracy(arm.accuracy),
        points(arm.difference) if arm.difference else None,
        arm.verdict.replace("_", " ") if arm.verdict else None,
        _cost(cost) if cost else None,
    ]


def _cost(cost: ArmCost) -> str:
    return operations(cost.source) + (f", and {operations(cost.once)} once" if cost.once else "")


def _curves(study: Study, standardised: bool, alpha: float) -> CurveGroup:
    """Mean accuracy by epoch, with a t interval over sources (pointwise)."""
    lines = []
    for arm in study.arms:
        estimate = over_seeds(arm.test(standardised).T)
        half = critical(estimate.df, alpha) * estimate.error
        known = bool(estimate.df)
        lines.append(
            Line(
                name=arm.name,
                mean=estimate.mean.tolist(),
                low=(estimate.mean - half).tolist() if known else None,
                high=(estimate.mean + half).tolist() if known else None,
            )
        )
    return CurveGroup(standardised=standardised, lines=lines)


def _at(estimate: Estimate, index: int) -> Estimate:
    return Estimate(estimate.mean[index], estimate.error[index], estimate.df)
