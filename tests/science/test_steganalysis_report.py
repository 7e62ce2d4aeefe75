"""What a steganalysis study says, of made-up detectors with planted errors."""

import numpy as np
import pytest
from scipy.stats import binom

from robxfer_core.jobs.results import Interval
from robxfer_core.jobs.steganalysis_report import SteganalysisReport
from robxfer_core.planning.experiment import read_spec
from robxfer_core.reports.sources import SourceChecks, SourceLevel
from robxfer_core.reports.steganalysis.collect import Detection, Task
from robxfer_core.reports.steganalysis.summary import summarise

SPEC = SteganalysisReport.model_validate(
    {
        "title": "t",
        "sources": ["s"],
        "arms": [{"label": "a", "embedding": ["e"], "detections": ["d"], "reference": ["r"]}],
    }
)
LEVELS = (0.0, 0.5, 1.0)
PAIRS = 1500


def sources(**failed: str) -> SourceChecks:
    clean = Interval(mean=0.9, low=None, high=None)
    levels = [
        SourceLevel(eps=eps, name="cnn", arch="cnn x 1", seeds=[0], clean=clean, robust={}, ok=True) for eps in LEVELS
    ]
    return SourceChecks(norm="l2", levels=levels, failed={name[1:]: reason for name, reason in failed.items()})


def task(label: str, p_e: tuple[float, ...], reference: float, seeds: int = 4) -> Task:
    rng = np.random.default_rng(len(label))

    def made(eps: float, seed: int, level: float, *, random: bool = False, network: bool = False) -> Detection:
        errors = rng.random((PAIRS, 2)) < level
        right, wrong = ((1 - level) ** 2, level**2)  # of pairs that were told apart
        result = {
            "p_null": binom.sf(int(right * PAIRS) - 1, int((right + wrong) * PAIRS), 0.5),
            "model": {"arch": {"name": "highpass_cnn"}},
        }
        return Detection(eps, seed, random, network, errors.mean(1), result, "k")

    found = [made(eps, seed, level) for eps, level in zip(LEVELS, p_e, strict=True) for seed in range(seeds)]
    found += [made(0.0, seed, 0.49, random=True) for seed in range(seeds)]
    found += [made(0.0, 0, reference, network=True)]
    about = {"embedding": {"method": "lsb_matching", "payload": 1.0}, "change": {}, "pairs": {}}
    return Task(label, about, LEVELS, tuple(range(seeds)), tuple(found))


def test_a_task_on_which_robust_sources_err_more_is_hindered_and_the_others_are_not():
    tasks = [task("falls", (0.25, 0.35, 0.45), 0.1), task("rises", (0.45, 0.35, 0.25), 0.1)]
    summary = summarise(SPEC, tasks, sources())
    assert [row["verdict"] for row in summary["verdicts"]] == ["hinders", "helps"]
    assert summary["verdicts"][0]["difference"] == pytest.approx(-0.2, abs=0.03)  # of 1 - P_E
    assert summary["headline"]["text"].startswith("Robustness hinders steganalysis in 1 of 2 tasks (falls)")
    level = summary["tasks"][0]["levels"][2]
    assert level["p_e"]["low"] < 0.45 < level["p_e"]["high"]
    assert summary["tasks"][0]["reference"]["mean"] == pytest.approx(0.1, abs=0.03)


def test_no_verdict_unless_the_high_pass_network_can_do_the_task():
    (row,) = summarise(SPEC, [task("falls", (0.25, 0.35, 0.45), 0.42)], sources())["verdicts"]
    assert row["verdict"] == "unusable"
    assert "takes less than 0.4" in row["reason"]


def test_levels_that_all_are_at_chance_are_not_called_equal():
    tasks = [task("blind", (0.5, 0.5, 0.5), 0.1), task("seen", (0.5, 0.5, 0.45), 0.1)]
    blind, seen = summarise(SPEC, tasks, sources())["verdicts"]
    assert (blind["verdict"], seen["verdict"]) == ("unusable", "helps")
    assert blind["reason"].startswith("at chance at every level")


def test_sources_that_are_not_robust_void_the_verdict():
    told = summarise(SPEC, [task("falls", (0.25, 0.35, 0.45), 0.1)], sources(e1="it does not beat eps 0"))
    assert told["verdicts"][0]["verdict"] == "unusable"
    assert told["verdicts"][0]["reason"] == "void: it does not beat eps 0"
    assert told["headline"]["text"].startswith("No verdict")


def test_one_seed_shows_nothing():
    (row,) = summarise(SPEC, [task("falls", (0.25, 0.35, 0.45), 0.1, seeds=1)], sources())["verdicts"]
    assert (row["verdict"], row["low"]) == ("not_shown", None)


def test_a_study_says_where_it_is_wrong():
    study = """
name: a
studies:
  s:
    kind: steganalysis
    source: {dataset: {name: digits}, training: {arch: {name: cnn}}}
    levels: [0.5, 1.0]
    seeds: [0]
    covers: {name: digits}
"""
    with pytest.raises(ValueError, match=r"studies\.s: .*levels with 0"):
        read_spec(study.encode())
