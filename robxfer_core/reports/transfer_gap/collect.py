"""The results of a study's jobs, read into arrays: levels x seeds x whatever was measured."""

from dataclasses import dataclass

import numpy as np

from robxfer_core.jobs.results import Norm
from robxfer_core.jobs.run import Inputs
from robxfer_core.jobs.transfer_gap_report import Arm, TransferGapReport
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.heads import Head, read_heads
from robxfer_core.reports.outcomes import Bits, check_unique
from robxfer_core.reports.sources import SourceFamily, read_sources
from robxfer_core.reports.stats import Floats

from .constructed import ConstructedResult, generator_seed, read_constructed

CONTROLS = ("relabel_only", "noise", "robust_generator")
"""Variants that show what a verdict rests on. Their own verdicts are shown as controls."""


@dataclass(frozen=True)
class Curves:
    """The heads of a panel that share n and standardisation: [level, seed, ...], levels ascending."""

    test: Floats
    first: Bits
    last: Bits
    asymptote: Floats
    """[level, seed]; NaN where there is none."""
    random: Floats
    """Curves on random networks, [seed, E]; no seeds where the study has none."""
    random_asymptote: Floats
    random_first: Bits
    random_last: Bits
    """[seed, n_test], as `first` and `last`."""


@dataclass(frozen=True)
class Panel:
    """One arm: a variant of a target, with every head trained on it."""

    target: str
    variant: str
    eps: tuple[float, ...]
    seeds: tuple[int, ...]
    """Those that have every level."""
    dropped: tuple[int, ...]
    """Seeds that lack a level, left out."""
    heads: tuple[Head, ...]
    sets: tuple[ConstructedResult, ...]
    """Results of the jobs that made its data; perturbed sets by the seed of their generator."""

    @property
    def control(self) -> bool:
        return self.variant in CONTROLS

    @property
    def n_train(self) -> int:
        return max(head.n for head in self.heads)

    @property
    def n_test(self) -> int:
        return len(self.heads[0].last)

    @property
    def classes(self) -> int:
        return self.heads[0].data.classes

    def sizes(self) -> list[int]:
        """The training-set sizes, ascending; the last is the whole split."""
        return sorted({head.n for head in self.heads})

    def family(self) -> list[list[Head]]:
        """One head of each source model, on the whole split and raw features: [level][seed]."""
        return self._grid(self.n_train, False)

    def curves(self, n: int | None = None, standardised: bool = False) -> Curves:
        """The curves of one training-set size (the whole split by default)."""
        n = self.n_train if n is None else n
        grid = self._grid(n, standardised)
        random = sorted(
            (h for h in self.heads if h.random and (h.n, h.standardised) == (n, standardised)), key=lambda h: h.seed
        )
        epochs = grid[0][0].test.size
        return Curves(
            test=np.array([[head.test for head in row] for row in grid]),
            first=np.array([[head.first for head in row] for row in grid]),
            last=np.array([[head.last for head in row] for row in grid]),
            asymptote=np.array([[_or_nan(head.asymptote) for head in row] for row in grid]),
            random=np.array([head.test for head in random]).reshape(len(random), epochs),
            random_asymptote=np.array([_or_nan(head.asymptote) for head in random]),
            random_first=np.array([head.first for head in random], dtype=bool).reshape(len(random), self.n_test),
            random_last=np.array([head.last for head in random], dtype=bool).reshape(len(random), self.n_test),
        )

    def _grid(self, n: int, standardised: bool) -> list[list[Head]]:
        at = {(h.eps, h.seed): h for h in self.heads if not h.random and (h.n, h.standardised) == (n, standardised)}
        try:
            return [[at[eps, seed] for seed in self.seeds] for eps in self.eps]
        except KeyError as missing:
            raise BadStudy(f"{self.target}, {self.variant}: no curve of n {n} for (eps, seed) {missing}") from None


@dataclass(frozen=True)
class Study:
    """The results of a study."""

    family: SourceFamily
    """The source networks on their own task."""
    norm: Norm
    """Of the sources' threat models."""
    panels: tuple[Panel, ...]
    """In the order of the arms."""


def collect(spec: TransferGapReport, inputs: Inputs) -> Study:
    """Read every result that a report takes.

    Raises:
        BadStudy: They do not fit together.
    """
    family = read_sources(inputs)
    panels = [_panel(arm, inputs, index) for index, arm in enumerate(spec.arms)]
    check_unique("arms", ((panel.target, panel.variant) for panel in panels))
    norm = family.norm if inputs.all("sources") else panels[0].heads[0].norm  # a family that nobody evaluated here
    return Study(family, norm, tuple(panels))


def _panel(arm: Arm, inputs: Inputs, index: int) -> Panel:
    name = f"{arm.target}, {arm.variant}"
    heads = [head for item in inputs.all(f"arms.{index}.transfers") for head in read_heads(item)]
    check_unique(name, ((h.eps, h.seed, h.random, h.n, h.standardised) for h in heads))
    family = {(head.eps, head.seed) for head in heads if not head.random}
    eps = sorted({level for level, _ in family})
    if len(eps) < 2 or eps[0] != 0:
        raise BadStudy(f"{name}: levels {eps}; takes eps 0 and at least one above it")
    seeds = sorted({seed for _, seed in family})
    whole = [seed for seed in seeds if all((level, seed) in family for level in eps)]
    if not whole:
        raise BadStudy(f"{name}: no seed has all of the levels {eps}")
    if len({len(head.last) for head in heads}) > 1:
        raise BadStudy(f"{name}: the heads were tested on different numbers of images")
    dropped = tuple(seed for seed in seeds if seed not in whole)
    sets = [read_constructed(item) for item in inputs.all(f"arms.{index}.data")]
    sets.sort(key=lambda result: -1 if (seed := generator_seed(result)) is None else seed)
    return Panel(arm.target, arm.variant, tuple(eps), tuple(whole), dropped, tuple(heads), tuple(sets))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
