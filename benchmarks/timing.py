"""How a thing is timed: once to warm up, then the median of some runs, in wall seconds."""

import statistics
import time
from collections.abc import Callable


def median(act: Callable[[], object], runs: int = 5) -> float:
    """Seconds of one run."""
    act()
    spans = []
    for _ in range(runs):
        began = time.perf_counter()
        act()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans)
