"""What usefulness comes to: the features of each set, counted with intervals, and by what they are on D."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robxfer_core.jobs.probe import (
    FeatureCount,
    FeatureGroup,
    FeatureGroupName,
    ProbedSet,
    UsefulnessEstimate,
    UsefulnessLevel,
    UsefulnessSet,
)
from robxfer_core.jobs.results import DatasetName, TableResult

from .estimate import Floats, Standard, UsefulnessStatistic, mean_usefulness, usefulness

Bools = NDArray[np.bool_]
GROUPS: tuple[FeatureGroupName, ...] = ("robustly_useful", "useful_not_robust", "not_useful")
"""Of features, by what they are on D: gamma > 0; gamma <= 0 though rho is above 0 beyond its interval; the rest."""


@dataclass(frozen=True)
class MeasuredSet:
    """One data set: its images' classes y [n], and of each component the value and the slope [n, C], and per eps how
    low and how high it was moved, [E, n, C]."""

    name: str
    variant: str
    key: str
    y: NDArray[np.int64]
    value: Floats
    slope: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class FeatureStatistics:
    """All features of one set: estimates [K, C], of gamma and of its first-order check per eps."""

    rho: UsefulnessStatistic
    gamma: list[UsefulnessStatistic]
    first_order: list[Floats]

    @cached_property
    def pairs(self) -> int:
        """Features that could be measured."""
        return int(np.isfinite(self.rho.value).sum())

    def largest_eps(self, levels: list[float]) -> Floats:
        """Of each feature the largest eps measured with gamma > 0; 0 where only rho is; NaN where not even that."""
        largest = np.where(self.rho.value > 0, 0.0, np.nan)
        for eps, gamma in zip(levels, self.gamma, strict=True):
            largest = np.where(gamma.value > 0, eps, largest)
        return largest


def features(part: MeasuredSet, standard: Standard, levels: list[float]) -> FeatureStatistics:
    """rho, gamma at each level, and gamma as a linear function of the same slope would have it."""

    def at(low: Floats, high: Floats) -> UsefulnessStatistic:
        return usefulness(low, high, part.y, standard)

    linear = [at(part.value - eps * part.slope, part.value + eps * part.slope).value for eps in levels]
    gamma = [at(low, high) for low, high in zip(part.low, part.high, strict=True)]
    return FeatureStatistics(at(part.value, part.value), gamma, linear)


def groups(found: FeatureStatistics, level: int) -> dict[FeatureGroupName, Bools]:
    """Which features [K, C] are in each of GROUPS at the level."""
    robust = found.gamma[level].value > 0
    useful = found.rho.bounds()[0] > 0
    measurable = np.isfinite(found.rho.value)
    return dict(zip(GROUPS, (robust, useful & ~robust, measurable & ~useful & ~robust), strict=True))


def summarise(sets: list[MeasuredSet], standard: Standard, levels: list[float]) -> list[UsefulnessSet]:
    """Counts and means of each set; the first is D, by whose groups of features the means of all are taken."""
    measured = [features(part, standard, levels) for part in sets]
    kinds = [groups(measured[0], level) for level in range(len(levels))]
    return [_set(part, of, standard, levels, kinds) for part, of in zip(sets, measured, strict=True)]


def _set(
    part: MeasuredSet,
    found: FeatureStatistics,
    standard: Standard,
    levels: list[float],
    kinds: list[dict[FeatureGroupName, Bools]],
) -> UsefulnessSet:
    return UsefulnessSet(
        data=ProbedSet(name=part.name, variant=part.variant, key=part.key),
        n=len(part.y),
        features=found.pairs,
        rho=_mean(found.rho.value),
        useful=_count(found, None),
        levels=[
            UsefulnessLevel(
                eps=eps,
                gamma=_mean(found.gamma[level].value),
                first_order=_mean(found.first_order[level]),
                robustly_useful=_count(found, level),
                useful_not_robust=_count_not_robust(found, level),
                by_group_on_d={
                    name: _group(part, found, standard, members, level) for name, members in kinds[level].items()
                },
            )
            for level, eps in enumerate(levels)
        ],
    )


def _count(found: FeatureStatistics, level: int | None) -> FeatureCount:
    """How many features have rho (or gamma) > 0; in at least 95 of 100 cases between low and high."""
    of = found.rho if level is None else found.gamma[level]
    low, high = of.bounds(2 * max(found.pairs, 1))
    return FeatureCount(count=int((of.value > 0).sum()), low=int((low > 0).sum()), high=int((high > 0).sum()))


def _count_not_robust(found: FeatureStatistics, level: int) -> FeatureCount:
    """How many have rho > 0 and gamma <= 0; all the intervals hold together, so the count's does."""
    rho, gamma = found.rho, found.gamma[level]
    (low, high), (below, above) = (of.bounds(2 * max(found.pairs, 1)) for of in (rho, gamma))
    return FeatureCount(
        count=int(((rho.value > 0) & (gamma.value <= 0)).sum()),
        low=int(((low > 0) & (above <= 0)).sum()),
        high=int(((high > 0) & (below <= 0)).sum()),
    )


def _group(part: MeasuredSet, found: FeatureStatistics, standard: Standard, members: Bools, level: int) -> FeatureGroup:
    value, error = mean_usefulness(part.value, part.y, standard, members)
    rho = None
    if not np.isnan(value):
        rho = UsefulnessEstimate(value=short(value), low=short(value - 1.96 * error), high=short(value + 1.96 * error))
    return FeatureGroup(features=int(members.sum()), rho=rho, gamma=_mean(found.gamma[level].value[members]))


def _mean(values: Floats) -> float | None:
    """Of those that could be measured; None where there is none."""
    finite = values[np.isfinite(values)]
    return short(float(finite.mean())) if len(finite) else None


def short(value: float) -> float:
    """A number as it is kept in a result.json, which has room for few bytes: to 6 digits."""
    return float(f"{value:.6g}")


def label(data: DatasetName) -> str:
    """How a set is called: `cifar10 (antirobust)`."""
    return f"{data.name} ({data.variant})"


GROUP_TEXTS: dict[FeatureGroupName, str] = {
    "robustly_useful": "the robustly useful have a mean rho",
    "useful_not_robust": "the useful but not robust have a mean rho",
}


def headline(sets: list[UsefulnessSet], levels: list[float], norm: str) -> str:
    """How many features of D are useful and robustly useful, and their means on the other sets; one sentence."""
    d, last = sets[0], sets[0].levels[-1]
    text = (
        f"{d.useful.count} of {d.features} features of {label(d.data)} are useful, "
        f"{last.robustly_useful.count} of them robustly at {norm} eps {levels[-1]:g}"
    )
    for other in sets[1:]:
        group_of = other.levels[-1].by_group_on_d
        means = [f"{words} of {_text(group_of[name].rho)}" for name, words in GROUP_TEXTS.items() if group_of[name].rho]
        if means:
            text += f"; on {label(other.data)} {', '.join(means)}"
    return text


def table(sets: list[UsefulnessSet], levels: list[float]) -> TableResult:
    """A row for each set and eps."""
    rows: list[list[str | None]] = [
        [
            label(each.data),
            f"{eps:g}",
            _counted(each.useful),
            _counted(each.levels[level].robustly_useful),
            _counted(each.levels[level].useful_not_robust),
            *(_text(each.levels[level].by_group_on_d[name].rho) for name in GROUP_TEXTS),
        ]
        for each in sets
        for level, eps in enumerate(levels)
    ]
    columns = [
        "data set", "eps", "useful", "robustly useful", "useful, not robust",
        "mean rho of those robustly useful on D", "mean rho of those useful, not robust on D",
    ]  # fmt: skip
    return TableResult(columns=columns, rows=rows)


def _counted(count: FeatureCount) -> str:
    return f"{count.count} [{count.low}, {count.high}]"


def _text(rho: UsefulnessEstimate | None) -> str:
    return "none" if rho is None else f"{rho.value:.3f} [{rho.low:.3f}, {rho.high:.3f}]"
