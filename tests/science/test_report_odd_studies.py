"""Reports of studies that are odd: voided, mixed, of one seed, incomplete, or none at all."""

import re
from pathlib import Path

import numpy as np
import pytest

from robxfer_core.jobs.evaluate import EvaluateResult
from robxfer_core.jobs.transfer import Candidate, Rates, TransferResult
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.sources import check_sources
from robxfer_core.reports.transfer_gap.collect import collect
from robxfer_core.reports.transfer_gap.constructed import generator_seed
from robxfer_core.reports.transfer_gap.summary import summarise

from .reported import PAIR, build, verdicts
from .synthetic import Study, pack

TRANSFERS = "arms.0.transfers"


def test_constructed_sets_stand_by_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, epochs=3)
    study._fields["arms.1.data"].reverse()  # inputs come in the order of their keys
    sets = collect(study.spec, study.inputs).panels[1].sets
    assert [generator_seed(result) for result in sets] == [0, 1, 2, 3, 4]


def test_random_networks_have_the_columns_of_a_level(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    results = [result for result in study.results(TRANSFERS, TransferResult) if result.model.is_random]

    def with_clean_accuracy(result: TransferResult) -> TransferResult:
        curves = [
            curve.model_copy(update={"clean_first": 0.1, "clean_last": 0.25 if curve.standardised else 0.5})
            for curve in result.curves
        ]
        return result.model_copy(update={"curves": curves})

    study.change(TRANSFERS, TransferResult, with_clean_accuracy)
    random = summarise(study.spec, collect(study.spec, study.inputs)).arms[0].random_init
    assert random is not None
    assert random.clean is not None
    assert random.clean.mean == 0.5
    for interval, epoch in ((random.first, 0), (random.accuracy, -1)):
        assert interval.mean == pytest.approx(np.mean([result.curves[0].test[epoch] for result in results]))


def test_tuned_heads_at_the_edge_of_the_grid_are_counted(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    table = [Candidate(lr=lr, weight_decay=0.0, validation=0.5) for lr in (0.01, 0.1, 1.0)]

    def tuned(result: TransferResult) -> TransferResult:
        assert result.tuned is not None
        best = Rates(lr=1.0 if result.seed < 2 else 0.1, weight_decay=0.0)
        return result.model_copy(update={"tuned": result.tuned.model_copy(update={"best": best, "table": table})})

    study.change(TRANSFERS, TransferResult, tuned)
    levels = summarise(study.spec, collect(study.spec, study.inputs)).arms[0].tuned
    assert [level.at_edge for level in levels] == [2, 2, 2, 2]


def test_asymptotes_that_did_not_converge_are_counted(tmp_path: Path) -> None:
    study = Study(tmp_path / "in", arms=("standard",), epochs=3, sizes=(300, 720))

    def stopped_early(result: TransferResult) -> TransferResult:
        if result.model.is_random or (result.model.threat.eps, result.seed) != (0.0, 0):
            return result
        raw = result.asymptote["raw"].model_copy(update={"converged": False})
        return result.model_copy(update={"asymptote": {**result.asymptote, "raw": raw}})

    study.change(TRANSFERS, TransferResult, stopped_early)
    report, _, out = build(study, tmp_path / "run")
    assert report["arms"][0]["unconverged"] == 1
    assert "1 of its solves stopped before" in (out / "report.html").read_text()


def test_a_set_that_does_not_fool_is_unusable(tmp_path: Path) -> None:
    found = verdicts(Study(tmp_path, arms=PAIR, fooling=0.85, epochs=3))
    assert found["digits", "antirobust"].verdict == "unusable"
    assert "fooling rate 0.850 on the test split of the set of seed 0" in found["digits", "antirobust"].reason
    assert not found["digits", "antirobust"].void
    assert found["digits", "standard"].verdict != "unusable"


def test_a_source_no_more_robust_than_eps_0_voids_the_verdicts(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, robust_gain=-0.2, epochs=3)
    found = verdicts(study)
    assert {verdict.verdict for verdict in found.values()} == {"unusable"}
    assert all(v.void and "the source at eps 0.5 does not beat eps 0" in v.reason for v in found.values())
    report, _, out = build(study, tmp_path / "run")
    assert report["headline"]["difference"] is None
    assert "void" in (out / "report.html").read_text()


def test_source_check_is_paired_by_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, epochs=3)
    levels = {level.eps: level for level in check_sources(collect(study.spec, study.inputs).family, 0.05).levels}
    results = study.results("sources", EvaluateResult)
    robust = {(result.model.threat.eps, result.model.seed): result.robust for result in results}
    expected = np.mean([robust[1.0, s]["1"] - robust[0.0, s]["1"] for s in range(5)])
    gain = levels[1.0].gain
    assert gain is not None
    assert gain.mean == pytest.approx(expected)
    assert levels[1.0].ok


def test_one_seed_shows_nothing_and_says_why(tmp_path: Path) -> None:
    study = Study(tmp_path / "in", arms=PAIR, seeds=1, epochs=3)
    report, result, out = build(study, tmp_path / "run")
    for verdict in result["verdicts"]:
        assert verdict["verdict"] == "not_shown"
        assert "training variance unknown" in verdict["reason"]
        assert verdict["low"] is None
    assert report["arms"][0]["trend"]["p_increasing"] is None
    assert "nan" not in re.findall(r"\b\w+\b", (out / "report.json").read_text().lower())


def test_a_mixed_effect(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3, n_test=800)

    def up_and_down(result: TransferResult) -> TransferResult:
        rise = {0.5: 0.1, 2.0: -0.1}.get(result.model.threat.eps, 0)
        outcomes = pack(np.arange(800) < 800 * (0.8 + rise))
        first, *others = result.curves
        return result.model_copy(update={"curves": [first.model_copy(update={"correct_last": outcomes}), *others]})

    study.change(TRANSFERS, TransferResult, up_and_down)
    verdict = verdicts(study)["digits", "standard"]
    assert verdict.verdict == "mixed"
    assert "at eps 0.5 accuracy rises by 10.0" in verdict.reason
    assert "at eps 2 accuracy falls by 10.0" in verdict.reason


def test_a_seed_that_lacks_a_level_is_left_out(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    results = study.results(TRANSFERS, TransferResult)
    gone = next(i for i, result in enumerate(results) if (result.model.threat.eps, result.seed) == (1.0, 4))
    del study._fields[TRANSFERS][gone]
    panel = collect(study.spec, study.inputs).panels[0]
    assert (panel.seeds, panel.dropped) == ((0, 1, 2, 3), (4,))


def test_results_that_make_no_study_are_refused(tmp_path: Path) -> None:
    without_zero = Study(tmp_path / "a", arms=("standard",), levels=(0.5, 1.0), epochs=3)
    with pytest.raises(BadStudy, match=r"digits, standard: levels \[0.5, 1.0\]; takes eps 0"):
        collect(without_zero.spec, without_zero.inputs)
    twice = Study(tmp_path / "b", arms=("standard",), epochs=3)
    twice.put(TRANSFERS, twice.results(TRANSFERS, TransferResult)[0])
    with pytest.raises(BadStudy, match="is there twice"):
        collect(twice.spec, twice.inputs)
