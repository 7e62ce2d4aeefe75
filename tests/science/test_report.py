"""The report of made-up studies with planted effects: its verdicts, tables, figure and page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from robxfer_core.science.kinds import FILES, compute
from robxfer_core.science.report import words
from robxfer_core.science.report.files import rounded
from robxfer_core.science.report.gap import figure
from robxfer_core.science.report.gap.checks import check_sources
from robxfer_core.science.report.gap.claims import epochs_to
from robxfer_core.science.report.gap.collect import BadStudy, collect, unpack
from robxfer_core.science.report.gap.summary import summarise
from robxfer_core.science.report.style import png
from robxfer_core.science.run import LocalRun

from .synthetic import SHIFTS, Study, pack

PAIR = ("standard", "antirobust")


def build(study: Study, folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """(report.json, result.json, the artifact's folder)."""
    run = LocalRun(folder)
    compute("report", study.spec.params(), study.inputs, run)
    return *(json.loads((run.out / name).read_text()) for name in ("report.json", "result.json")), run.out


def verdicts(study: Study) -> dict[tuple[str, str], dict[str, Any]]:
    summary = summarise(study.spec, collect(study.spec, study.inputs))
    return {(v["target"], v["variant"]): v for v in summary["verdicts"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Any], dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder / "in", targets=("digits 5-9", "a <b>&$x_$</b>"), sizes=(300, 720), title="Does it & <how>?")
    return study, *build(study, folder / "run")


def test_planted_effects_are_told(whole: Any) -> None:
    _, report, result, out = whole
    assert all((out / name).stat().st_size for name in FILES["report"])
    words = {(v["target"], v["variant"]): v for v in result["verdicts"]}
    assert len(words) == 10
    hinders = words["digits 5-9", "antirobust"]
    assert (hinders["verdict"], hinders["level"], hinders["control"]) == ("hinders", 2.0, False)
    assert re.fullmatch(r"at eps 2 accuracy falls by 1\d\.\d points \[\d+\.\d, \d+\.\d\]", hinders["reason"])
    assert hinders["low"] < hinders["difference"] < hinders["high"] < -0.01
    for variant in ("standard", "relabel_only", "noise"):
        assert words["digits 5-9", variant]["verdict"] in ("not_shown", "no_difference")
    assert report["schema"] == 1
    assert result["title"] == "Does it & <how>?"


def test_the_headline_is_the_difference_of_slopes(whole: Any) -> None:
    study, report, result, _ = whole
    expected = SHIFTS["antirobust"][1] - SHIFTS["standard"][1]
    headline = result["headline"]
    assert headline["low"] < expected < headline["high"]
    rows = {row["target"]: row for row in report["headline"]["targets"]}
    accuracy = np.array(
        [[row["by_seed"] for row in arm["levels"]] for arm in report["arms"][:2] if arm["target"] == "digits 5-9"]
    )
    slopes = [np.polyfit(study.levels, each.mean(1), 1)[0] for each in accuracy]
    assert rows["digits 5-9"]["difference"] == pytest.approx(slopes[1] - slopes[0], abs=2e-6)


def test_controls_are_held_against_chance(whole: Any) -> None:
    arms = {(arm["target"], arm["variant"]): arm for arm in whole[1]["arms"]}
    assert arms["digits 5-9", "noise"]["chance"] == {"expected": 0.2, "above": False}
    assert arms["digits 5-9", "robust_generator"]["chance"] is None


def test_advantages_by_level_and_for_random_networks(whole: Any) -> None:
    rows = whole[1]["arms"][0]["advantages"]["raw"]
    assert [row["eps"] for row in rows] == [0, 0.5, 1, 2, None]
    assert rows[0]["epochs_to_90"]["mean"] > rows[3]["epochs_to_90"]["mean"]  # planted: faster with eps
    assert rows[0]["reached"] == 5
    first = [{"eps": row["eps"], "first": row["initial"]} for row in rows]
    arm = whole[1]["arms"][0]  # one number has one interval, in whatever table
    assert first[:-1] == [{"eps": row["eps"], "first": row["first"]} for row in arm["levels"]]
    assert first[-1]["first"] == arm["random_init"]["first"]


def test_epochs_to_a_bar() -> None:
    test = np.array([[0.1, 0.5, 0.9], [0.1, 0.2, 0.3]])
    first, never = epochs_to(test, np.array([0.45, 0.45]))
    assert first == 2
    assert np.isnan(never)


def test_every_accuracy_is_a_row_of_the_table(whole: Any) -> None:
    study, _, _, out = whole
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert len(rows) == 10 * (4 + 1) * 5 * 2 * 2 * 30  # arms, levels and random, seeds, sizes, standardised, epochs
    row = next(r for r in rows if (r["variant"], r["eps"], r["seed"], r["epoch"]) == ("antirobust", 2.0, 3, 30))
    job = next(r for r in study.results("arms.1.transfers") if (r["model"]["threat"]["eps"], r["seed"]) == (2.0, 3))
    assert row["accuracy"] == job["curves"][0]["test"][-1]
    assert (row["n"], row["standardised"], row["robust_accuracy"]) == (300, False, None)
    assert row["source_key"] == f"sources-{3 * 5 + 3}"
    assert all(r["source_key"] is None for r in rows if r["random_init"])


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else_and_escapes_its_texts(whole: Any) -> None:
    page = Page((whole[3] / "report.html").read_text())
    assert page.tags.count("svg") == 3  # the figure, its curves on standardised features, the controls
    assert "b" not in page.tags
    assert "script" not in page.tags
    assert not [link for link in page.links if not link.startswith("#")]
    text = " ".join(page.texts)
    assert "Does it & <how>?" in text
    assert "a <b>&$x_$</b>" in text
    assert "hinders" in text
    assert not re.search(r"\bnan\b|None|Undefined", text)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    outs = [build(Study(tmp_path / f"in{i}", arms=PAIR, epochs=4), tmp_path / f"run{i}")[2] for i in range(2)]
    for name in FILES["report"]:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


def test_the_svg_keeps_text_as_text(whole: Any) -> None:
    drawn = (whole[3] / "figure3.svg").read_text()
    assert ">digits 5-9</text>" in drawn
    assert "<dc:date>" not in drawn


@pytest.mark.parametrize("targets", [1, 4])
def test_the_figure_is_a_grid(tmp_path: Path, targets: int) -> None:
    study = Study(tmp_path, arms=PAIR, targets=[f"target number {i}, long" for i in range(targets)], epochs=3, seeds=2)
    summary = rounded(summarise(study.spec, collect(study.spec, study.inputs)))
    drawn = figure.draw(summary["arms"], summary["verdicts"])
    assert drawn is not None
    assert len(drawn.axes) == 2 * targets
    assert {len(axes.lines) for axes in drawn.axes} == {5}  # four levels and the random networks
    assert png(drawn).startswith(b"\x89PNG")
    assert figure.draw(summary["arms"], summary["verdicts"], figure.CONTROLS) is None
    again = figure.draw(summary["arms"], [], standardised=True)
    assert again is not None
    raw, standardised = (grid.axes[0].lines[0].get_ydata() for grid in (drawn, again))
    curves = {c["standardised"]: 100 * np.array(c["lines"][0]["mean"]) for c in summary["arms"][0]["curves"]}
    assert np.array_equal(raw, curves[False])
    assert np.array_equal(standardised, curves[True])
    assert not np.array_equal(raw, standardised)


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


def test_an_accuracy_is_printed_within_its_bounds() -> None:
    assert words.accuracy({"mean": 0.998, "low": 0.995, "high": 1.0012}) == "99.8 [99.5, 100.0]"
    assert words.points({"mean": 0.998, "low": 0.995, "high": 1.0012}) == "+99.8 [+99.5, +100.1]"


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


def test_bits_come_back() -> None:
    right = np.random.default_rng(0).random(13) < 0.5
    assert (unpack(pack(right), 13) == right).all()
    with pytest.raises(BadStudy, match="16 outcomes for 20 images"):
        unpack(pack(right), 20)


def test_rounding_keeps_small_p_and_drops_what_is_no_number() -> None:
    assert rounded({"p": 1.23456e-7, "a": (0.12345678, float("nan"), -0.0)}) == {
        "p": 1.23e-7,
        "a": [0.123457, None, 0.0],
    }
