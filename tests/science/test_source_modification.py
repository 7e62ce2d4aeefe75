"""The study `source_modification`: what its jobs share, its costs, and its verdicts on planted effects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from robxfer_core.jobs.compute import compute, result_json
from robxfer_core.jobs.evaluate import EvaluateResult
from robxfer_core.jobs.results import DatasetResult, DatasetSummary, ModelCard, Result, StoredImages, TaskSummary
from robxfer_core.jobs.robustify_dataset import (
    DistanceSummary,
    GeneratorAccuracy,
    MatchingCost,
    RelativeDistance,
    RobustifiedData,
    RobustifyDatasetResult,
    SeedData,
)
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.jobs.train import Training
from robxfer_core.jobs.transfer import Asymptote, Curve, Rates, TransferResult, TunedHead
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import Node, make_plan
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.source_modification.costs import break_even, updates
from robxfer_core.spec.datasets import BUILTIN, DatasetInfo
from robxfer_core.spec.errors import SpecError

from .synthetic import card, evaluation, pack

TOY = Path(__file__).parents[2] / "examples" / "toy" / "source_modification.yaml"
SEEDS, N_TRAIN, N_TEST, STEPS = 5, 1000, 500, 100
TRAINING: dict[str, Any] = {"arch": {"name": "cnn"}, "epochs": 10, "batch_size": 64}
ADVERSARIAL = TRAINING | {"threat": {"eps": 0.5}}
# accuracy on the target, and under attack at eps .5 on the source set
PLANTED = {
    "standard": (0.60, 0.2),
    "robust": (0.70, 0.4),
    "nonrobust": (0.48, 0.1),
    "adversarial": (0.60, 0.6),
    "random_init": (0.40, 0.0),
}
MAKERS = {"robust": ADVERSARIAL, "nonrobust": TRAINING}


def distance(mean: float) -> DistanceSummary:
    return DistanceSummary(mean=mean, q10=mean, median=mean, q90=mean, max=mean)


class MadeUpStudy:
    """Results of a made-up study under a folder, and the report that takes them."""

    def __init__(self, folder: Path, planted: dict[str, tuple[float, float]] = PLANTED, **how: Any) -> None:
        self.folder, self.how, self.fields = folder, how, dict[str, list[Input]]()
        self.rng = np.random.default_rng(3)
        data = DatasetSummary(
            name="cifar10", variant="standard", classes=10, shape=(3, 32, 32), n_train=N_TRAIN, n_test=300
        )
        self.put("data", DatasetResult(data=data))
        difficulty = self.rng.permutation(N_TEST)
        self.arms = []
        for index, (name, (accuracy, robust)) in enumerate(planted.items()):
            arm: dict[str, Any] = {"name": name, "transfers": self._keys(index, "transfers")}
            for seed in range(how.get("seeds", {}).get(name, SEEDS)):
                self._arm(f"arms.{index}", name, accuracy, robust, seed, difficulty)
            if name != "random_init":
                arm |= {"sources": self._keys(index, "sources")}
                arm |= {"training": ADVERSARIAL if name == "adversarial" else TRAINING}
            if name in MAKERS:
                arm |= {"made": self._keys(index, "made"), "generators": self._keys(index, "generators")}
                arm |= {"generator_training": MAKERS[name]}
            self.arms.append(arm)

    def _keys(self, index: int, field: str) -> list[str]:
        return [f"arms.{index}.{field}"]

    def put(self, field: str, result: Result) -> None:
        items = self.fields.setdefault(field, [])
        path = self.folder / f"{field}-{len(items)}"
        path.mkdir(parents=True)
        (path / "result.json").write_bytes(result_json(result))
        items.append(Input(path, path.name))

    def _arm(self, at: str, name: str, accuracy: float, robust: float, seed: int, difficulty: np.ndarray) -> None:
        epochs = 0 if name == "random_init" else 10
        model = card(0.5 if name == "adversarial" else 0.0, seed, epochs)
        right = difficulty + 40 * self.rng.standard_normal(N_TEST) < (accuracy + 0.004 * self.rng.random()) * N_TEST
        curve = np.linspace(0.2, right.mean(), 10)
        curve[-1], outcome = right.mean(), pack(right)
        asymptote = Asymptote(test=float(right.mean()), l2=0.1, validation=0.5, converged=True)
        curves = [
            Curve(
                n=700,
                standardised=standardised,
                train_loss=[1.0] * 10,
                test=curve.tolist(),
                mean_per_class=None,
                correct_first=pack(np.arange(N_TEST) < 0.2 * N_TEST),
                correct_last=outcome,
            )
            for standardised in (False, True)
        ]
        transfer = TransferResult(
            model=model,
            data=TaskSummary(name="Caltech-101", variant="standard", n_train=700, n_test=N_TEST, classes=10),
            regime="fixed_feature",
            unfrozen_blocks=0,
            curves=curves,
            asymptote={"raw": asymptote, "standardised": asymptote},
            tuned=TunedHead(
                best=Rates(lr=0.1, weight_decay=0.0),
                validation=0.5,
                test=0.5,
                mean_per_class=None,
                correct=outcome,
                table=[],
            ),
            robust=None,
            seed=seed,
        )
        self.put(f"{at}.transfers", transfer)
        if epochs:
            self.put(f"{at}.sources", self._evaluation(model, robust))
        if name in MAKERS:
            generator = card(MAKERS[name].get("threat", {"eps": 0.0})["eps"], seed + 1_000_000)
            strength = self.how.get("generator", 0.6) if name == "robust" else 0.2
            self.put(f"{at}.generators", self._evaluation(generator, strength))
            n_made = self.how.get("n_made", N_TRAIN)
            self.put(
                f"{at}.made",
                RobustifyDatasetResult(
                    data=RobustifiedData(name="cifar10", variant=name, n_train=n_made, n_test=300),
                    generator=generator,
                    generator_accuracy=GeneratorAccuracy(train=0.9, made=0.9, test=0.8),
                    seed_data=SeedData(name="flowers17", n=500, same=False),
                    relative_distance=RelativeDistance(
                        start=distance(1.2), reached=distance(0.1), stored=distance(0.1)
                    ),
                    agreement=self.how.get("agreement", {}).get((name, seed), 0.97),
                    cost=MatchingCost(gradient_steps=STEPS * n_made, flops=1e9),
                    stored=StoredImages(dtype="float16", bytes=1000),
                    seed=seed,
                ),
            )

    def _evaluation(self, model: ModelCard, robust: float) -> EvaluateResult:
        return evaluation(model, {0.0: np.arange(300) < 240, 0.5: np.arange(300) < 300 * robust})

    def report(self, name: str = "report") -> tuple[dict[str, Any], LocalRun]:
        run = LocalRun(self.folder / name)
        params = {"title": "Made up", "target": "Caltech-101", "data": ["data"], "arms": self.arms, "eps": 0.5}
        compute("source_modification_report", params, Inputs(self.fields), run)
        return json.loads((run.out / "report.json").read_text()), run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], LocalRun]:
    return MadeUpStudy(tmp_path_factory.mktemp("study")).report()


def rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report["arms"]}


def test_planted_effects_get_their_verdicts(made: tuple[dict[str, Any], LocalRun]) -> None:
    told = rows(made[0])
    assert [told[name]["verdict"] for name in ("robust", "nonrobust")] == ["helps", "hinders"]
    assert told["adversarial"]["verdict"] in ("no_difference", "not_shown")
    assert "verdict" not in told["standard"]
    assert "verdict" not in told["random_init"]
    for name, row in told.items():
        assert row["accuracy"]["mean"] == pytest.approx(PLANTED[name][0], abs=0.03)
        assert row["accuracy"]["low"] <= np.mean(row["by_seed"]) <= row["accuracy"]["high"]
        if "difference" in row:
            assert row["difference"]["low"] < PLANTED[name][0] - PLANTED["standard"][0] < row["difference"]["high"]
    # three comparisons: wider than the interval of one alone would be
    assert made[0]["settings"]["comparisons"] == 3


def test_what_it_leaves(made: tuple[dict[str, Any], LocalRun]) -> None:
    report, run = made
    table = parquet.read_table(run.out / "results.parquet").to_pylist()
    assert len(table) == 5 * SEEDS * 2 * 10
    last = [r["accuracy"] for r in table if (r["arm"], r["standardised"], r["epoch"]) == ("robust", False, 10)]
    assert last == pytest.approx(rows(report)["robust"]["by_seed"])
    assert {r["source_robust_accuracy"] for r in table if r["arm"] == "adversarial"} == {0.6}
    page = (run.out / "report.html").read_text()
    assert report["headline"]["text"] in page
    assert report["costs"]["formula"].split(",")[0] in page
    assert all(len(row) == len(report["table"]["columns"]) for row in report["table"]["rows"])


def test_costs_are_those_of_the_plan(made: tuple[dict[str, Any], LocalRun]) -> None:
    """The report counts from results what a plan of the same sizes counts from the spec."""
    arms = made[0]["costs"]["arms"]
    cifar: DatasetInfo = {"shape": [3, 32, 32], "classes": 10, "train": N_TRAIN, "test": 300}
    jobs = {
        "data": {"kind": "dataset", "name": "cifar"},
        "standard": {"kind": "train", "dataset": "data", **TRAINING},
        "adversarial": {"kind": "train", "dataset": "data", **ADVERSARIAL},
        "robust": {"kind": "robustify_dataset", "dataset": "data", "generator": "adversarial", "steps": STEPS},
    }
    spec = read_spec(json.dumps({"name": "x", "jobs": jobs}).encode(), "json")
    planned = {node.name: node.flops for node in make_plan(spec, {**BUILTIN, "cifar": cifar}).nodes}
    assert arms["standard"]["source"] == pytest.approx(planned["standard"])
    assert arms["robust"]["source"] == pytest.approx(planned["standard"])
    assert arms["adversarial"]["source"] == arms["robust"]["generator"] == pytest.approx(planned["adversarial"])
    assert arms["robust"]["making"] == pytest.approx(planned["robust"])
    once, at = planned["adversarial"] + planned["robust"], made[0]["costs"]["break_even"]
    costs = [(once + n * planned["standard"], n * planned["adversarial"]) for n in range(1, 2 * at)]
    assert next(n for n, (robust, adversarial) in enumerate(costs, 1) if robust <= adversarial) == at
    assert len({arm["updates"] for arm in arms.values()}) == 1


def test_it_never_breaks_even_where_each_source_costs_as_much() -> None:
    assert break_even(10.0, 1.0, 3.0) == 5
    assert break_even(0.5, 1.0, 3.0) == 1
    assert break_even(10.0, 3.0, 3.0) is None
    assert break_even(0.0, 4.0, 3.0) is None


def test_updates_are_counted_as_batches_are_cut() -> None:
    training = Training.model_validate({"arch": {"name": "cnn"}, "epochs": 3, "batch_size": 10, "holdout": 0.1})
    assert updates(training, 100) == 3 * 9
    assert updates(training, 104) == 3 * 10  # 94 images: the last batch has 4
    assert updates(training, 101) == 3 * 9  # 91: a batch of one image is left out


@pytest.mark.parametrize(
    ("how", "arm", "says"),
    [
        ({"agreement": {("robust", 2): 0.5}}, "robust", "50.0 % of a made set's images"),
        ({"generator": 0.1}, "robust", "adversarially trained generators do not beat"),
    ],
)
def test_an_arm_that_failed_its_checks_has_no_verdict(how: dict[str, Any], arm: str, says: str, tmp_path: Path) -> None:
    told = rows(MadeUpStudy(tmp_path, **how).report()[0])
    assert told[arm]["verdict"] == "unusable"
    assert says in told[arm]["reason"]
    assert told["nonrobust"]["verdict"] == "hinders"


def test_results_that_make_no_study_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match="unequal numbers of updates"):
        MadeUpStudy(tmp_path / "sizes", n_made=N_TRAIN - 1).report()
    with pytest.raises(BadStudy, match=r"robust: sources of the seeds \(0, 1\)"):
        MadeUpStudy(tmp_path / "seeds", seeds={"robust": 2}).report()


def test_one_source_an_arm_shows_nothing(tmp_path: Path) -> None:
    report, _ = MadeUpStudy(tmp_path, seeds=dict.fromkeys(PLANTED, 1)).report()
    assert {row["verdict"] for row in report["arms"] if "verdict" in row} == {"not_shown"}


def planned(**changes: Any) -> dict[str, Node]:
    spec = read_spec(TOY.read_bytes()).model_dump(mode="json", exclude_none=True)
    spec["studies"]["digits"] |= changes
    return {node.name: node for node in make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN)).nodes}


def test_arms_differ_in_their_data_or_their_threat_alone() -> None:
    nodes = planned()
    sources = {name: nodes[f"digits.source.{name}-1"].params for name in ("standard", "robust", "nonrobust")}
    adversarial = nodes["digits.source.adversarial-1"].params
    assert len({params.pop("dataset") for params in sources.values()}) == 3
    assert sources["standard"] == sources["robust"] == sources["nonrobust"]
    assert adversarial.pop("threat")["eps"] == 0.5
    assert sources["standard"].pop("threat")["eps"] == 0
    assert adversarial.pop("dataset") == nodes["digits.source-data"].key
    assert adversarial == sources["standard"]
    # sources are measured on the test images of the source set, whatever they were trained on
    measured = {nodes[f"digits.source-accuracy.{name}-1"].params["dataset"] for name in sources}
    assert measured == {nodes["digits.source-data"].key}
    generators = {name: nodes[f"digits.generator.{name}-1"].params for name in ("robust", "nonrobust")}
    assert [generators[name]["threat"]["eps"] for name in generators] == [0.5, 0.0]
    seeds = {node.params["seed"] for name, node in nodes.items() if ".source." in name}
    assert not seeds & {params["seed"] for params in generators.values()}


def test_seed_images_of_another_size_are_refused_at_the_study() -> None:
    with pytest.raises(SpecError, match=r"studies\.digits\.matching\.seed_data.*side 16.*takes images of side 8"):
        planned(seed_data={"name": "digits", "size": 16})
    assert planned(seed_data=None)["digits.data.robust-0"].params["seed_data"] is None
