"""What the field claims for transfer beside the last epoch's accuracy: early gains, asymptotes, tuned heads."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from robxfer_core.jobs.transfer import TunedHead
from robxfer_core.reports.heads import epochs_to
from robxfer_core.reports.outcomes import Bits
from robxfer_core.reports.stats import Floats, crossed, mean_interval, over_seeds

from .collect import Curves, Panel
from .content import Advantage, ChosenRates, TunedLevel


def advantages(eps: Sequence[float], curves: Curves, alpha: float) -> list[Advantage]:
    """The three advantages of transfer at each level, and of the random networks.

    Accuracy after the first epoch has its interval over seeds and images, epochs to 90 % of the asymptote over the
    seeds that reach it, the asymptote over seeds.
    """
    lines: list[tuple[float | None, Floats, Bits, Floats]]
    lines = [(level, curves.test[i], curves.first[i], curves.asymptote[i]) for i, level in enumerate(eps)]
    if len(curves.random):
        lines.append((None, curves.random, curves.random_first, curves.random_asymptote))
    rows = []
    for level, test, first, asymptote in lines:
        epochs = epochs_to(test, 0.9 * asymptote)
        reached = epochs[~np.isnan(epochs)]
        rows.append(
            Advantage(
                eps=level,
                initial=mean_interval(crossed(first), alpha),
                epochs_to_90=mean_interval(over_seeds(reached), alpha) if len(reached) else None,
                reached=len(reached),
                seeds=len(test),
                asymptote=None if np.isnan(asymptote).any() else mean_interval(over_seeds(asymptote), alpha),
            )
        )
    return rows


def tuned_levels(panel: Panel, alpha: float) -> list[TunedLevel]:
    """Tuned heads by level; [] where none were asked for."""
    rows = []
    for eps, family in zip(panel.eps, panel.family(), strict=True):
        heads = [head.tuned for head in family if head.tuned is not None]
        if not heads:
            return []
        chosen = Counter((head.best.lr, head.best.weight_decay) for head in heads)
        rows.append(
            TunedLevel(
                eps=eps,
                test=mean_interval(over_seeds([head.test for head in heads]), alpha),
                validation=mean_interval(over_seeds([head.validation for head in heads]), alpha),
                chosen=[ChosenRates(lr=lr, weight_decay=wd, seeds=n) for (lr, wd), n in sorted(chosen.items())],
                at_edge=sum(map(_is_at_edge, heads)),
            )
        )
    return rows


def _is_at_edge(head: TunedHead) -> bool:
    """Whether the learning rate chosen is the smallest or the largest of several: a better one may lie beyond."""
    tried = {row.lr for row in head.table}
    return len(tried) > 1 and head.best.lr in (min(tried), max(tried))
