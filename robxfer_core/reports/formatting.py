"""Numbers as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

Band = Mapping[str, Any]
"""{"mean", "low", "high"}; low and high may be None."""


def eps_text(eps: float) -> str:
    """A level as it is printed: '0.5'."""
    return f"{eps:g}"


def percent(value: float | None) -> str:
    """A fraction in per cent: '87.1 %'."""
    return "-" if value is None else f"{100 * value:.1f} %"


def accuracy(band: Band) -> str:
    """'87.1 [85.0, 89.2]', in per cent; an interval's ends stay within what an accuracy can be."""
    ends = {end: None if band[end] is None else min(max(band[end], 0.0), 1.0) for end in ("low", "high")}
    return _with_interval({"mean": band["mean"], **ends}, 100, ".1f")


def points(band: Band) -> str:
    """A difference in percentage points: '-12.1 [-15.2, -9.0]'."""
    return _with_interval(band, 100, "+.1f")


def number(band: Band) -> str:
    """'3.4 [1.2, 5.6]'."""
    return _with_interval(band, 1, ".1f")


def change(eps: float, band: Band) -> str:
    """'at eps 2 accuracy falls by 12.1 points [9.0, 15.2]'."""
    sign = -1 if band["mean"] < 0 else 1
    verb = "falls" if sign < 0 else "rises"
    ends = sorted(_tenths(100 * sign * band[end]) for end in ("low", "high"))
    return (
        f"at eps {eps_text(eps)} accuracy {verb} by {100 * abs(band['mean']):.1f} points [{ends[0]:.1f}, {ends[1]:.1f}]"
    )


def listed(values: Sequence[Any]) -> str:
    """'0, 1 and 2'."""
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last


def _with_interval(band: Band, scale: float, form: str) -> str:
    mean, low, high = (None if band[at] is None else _tenths(scale * band[at]) for at in ("mean", "low", "high"))
    return f"{mean:{form}}" if low is None else f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def _tenths(value: float) -> float:
    return round(value, 1) + 0.0  # never -0.0
