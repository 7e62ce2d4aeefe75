"""The results of a study's jobs, read into arrays: levels x seeds x whatever was measured."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.transfer_gap_report import Arm, TransferGapReport
from robxfer_core.reports.stats import Floats

Bits = NDArray[np.bool_]
CONTROLS = ("relabel_only", "noise", "robust_generator")
"""Variants that tell what a verdict rests on; their own verdicts are shown as controls."""


class BadStudy(ValueError):
    """Results that do not make a study: the message names the arm and what it lacks."""


@dataclass(frozen=True)
class Source:
    """A source model and its accuracy on its own task."""

    eps: float
    seed: int
    name: str
    arch: str
    """Architecture and width: 'cnn x 0.75'."""
    robust: dict[float, float]
    """Accuracy under attack by eps of the attack."""
    correct: dict[float, Bits]
    """The same for each image; 0 is clean."""
    key: str
    """Of the evaluation's job."""


@dataclass(frozen=True)
class Head:
    """One learning curve: a head trained on n images' features of one source model."""

    eps: float
    seed: int
    random: bool
    """The source is a network at its random start."""
    published: bool
    """Others trained the source."""
    n: int
    standardised: bool
    test: Floats
    """Accuracy on the test split after each epoch, [E]."""
    first: Bits
    last: Bits
    """Which test images are classified right after the first and after the last epoch, [n_test]."""
    clean_first: float | None
    """Of a constructed set: accuracy after the first epoch on the unconstructed test images with their own labels."""
    clean_last: float | None
    """The same after the last epoch."""
    asymptote: float | None
    """Test accuracy of the second-order solve on the whole split with these features."""
    converged: bool
    """Whether that solve did."""
    mean_per_class: float | None
    """Mean over classes of the accuracy after the last epoch."""
    robust: dict[float, float]
    """Accuracy under attack after the last epoch, by eps of the attack; of the raw head on the whole split, where
    it was measured."""
    tuned: dict[str, Any] | None
    data: dict[str, Any]
    key: str
    """Of the transfer's job."""


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
    sets: tuple[dict[str, Any], ...]
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
        return int(self.heads[0].data["classes"])

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
    sources: tuple[Source, ...]
    norm: str
    panels: tuple[Panel, ...]


def collect(spec: TransferGapReport, inputs: Inputs) -> Study:
    """Read every result.json that a report takes. Raises BadStudy where they do not fit together."""
    family = read_sources(inputs)
    panels = [_panel(arm, inputs, index) for index, arm in enumerate(spec.arms)]
    _no_doubles("arms", ((panel.target, panel.variant) for panel in panels))
    norm = family.norm
    if not inputs.all("sources"):  # a family that nobody evaluated here
        norm = read_result(inputs.all("arms.0.transfers")[0])["model"]["threat"]["norm"]
    return replace(family, norm=norm, panels=tuple(panels))


def read_sources(inputs: Inputs) -> Study:
    """The evaluations of the source models, as a study without panels. Raises BadStudy."""
    sources, norms = [], set[str]()
    for item in inputs.all("sources"):
        result = read_result(item)
        norms.add(result["norm"])
        if result["model"]["epochs"] != 0:
            sources.append(_source(result, item.key))
    if len(norms) > 1:
        raise BadStudy(f"the sources are attacked in the norms {sorted(norms)}; a study takes one")
    _no_doubles("sources", ((source.eps, source.seed) for source in sources))
    sources.sort(key=lambda source: (source.eps, source.seed))
    return Study(tuple(sources), norms.pop() if norms else "l2", ())


def arch_text(arch: Mapping[str, Any]) -> str:
    """'cnn x 0.75': an architecture and its width."""
    return f"{arch['name']} x {arch['width']:g}"


def unpack(bits: str, n: int) -> Bits:
    """Per-image outcomes from base64 of numpy.packbits."""
    packed = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    if len(packed) != (n + 7) // 8:
        raise BadStudy(f"{8 * len(packed)} outcomes for {n} images")
    return np.unpackbits(packed, count=n).astype(bool)


def read_result(item: Input) -> dict[str, Any]:
    """The result.json of an input."""
    return json.loads((item.path / "result.json").read_bytes())


def _source(result: dict[str, Any], key: str) -> Source:
    model = result["model"]
    return Source(
        eps=float(model["threat"]["eps"]),
        seed=model["seed"],
        name=model["name"],
        arch=arch_text(model["arch"]),
        robust={float(eps): accuracy for eps, accuracy in result["robust"].items()},
        correct={float(eps): unpack(bits, result["n"]) for eps, bits in result["correct"].items()},
        key=key,
    )


def _panel(arm: Arm, inputs: Inputs, index: int) -> Panel:
    name = f"{arm.target}, {arm.variant}"
    heads = [head for item in inputs.all(f"arms.{index}.transfers") for head in heads_of(read_result(item), item.key)]
    _no_doubles(name, ((h.eps, h.seed, h.random, h.n, h.standardised) for h in heads))
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
    sets = [read_result(item) for item in inputs.all(f"arms.{index}.data")]
    sets.sort(key=lambda made: made.get("generator", {}).get("seed", -1))
    return Panel(arm.target, arm.variant, tuple(eps), tuple(whole), dropped, tuple(heads), tuple(sets))


def heads_of(result: dict[str, Any], key: str) -> Iterable[Head]:
    """The heads of a `transfer` job's result."""
    model, data = result["model"], result["data"]
    whole = max(curve["n"] for curve in result["curves"])
    robust = (result.get("robust") or {}).get("accuracy", {})
    for curve in result["curves"]:
        attacked = robust if (curve["n"], curve["standardised"]) == (whole, False) else {}
        standardised = curve["standardised"]
        asymptote = result["asymptote"].get("standardised" if standardised else "raw")
        yield Head(
            eps=float(model["threat"]["eps"]),
            seed=model["seed"],
            random=model["epochs"] == 0,
            published=model["epochs"] is None,
            n=curve["n"],
            standardised=standardised,
            test=np.asarray(curve["test"], dtype=np.float64),
            first=unpack(curve["correct_first"], data["n_test"]),
            last=unpack(curve["correct_last"], data["n_test"]),
            clean_first=curve.get("clean_first"),
            clean_last=curve.get("clean_last"),
            asymptote=asymptote["test"] if asymptote else None,
            converged=asymptote["converged"] if asymptote else True,
            mean_per_class=curve.get("mean_per_class"),
            robust={float(eps): accuracy for eps, accuracy in attacked.items()},
            tuned=result["tuned"],
            data=data,
            key=key,
        )


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _no_doubles(name: str, keys: Iterable[tuple[Any, ...]]) -> None:
    seen: set[tuple[Any, ...]] = set()
    for key in keys:
        if key in seen:
            raise BadStudy(f"{name}: {key} is there twice")
        seen.add(key)
