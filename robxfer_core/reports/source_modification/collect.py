"""The results of a source-modification study, read arm by arm: sources by seed, and what each arm's sets were."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robxfer_core.jobs.run import Inputs
from robxfer_core.jobs.source_modification_report import ArmName, SourceModificationReport
from robxfer_core.reports.stats import Floats
from robxfer_core.reports.transfer_gap.collect import BadStudy, Bits, Head, heads_of, read_result, unpack


@dataclass(frozen=True)
class Evaluated:
    """A network and what it classifies right of the source set's test images."""

    seed: int
    clean: Bits
    robust: Bits
    """Under attack at the study's eps."""
    key: str


@dataclass(frozen=True)
class Arm:
    """The sources of one arm, in the order of their seeds."""

    name: ArmName
    seeds: tuple[int, ...]
    heads: tuple[Head, ...]
    sources: tuple[Evaluated, ...]
    """None of untrained networks."""
    made: tuple[dict[str, Any], ...]
    """Results of the jobs that made the sets they were trained on."""
    generators: tuple[Evaluated, ...]

    def whole(self, standardised: bool = False) -> list[Head]:
        """The heads on the whole training split, by seed."""
        n = max(head.n for head in self.heads)
        kept = [head for head in self.heads if (head.n, head.standardised) == (n, standardised)]
        return sorted(kept, key=lambda head: head.seed)

    def test(self, standardised: bool = False) -> Floats:
        """Accuracy by epoch, [seed, E]."""
        return np.array([head.test for head in self.whole(standardised)])

    def outcomes(self, *, first: bool = False) -> Bits:
        """Which test images are classified right after the last (or first) epoch, [seed, image]."""
        return np.array([head.first if first else head.last for head in self.whole()])


@dataclass(frozen=True)
class Study:
    data: dict[str, Any]
    """Of the source set: name, classes, shape, n_train, n_test."""
    arms: tuple[Arm, ...]
    """The standard one first."""

    def arm(self, name: ArmName) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)


def collect(spec: SourceModificationReport, inputs: Inputs) -> Study:
    """Read every result.json that the report takes. Raises BadStudy where they do not fit together."""
    found = [read_result(item)["data"] for item in inputs.all("data")]
    if len(found) != 1:
        raise BadStudy(f"data: {len(found)} source sets; takes 1")
    arms = [_arm(spec, index, inputs) for index in range(len(spec.arms))]
    arms.sort(key=lambda arm: arm.name != "standard")
    seeds, tests = arms[0].seeds, {len(head.last) for arm in arms for head in arm.heads}
    for arm in arms:
        if arm.seeds != seeds:
            raise BadStudy(f"{arm.name}: sources of the seeds {arm.seeds}; takes those of the standard arm, {seeds}")
        for made in arm.made:
            if made["data"]["n_train"] != found[0]["n_train"]:
                got = f"{made['data']['n_train']} images, and the source set {found[0]['n_train']}"
                raise BadStudy(f"{arm.name}: a made set of {got}: sources would take unequal numbers of updates")
    if len(tests) > 1:
        raise BadStudy("the heads were tested on different numbers of images")
    return Study(found[0], tuple(arms))


def _arm(spec: SourceModificationReport, index: int, inputs: Inputs) -> Arm:
    name, at = spec.arms[index].name, f"arms.{index}"
    heads = [head for item in inputs.all(f"{at}.transfers") for head in heads_of(read_result(item), item.key)]
    seeds = tuple(sorted({head.seed for head in heads}))
    if len({(head.seed, head.n, head.standardised) for head in heads}) != len(heads) or not heads:
        raise BadStudy(f"{name}: {len(heads)} heads; takes one a seed, size and kind of features")
    sources = _evaluated(name, spec.eps, inputs, f"{at}.sources")
    if name != "random_init" and tuple(source.seed for source in sources) != seeds:
        raise BadStudy(f"{name}: evaluations of the sources of the seeds {[s.seed for s in sources]}; takes {seeds}")
    made = sorted((read_result(item) for item in inputs.all(f"{at}.made")), key=lambda result: result["seed"])
    if made and tuple(result["seed"] for result in made) != seeds:
        raise BadStudy(f"{name}: made sets of the seeds {[result['seed'] for result in made]}; takes {seeds}")
    generators = _evaluated(name, spec.eps, inputs, f"{at}.generators")
    return Arm(name, seeds, tuple(heads), sources, tuple(made), generators)


def _evaluated(name: str, eps: float, inputs: Inputs, field: str) -> tuple[Evaluated, ...]:
    found = [_one(name, eps, read_result(item), item.key) for item in inputs.all(field)]
    return tuple(sorted(found, key=lambda each: each.seed))


def _one(name: str, eps: float, result: Mapping[str, Any], key: str) -> Evaluated:
    correct = {float(at): unpack(bits, result["n"]) for at, bits in result["correct"].items()}
    if not {0.0, eps} <= correct.keys():
        raise BadStudy(f"{name}: an evaluation at eps {sorted(correct)}; takes 0 and {eps:g}")
    return Evaluated(result["model"]["seed"], correct[0.0], correct[eps], key)


def clean(networks: Sequence[Evaluated]) -> Bits:
    """[seed, image]."""
    return _stacked(network.clean for network in networks)


def robust(networks: Sequence[Evaluated]) -> Bits:
    """[seed, image]."""
    return _stacked(network.robust for network in networks)


def _stacked(rows: Iterable[Bits]) -> Bits:
    return np.array(list(rows), dtype=bool)
