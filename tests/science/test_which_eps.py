"""Choosing a level: the confidence set covers the best one, and the report says what was planted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from scipy import stats

from robxfer_core.jobs.compute import compute, result_json
from robxfer_core.jobs.results import DatasetResult, DatasetSummary, Result, TaskSummary
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.jobs.transfer import Candidate, Curve, Rates, TransferResult, TunedHead
from robxfer_core.jobs.which_eps_report import WhichEpsReport
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.which_eps.best import with_the_best
from robxfer_core.spec.fields import Arch, ThreatModel

from .cards import model_card
from .synthetic import pack

LEVELS = (0.0, 0.25, 0.5, 1.0, 3.0)


def outcomes(latent: Any, seeds: int, images: int, seed_sd: float, rng: np.random.Generator) -> np.ndarray:
    """correct[level, seed, image] of levels with these means, in deviations of a probit: seeds vary about them."""
    normal = rng.standard_normal
    family = normal((1, seeds, 1)) * 0.05 + normal((len(latent), seeds, 1)) * seed_sd
    image = normal((1, 1, images)) + 0.3 * normal((len(latent), 1, images))
    return np.asarray(latent)[:, None, None] + family + image + normal((len(latent), seeds, images)) > 0


def true_accuracy(latent: Any, seed_sd: float) -> np.ndarray:
    return stats.norm.cdf(np.asarray(latent) / np.sqrt(2.09 + 0.05**2 + seed_sd**2))


@pytest.mark.parametrize(
    ("latent", "seeds", "images", "seed_sd"),
    [
        ([0.5] * 4, 5, 80, 0.3),  # all equally good: the hardest to cover
        ([0.5] * 5, 3, 100, 0.1),
        ([0.5] * 6, 3, 200, 0.3),
        ([0.5] * 10, 3, 200, 0.3),
        ([0.5, 0.5, 0.4, 0.2, -0.1], 5, 80, 0.1),
        ([0.5] * 4, 1, 150, 0.0),  # checkpoints: over images alone
    ],
)
def test_the_set_covers_the_best_level(latent: list[float], seeds: int, images: int, seed_sd: float) -> None:
    repetitions, rng = 300, np.random.default_rng(7)
    covered = bounded = size = 0
    true = true_accuracy(latent, seed_sd)
    for repetition in range(repetitions):
        found = with_the_best(outcomes(latent, seeds, images, seed_sd, rng), 0.05, repetition, draws=300)
        covered += found.kept[0]
        bounded += bool((true[0] - true <= found.loss + 1e-12).all())
        size += found.kept.sum()
    print(f"coverage {covered / repetitions:.3f}, of losses {bounded / repetitions:.3f}, size {size / repetitions:.2f}")
    assert covered / repetitions >= 0.93
    assert bounded / repetitions >= 0.93
    if len(set(latent)) > 1:  # it is of use as well
        assert size / repetitions < 3.8


def test_the_best_alone_is_kept_where_it_is_far_ahead() -> None:
    found = with_the_best(outcomes([1.5, 0.0, 0.2], 5, 400, 0.05, np.random.default_rng(0)), 0.05)
    assert found.kept.tolist() == [True, False, False]
    assert found.loss[0] == 0
    assert (found.loss[1:] > 0.3).all()


def test_equal_levels_are_both_kept_and_one_seed_and_one_image_are_refused() -> None:
    correct = np.repeat(outcomes([0.5], 4, 50, 0.1, np.random.default_rng(0)), 2, axis=0)
    found = with_the_best(correct, 0.05)
    assert found.kept.all()
    assert found.loss.tolist() == [0, 0]
    with pytest.raises(ValueError, match="2 outcomes"):
        with_the_best(np.ones((2, 1, 1)), 0.05)


def test_the_bootstrap_is_over_seeds_too() -> None:
    """Families that disagree: the images say eps 0 with one seed after another, the seeds do not agree."""
    correct = np.zeros((2, 4, 2000))
    for seed, (one, other) in enumerate([(0.9, 0.6), (0.6, 0.7), (0.8, 0.75), (0.6, 0.75)]):
        correct[0, seed, : int(2000 * one)] = correct[1, seed, : int(2000 * other)] = 1
    assert with_the_best(correct, 0.05).kept.all()
    one_seed = with_the_best(correct[:, :1], 0.05)
    assert one_seed.kept.tolist() == [True, False]


class Planted:
    """Results of the transfers of a study, by what is planted in them."""

    def __init__(self, folder: Path, seeds: int = 5, trained: bool = True, images: int = 400) -> None:
        self.folder, self.rng, self.inputs = folder, np.random.default_rng(1), dict[str, list[Input]]()
        self.epochs = 15 if trained else None
        best = {None: 2, 10: 0}  # eps .5 with all images, eps 0 with few
        amounts = []
        for index, (shots, at) in enumerate(best.items()):
            latent = [1.5 - 0.9 * abs(level - at) for level in range(len(LEVELS))]
            correct = outcomes(latent, seeds, images, 0.03, self.rng)
            accuracy = correct.mean(-1)
            keys = [
                self._put(f"amounts.{index}.transfers", self._transfer(eps, s, correct[i, s], float(accuracy[i, s])))
                for i, eps in enumerate(LEVELS)
                for s in range(seeds)
            ]
            if trained:
                keys += [
                    self._put(
                        f"amounts.{index}.transfers",
                        self._transfer(0.0, s, self.rng.random(images) < 0.3, 0.3, epochs=0),
                    )
                    for s in range(seeds)
                ]
            amounts.append({"images_per_class": shots, "transfers": keys})
        training = {"arch": {"name": "cnn", "width": 0.75}, "epochs": 15, "holdout": 0.0, "attack": {"steps": 2}}
        given: dict[str, Any] = {"title": "Which <eps>?", "target": "t & t", "amounts": amounts, "heads": {"epochs": 5}}
        if trained:
            data = DatasetSummary(name="s", variant="standard", classes=5, shape=(1, 8, 8), n_train=200, n_test=50)
            given |= {"training": training, "source_data": [self._put("source_data", DatasetResult(data=data))]}
        self.spec = WhichEpsReport.model_validate(given)

    def report(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
        run = LocalRun(folder)
        compute("which_eps_report", self.spec.params(), Inputs(self.inputs), run)
        return *(json.loads((run.out / name).read_text()) for name in ("report.json", "result.json")), run.out

    def _put(self, field: str, result: Result) -> str:
        items = self.inputs.setdefault(field, [])
        key = f"{field}-{len(items)}".replace(".", "-")
        path = self.folder / key
        path.mkdir(parents=True)
        (path / "result.json").write_bytes(result_json(result))
        items.append(Input(path, key))
        return key

    def _transfer(self, eps: float, seed: int, correct: np.ndarray, accuracy: float, **model: Any) -> TransferResult:
        given = {
            "arch": Arch(name="cnn", width=0.75),
            "classes": 5,
            "threat": ThreatModel(norm="l2", eps=eps),
            "seed": seed if self.epochs else 0,
            "epochs": self.epochs,
            "name": f"cnn.l2_eps{eps:g}",
        }
        packed, flat = pack(correct), {"validation": accuracy, "weight_decay": 0.0}
        curve = Curve(
            n=300,
            standardised=False,
            train_loss=[0.1],
            test=[accuracy],
            mean_per_class=accuracy,
            correct_first=packed,
            correct_last=packed,
        )
        return TransferResult(
            model=model_card(**given | model),
            data=TaskSummary(name="t", variant="standard", n_train=300, n_test=len(correct), classes=5),
            regime="fixed_feature",
            unfrozen_blocks=0,
            curves=[curve],
            asymptote={},
            tuned=TunedHead(
                best=Rates(lr=0.1, weight_decay=0.0),
                validation=accuracy,
                test=accuracy,
                mean_per_class=accuracy,
                correct=packed,
                table=[Candidate(lr=0.1, **flat), Candidate(lr=1.0, **flat)],
            ),
            robust=None,
            seed=seed,
        )


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, dict[str, Any], dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("which-eps")
    study = Planted(folder / "in")
    return study, *study.report(folder / "run")


def test_the_report_finds_what_was_planted(planted: Any) -> None:
    _, report, result, out = planted
    assert all((out / name).stat().st_size for name in WhichEpsReport.FILES)
    whole, few = report["amounts"]
    assert (whole["chosen"], whole["set"], few["chosen"], few["set"]) == (0.5, [0.5], 0.0, [0.0])
    assert report["few_shot_differs"] == {"10": True}
    by_eps = {row["eps"]: row for row in whole["levels"]}
    assert by_eps[0.5]["lost_to_chosen"] is None
    assert by_eps[3.0]["usual"]
    assert not by_eps[1.0]["usual"]
    true = true_accuracy([1.5, -0.3], 0.03)
    band = by_eps[0.0]["lost_to_chosen"]
    assert band["low"] < true[0] - true[1] < band["high"]
    assert by_eps[0.0]["lost_to_best_at_most"] > band["mean"]
    text = result["headline"]["text"]
    assert text.startswith("use eps 0.5: the 95 % confidence set is {0.5}; eps 0 loses ")
    assert "with 10 images a class use eps 0: the 95 % confidence set is {0}" in text
    assert [len(row) for row in result["table"]["rows"]] == [7] * 10
    assert "t &amp; t" in (out / "report.html").read_text()
    assert "Which <eps>?" not in (out / "report.html").read_text()
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert len(rows) == 2 * 6 * 5
    assert {row["random_init"] for row in rows if row["accuracy"] > 0.5} == {False}


def test_costs_are_counted_as_a_plan_counts_them(planted: Any) -> None:
    cost = {row["part"]: row for row in planted[1]["cost"]}
    # cnn x 0.75 on [1, 8, 8]: multiply-adds of 3x3 convolutions at 8, 4, 2 and 2 pixels a side, and of the head.
    forward = 2 * (9 * (64 * 1 * 12 + 16 * 12 * 24 + 4 * 24 * 48 + 4 * 48 * 48) + 48 * 5)
    assert cost["training the family"]["jobs"] == 25
    passes = 15 * 200 * (3 * 5 + (3 + 3 * 2) * 20)  # 5 models at eps 0, and 20 against 2 steps of PGD
    assert cost["training the family"]["flops"] == pytest.approx(passes * forward, rel=1e-6)
    assert cost["representations"]["flops"] == pytest.approx(25 * 700 * forward, rel=1e-6)


def test_checkpoints_are_told_without_training_variance(tmp_path: Path) -> None:
    study = Planted(tmp_path / "in", seeds=1, trained=False)
    report, result, _ = study.report(tmp_path / "run")
    assert result["headline"]["text"].endswith("(these checkpoints; training variance unknown)")
    assert report["amounts"][0]["set"] == [0.5]
    assert report["amounts"][0]["random_init"] is None
    assert report["cost"][0]["flops"] is None


def test_results_that_make_no_study_are_refused(tmp_path: Path) -> None:
    study = Planted(tmp_path / "in", seeds=2)
    study.inputs["amounts.1.transfers"].pop(0)
    with pytest.raises(BadStudy, match="0 heads on a model of eps 0 with seed 0"):
        study.report(tmp_path / "run")
