"""What the field claims for transfer beside the last epoch's accuracy: early gains, asymptotes, tuned heads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robxfer_core.reports.stats import Floats, bounds, crossed, over_seeds

from .collect import Bits, Curves, Panel


def advantages(eps: Sequence[float], curves: Curves, alpha: float) -> list[dict[str, Any]]:
    """The three advantages of transfer at each level, and of the random networks (eps null): accuracy after the first
    epoch (its interval over seeds and images), epochs to 90 % of the asymptote (over the seeds that reach it) and the
    asymptote (theirs over seeds)."""
    lines: list[tuple[float | None, Floats, Bits, Floats]]
    lines = [(level, curves.test[i], curves.first[i], curves.asymptote[i]) for i, level in enumerate(eps)]
    if len(curves.random):
        lines.append((None, curves.random, curves.random_first, curves.random_asymptote))
    rows = []
    for level, test, first, asymptote in lines:
        epochs = epochs_to(test, 0.9 * asymptote)
        reached = epochs[~np.isnan(epochs)]
        rows.append(
            {
                "eps": level,
                "initial": bounds(crossed(first), alpha),
                "epochs_to_90": bounds(over_seeds(reached), alpha) if len(reached) else None,
                "reached": len(reached),
                "seeds": len(test),
                "asymptote": None if np.isnan(asymptote).any() else bounds(over_seeds(asymptote), alpha),
            }
        )
    return rows


def epochs_to(test: Floats, bar: Floats) -> Floats:
    """The first epoch, from 1, at which test[seed, epoch] is at least bar[seed]; NaN for never."""
    over = test >= bar[:, None]
    return np.where(over.any(1), over.argmax(1) + 1.0, np.nan)


def tuned(panel: Panel, alpha: float) -> list[dict[str, Any]]:
    """The tuned table by level; [] where none was asked for."""
    rows = []
    for eps, family in zip(panel.eps, panel.family(), strict=True):
        heads = [head.tuned for head in family if head.tuned is not None]
        if not heads:
            return []
        chosen = Counter((each["best"]["lr"], each["best"]["weight_decay"]) for each in heads)
        rows.append(
            {
                "eps": eps,
                "test": bounds(over_seeds([each["test"] for each in heads]), alpha),
                "validation": bounds(over_seeds([each["validation"] for each in heads]), alpha),
                "chosen": [{"lr": lr, "weight_decay": wd, "seeds": n} for (lr, wd), n in sorted(chosen.items())],
                "at_edge": sum(map(_at_edge, heads)),
            }
        )
    return rows


def _at_edge(of_head: Mapping[str, Any]) -> bool:
    """Whether the learning rate chosen is the smallest or the largest of several: a better one may lie beyond."""
    tried = {row["lr"] for row in of_head["table"]}
    return len(tried) > 1 and of_head["best"]["lr"] in (min(tried), max(tried))
