"""From intervals to words: what a study says about each target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .stats import Estimate, detectable, holm, holm_levels

Word = Literal["helps", "hinders", "mixed", "no_difference", "not_shown", "unusable"]

MEANING: dict[Word, str] = {
    "helps": "at some level accuracy is above that of eps 0 by more than the margin, and at none below it by as much",
    "hinders": "at some level accuracy is below that of eps 0 by more than the margin, and at none above it by as much",
    "mixed": "at some level it is above by more than the margin, at another below",
    "no_difference": "at every level accuracy is within the margin of that of eps 0",
    "not_shown": "the data allow none of these; the effect that this design could have shown is given",
    "unusable": "the data set or the source models failed their own checks, so no verdict is given",
}


@dataclass(frozen=True)
class Verdict:
    """A word on one target, the level that carries it, and how it was reached.

    level indexes the differences (0 is the first level above eps 0); low and high bound each difference, simultaneously
    over the levels and at the step that Holm's procedure gave this target; p is the target's, p_holm adjusted.
    """

    word: Word
    level: int | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    p: float | None
    p_holm: float | None
    alpha: float
    detectable: float | None


def target_p(difference: Estimate, margin: float) -> float:
    """The p of a target: 2 m times the least one-sided p of its m levels, at most 1.

    Args:
        difference: Differences of the levels to eps 0, [level].
        margin: Differences up to this count as none.

    Returns:
        p of the hypothesis that no difference lies beyond the margin.
    """
    least = np.minimum(difference.p_above(margin), difference.p_below(-margin)).min()
    return float(min(1.0, 2 * difference.mean.size * least))


def word(low: np.ndarray, high: np.ndarray, margin: float) -> Word:
    """The verdict that intervals allow.

    Args:
        low: Lower ends of the intervals of the differences, [level]; NaN where there is none, which shows nothing.
        high: Their upper ends, [level].
        margin: Differences up to this count as none.
    """
    up, down = bool((low > margin).any()), bool((high < -margin).any())
    if up and down:
        return "mixed"
    if up:
        return "helps"
    if down:
        return "hinders"
    return "no_difference" if bool(((low >= -margin) & (high <= margin)).all()) else "not_shown"


def verdicts_of(differences: Sequence[Estimate], margin: float = 0.01, confidence: float = 0.95) -> list[Verdict]:
    """Verdicts on the targets of one variant, from the differences of their levels to eps 0.

    The p of a target is at most alpha exactly where one of its simultaneous 1 - alpha intervals lies wholly beyond the
    margin. Holm's procedure over the targets gives every target an alpha of its own (`holm_levels`). Its intervals are
    computed at that alpha, and the verdict is read off them: what is printed is what decided. The chance that any
    target is called helps, hinders or mixed where none of its differences is beyond the margin is at most
    1 - confidence over all targets. The same holds for a false no_difference. With one target it is the plain interval.

    A target with one seed has no interval: it is not_shown, and counts among Holm's hypotheses with p = 1.

    Args:
        differences: Of every target, the differences of its levels to eps 0, [level].
        margin: Differences of accuracy up to this count as none.
        confidence: Over all targets.

    Returns:
        The verdicts, in the order of the targets.
    """
    if not differences:
        return []
    alpha = 1 - confidence
    p = np.array([target_p(difference, margin) if difference.df else 1.0 for difference in differences])
    adjusted, levels = holm(p), holm_levels(p, alpha)
    return [_verdict(*target, margin) for target in zip(differences, p, adjusted, levels, strict=True)]


def _verdict(difference: Estimate, p: float, p_holm: float, alpha: float, margin: float) -> Verdict:
    if not difference.df:
        nothing = (np.nan,) * difference.mean.size
        return Verdict("not_shown", None, nothing, nothing, None, None, float(alpha), None)
    low, high = difference.interval(alpha, difference.mean.size)
    verdict = word(low, high, margin)
    if verdict == "helps":
        level = int(low.argmax())
    elif verdict == "hinders":
        level = int(high.argmin())
    else:
        level = int(np.abs(difference.mean).argmax())
    reach = detectable(difference, alpha, margin)
    bounds = tuple(map(float, low)), tuple(map(float, high))
    return Verdict(verdict, level, *bounds, float(p), float(p_holm), float(alpha), reach)
