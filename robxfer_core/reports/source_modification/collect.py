"""The results of a source-modification study, read arm by arm: sources by seed, and what each arm's sets were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robxfer_core.jobs.evaluate import EvaluateResult
from robxfer_core.jobs.results import DatasetResult, DatasetSummary
from robxfer_core.jobs.robustify_dataset import RobustifyDatasetResult
from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.source_modification_report import ArmName, SourceModificationReport
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.heads import Head, read_heads
from robxfer_core.reports.outcomes import Bits, unpack
from robxfer_core.reports.stats import Floats


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
    sets: tuple[RobustifyDatasetResult, ...]
    """The sets they were trained on, by seed; none where that is the source set."""
    generators: tuple[Evaluated, ...]
    """The networks that the sets were made with, by seed."""

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
    """The results of a study."""

    data: DatasetSummary
    """The source set."""
    arms: tuple[Arm, ...]
    """The standard one first."""


def collect(spec: SourceModificationReport, inputs: Inputs) -> Study:
    """Read every result that the report takes.

    Raises:
        BadStudy: They do not fit together.
    """
    datasets = [DatasetResult.read(item.path).data for item in inputs.all("data")]
    if len(datasets) != 1:
        raise BadStudy(f"data: {len(datasets)} source sets; takes 1")
    data = datasets[0]
    arms = [_arm(spec, index, inputs) for index in range(len(spec.arms))]
    arms.sort(key=lambda arm: arm.name != "standard")
    seeds, tests = arms[0].seeds, {len(head.last) for arm in arms for head in arm.heads}
    for arm in arms:
        if arm.seeds != seeds:
            raise BadStudy(f"{arm.name}: sources of the seeds {arm.seeds}; takes those of the standard arm, {seeds}")
        for constructed in arm.sets:
            if constructed.data.n_train != data.n_train:
                got = f"{constructed.data.n_train} images, and the source set {data.n_train}"
                raise BadStudy(f"{arm.name}: a made set of {got}: sources would take unequal numbers of updates")
    if len(tests) > 1:
        raise BadStudy("the heads were tested on different numbers of images")
    return Study(data, tuple(arms))


def _arm(spec: SourceModificationReport, index: int, inputs: Inputs) -> Arm:
    name, at = spec.arms[index].name, f"arms.{index}"
    heads = [head for item in inputs.all(f"{at}.transfers") for head in read_heads(item)]
    seeds = tuple(sorted({head.seed for head in heads}))
    if len({(head.seed, head.n, head.standardised) for head in heads}) != len(heads) or not heads:
        raise BadStudy(f"{name}: {len(heads)} heads; takes one a seed, size and kind of features")
    sources = _read_evaluated(name, spec.eps, inputs.all(f"{at}.sources"))
    if name != "random_init" and tuple(source.seed for source in sources) != seeds:
        raise BadStudy(f"{name}: evaluations of the sources of the seeds {[s.seed for s in sources]}; takes {seeds}")
    sets = [RobustifyDatasetResult.read(item.path) for item in inputs.all(f"{at}.made")]
    sets.sort(key=lambda result: result.seed)
    if sets and tuple(result.seed for result in sets) != seeds:
        raise BadStudy(f"{name}: made sets of the seeds {[result.seed for result in sets]}; takes {seeds}")
    generators = _read_evaluated(name, spec.eps, inputs.all(f"{at}.generators"))
    return Arm(name, seeds, tuple(heads), sources, tuple(sets), generators)


def _read_evaluated(name: str, eps: float, items: Sequence[Input]) -> tuple[Evaluated, ...]:
    """The evaluated networks, by seed."""
    networks = []
    for item in items:
        result = EvaluateResult.read(item.path)
        correct = {float(at): unpack(bits, result.n) for at, bits in result.correct.items()}
        if not {0.0, eps} <= correct.keys():
            raise BadStudy(f"{name}: an evaluation at eps {sorted(correct)}; takes 0 and {eps:g}")
        networks.append(Evaluated(result.model.seed, correct[0.0], correct[eps], item.key))
    return tuple(sorted(networks, key=lambda network: network.seed))


def clean(networks: Sequence[Evaluated]) -> Bits:
    """Which images are classified right as they are, [seed, image]."""
    return np.array([network.clean for network in networks], dtype=bool)


def robust(networks: Sequence[Evaluated]) -> Bits:
    """Which images are classified right under attack at the study's eps, [seed, image]."""
    return np.array([network.robust for network in networks], dtype=bool)
