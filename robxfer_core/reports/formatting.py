"""Numbers as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from robxfer_core.jobs.results import Interval

Band = Interval | Mapping[str, Any]
"""A mean with its interval."""


def eps_text(eps: float) -> str:
    """A level as it is printed: '0.5'."""
    return f"{eps:g}"


def percent(value: float | None) -> str:
    """A fraction in per cent: '87.1 %'."""
    return "-" if value is None else f"{100 * value:.1f} %"


def accuracy(band: Band) -> str:
    """'87.1 [85.0, 89.2]', in per cent; an interval's ends stay within what an accuracy can be."""
    interval = _interval(band)
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (interval.low, interval.high))
    return _with_interval(Interval(mean=interval.mean, low=low, high=high), 100, ".1f")


def points(band: Band) -> str:
    """A difference in percentage points: '-12.1 [-15.2, -9.0]'."""
    return _with_interval(_interval(band), 100, "+.1f")


def number(band: Band) -> str:
    """'3.4 [1.2, 5.6]'."""
    return _with_interval(_interval(band), 1, ".1f")


def change(eps: float, band: Band) -> str:
    """'at eps 2 accuracy falls by 12.1 points [9.0, 15.2]'. The interval has both ends."""
    interval = _interval(band)
    assert interval.low is not None
    assert interval.high is not None
    sign = -1 if interval.mean < 0 else 1
    verb = "falls" if sign < 0 else "rises"
    low, high = sorted(_tenths(100 * sign * end) for end in (interval.low, interval.high))
    return f"at eps {eps_text(eps)} accuracy {verb} by {100 * abs(interval.mean):.1f} points [{low:.1f}, {high:.1f}]"


def listed(values: Sequence[Any]) -> str:
    """'0, 1 and 2'."""
    *most, last = map(str, values)
    return f"{', '.join(most)} and {last}" if most else last


def _interval(band: Band) -> Interval:
    return band if isinstance(band, Interval) else Interval.model_validate(band)


def _with_interval(interval: Interval, scale: float, form: str) -> str:
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = (None if end is None else _tenths(scale * end) for end in ends)
    return f"{mean:{form}}" if low is None else f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def _tenths(value: float) -> float:
    return round(value, 1) + 0.0  # never -0.0
