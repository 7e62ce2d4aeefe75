"""Reports of studies that are odd: voided, mixed, of one seed, incomplete, or none at all."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from robxfer_core.reports.transfer_gap.checks import check_sources
from robxfer_core.reports.transfer_gap.collect import BadStudy, collect
from robxfer_core.reports.transfer_gap.summary import summarise

from .reported import PAIR, build, verdicts
from .synthetic import Study, pack


def test_constructed_sets_stand_by_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, epochs=3)
    study._fields["arms.1.data"].reverse()  # inputs come in the order of their keys
    sets = collect(study.spec, study.inputs).panels[1].sets
    assert [made["generator"]["seed"] for made in sets] == [0, 1, 2, 3, 4]


def test_random_networks_have_the_columns_of_a_level(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    results = [r for r in study.results("arms.0.transfers") if not r["model"]["epochs"]]
    for item, result in zip(study.inputs.all("arms.0.transfers"), study.results("arms.0.transfers"), strict=True):
        result["curves"] = [
            curve | {"clean_first": 0.1, "clean_last": 0.25 if curve["standardised"] else 0.5}
            for curve in result["curves"]
        ]
        (item.path / "result.json").write_text(json.dumps(result))
    random = summarise(study.spec, collect(study.spec, study.inputs))["arms"][0]["random_init"]
    assert random["clean"]["mean"] == 0.5
    for name, epoch in (("first", 0), ("accuracy", -1)):
        assert random[name]["mean"] == pytest.approx(np.mean([r["curves"][0]["test"][epoch] for r in results]))


def test_tuned_heads_at_the_edge_of_the_grid_are_counted(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    for item, result in zip(study.inputs.all("arms.0.transfers"), study.results("arms.0.transfers"), strict=True):
        best = 1.0 if result["seed"] < 2 else 0.1
        table = [{"lr": lr, "weight_decay": 0.0, "validation": 0.5} for lr in (0.01, 0.1, 1.0)]
        result["tuned"] |= {"best": {"lr": best, "weight_decay": 0.0}, "table": table}
        (item.path / "result.json").write_text(json.dumps(result))
    rows = summarise(study.spec, collect(study.spec, study.inputs))["arms"][0]["tuned"]
    assert [row["at_edge"] for row in rows] == [2, 2, 2, 2]


def test_asymptotes_that_did_not_converge_are_counted(tmp_path: Path) -> None:
    study = Study(tmp_path / "in", arms=("standard",), epochs=3, sizes=(300, 720))
    item, result = study.inputs.all("arms.0.transfers")[0], study.results("arms.0.transfers")[0]
    result["asymptote"]["raw"]["converged"] = False
    (item.path / "result.json").write_text(json.dumps(result))
    report, _, out = build(study, tmp_path / "run")
    assert report["arms"][0]["unconverged"] == 1
    assert "1 of its solves stopped before" in (out / "report.html").read_text()


def test_a_set_that_does_not_fool_is_unusable(tmp_path: Path) -> None:
    found = verdicts(Study(tmp_path, arms=PAIR, fooling=0.85, epochs=3))
    assert found["digits", "antirobust"]["verdict"] == "unusable"
    assert "fooling rate 0.850 on the test split of the set of seed 0" in found["digits", "antirobust"]["reason"]
    assert not found["digits", "antirobust"]["void"]
    assert found["digits", "standard"]["verdict"] != "unusable"


def test_a_source_no_more_robust_than_eps_0_voids_the_verdicts(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, robust_gain=-0.2, epochs=3)
    found = verdicts(study)
    assert {v["verdict"] for v in found.values()} == {"unusable"}
    assert all(v["void"] and "the source at eps 0.5 does not beat eps 0" in v["reason"] for v in found.values())
    report, _, out = build(study, tmp_path / "run")
    assert report["headline"]["difference"] is None
    assert "void" in (out / "report.html").read_text()


def test_source_check_is_paired_by_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=PAIR, epochs=3)
    levels = {row["eps"]: row for row in check_sources(collect(study.spec, study.inputs), 0.05)["levels"]}
    robust = {(r["model"]["threat"]["eps"], r["model"]["seed"]): r["robust"] for r in study.results("sources")}
    expected = np.mean([robust[1.0, s]["1"] - robust[0.0, s]["1"] for s in range(5)])
    assert levels[1.0]["gain"]["mean"] == pytest.approx(expected)
    assert levels[1.0]["ok"]


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
    for item, result in zip(study.inputs.all("arms.0.transfers"), study.results("arms.0.transfers"), strict=True):
        rise = {0.5: 0.1, 2.0: -0.1}.get(result["model"]["threat"]["eps"], 0)
        right = np.arange(800) < 800 * (0.8 + rise)
        result["curves"][0]["correct_last"] = pack(right)
        (item.path / "result.json").write_text(json.dumps(result))
    verdict = verdicts(study)["digits", "standard"]
    assert verdict["verdict"] == "mixed"
    assert "at eps 0.5 accuracy rises by 10.0" in verdict["reason"]
    assert "at eps 2 accuracy falls by 10.0" in verdict["reason"]


def test_a_seed_that_lacks_a_level_is_left_out(tmp_path: Path) -> None:
    study = Study(tmp_path, arms=("standard",), epochs=3)
    results = study.results("arms.0.transfers")
    gone = next(i for i, r in enumerate(results) if (r["model"]["threat"]["eps"], r["seed"]) == (1.0, 4))
    del study._fields["arms.0.transfers"][gone]
    panel = collect(study.spec, study.inputs).panels[0]
    assert (panel.seeds, panel.dropped) == ((0, 1, 2, 3), (4,))


def test_results_that_make_no_study_are_refused(tmp_path: Path) -> None:
    without_zero = Study(tmp_path / "a", arms=("standard",), levels=(0.5, 1.0), epochs=3)
    with pytest.raises(BadStudy, match=r"digits, standard: levels \[0.5, 1.0\]; takes eps 0"):
        collect(without_zero.spec, without_zero.inputs)
    twice = Study(tmp_path / "b", arms=("standard",), epochs=3)
    twice.put("arms.0.transfers", twice.results("arms.0.transfers")[0])
    with pytest.raises(BadStudy, match="is there twice"):
        collect(twice.spec, twice.inputs)
