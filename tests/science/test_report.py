"""The report of a made-up study with planted effects: its verdicts, tables, figure and page."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from robxfer_core.jobs.results import Interval
from robxfer_core.jobs.transfer import TransferResult
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports import formatting
from robxfer_core.reports.base import BadStudy, round_content
from robxfer_core.reports.heads import epochs_to
from robxfer_core.reports.outcomes import unpack
from robxfer_core.reports.plotting import png
from robxfer_core.reports.report_json import rounded
from robxfer_core.reports.transfer_gap import figure
from robxfer_core.reports.transfer_gap.collect import collect
from robxfer_core.reports.transfer_gap.summary import summarise

from .reported import PAIR, build
from .synthetic import SHIFTS, Study, pack


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Any], dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("study")
    study = Study(folder / "in", targets=("digits 5-9", "a <b>&$x_$</b>"), sizes=(300, 720), title="Does it & <how>?")
    return study, *build(study, folder / "run")


def test_planted_effects_are_told(whole: Any) -> None:
    _, report, result, out = whole
    assert all((out / name).stat().st_size for name in TransferGapReport.FILES)
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


def test_every_accuracy_is_a_row_of_the_table(whole: Any) -> None:
    study, _, _, out = whole
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert len(rows) == 10 * (4 + 1) * 5 * 2 * 2 * 30  # arms, levels and random, seeds, sizes, standardised, epochs
    row = next(r for r in rows if (r["variant"], r["eps"], r["seed"], r["epoch"]) == ("antirobust", 2.0, 3, 30))
    jobs = study.results("arms.1.transfers", TransferResult)
    job = next(result for result in jobs if (result.model.threat.eps, result.seed) == (2.0, 3))
    assert row["accuracy"] == job.curves[0].test[-1]
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


def test_the_svg_keeps_text_as_text(whole: Any) -> None:
    drawn = (whole[3] / "figure3.svg").read_text()
    assert ">digits 5-9</text>" in drawn
    assert "<dc:date>" not in drawn


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    outs = [build(Study(tmp_path / f"in{i}", arms=PAIR, epochs=4), tmp_path / f"run{i}")[2] for i in range(2)]
    for name in TransferGapReport.FILES:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


@pytest.mark.parametrize("targets", [1, 4])
def test_the_figure_is_a_grid(tmp_path: Path, targets: int) -> None:
    study = Study(tmp_path, arms=PAIR, targets=[f"target number {i}, long" for i in range(targets)], epochs=3, seeds=2)
    content = round_content(summarise(study.spec, collect(study.spec, study.inputs)))
    drawn = figure.draw_figure(content.arms, content.verdicts)
    assert drawn is not None
    assert len(drawn.axes) == 2 * targets
    assert {len(axes.lines) for axes in drawn.axes} == {5}  # four levels and the random networks
    assert png(drawn).startswith(b"\x89PNG")
    assert figure.draw_figure(content.arms, content.verdicts, figure.CONTROLS) is None
    again = figure.draw_figure(content.arms, [], standardised=True)
    assert again is not None
    raw, standardised = (grid.axes[0].lines[0].get_ydata() for grid in (drawn, again))
    curves = {group.standardised: 100 * np.array(group.lines[0].mean) for group in content.arms[0].curves}
    assert np.array_equal(raw, curves[False])
    assert np.array_equal(standardised, curves[True])
    assert not np.array_equal(raw, standardised)


def test_epochs_to_a_bar() -> None:
    test = np.array([[0.1, 0.5, 0.9], [0.1, 0.2, 0.3]])
    first, never = epochs_to(test, np.array([0.45, 0.45]))
    assert first == 2
    assert np.isnan(never)


def test_bits_come_back() -> None:
    right = np.random.default_rng(0).random(13) < 0.5
    assert (unpack(pack(right), 13) == right).all()
    with pytest.raises(BadStudy, match="16 outcomes for 20 images"):
        unpack(pack(right), 20)


def test_an_accuracy_is_printed_within_its_bounds() -> None:
    assert formatting.accuracy(Interval(mean=0.998, low=0.995, high=1.0012)) == "99.8 [99.5, 100.0]"
    assert formatting.points(Interval(mean=0.998, low=0.995, high=1.0012)) == "+99.8 [+99.5, +100.1]"


def test_rounding_keeps_small_p_and_drops_what_is_no_number() -> None:
    assert rounded({"p": 1.23456e-7, "a": (0.12345678, float("nan"), -0.0)}) == {
        "p": 1.23e-7,
        "a": [0.123457, None, 0.0],
    }
