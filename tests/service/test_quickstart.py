"""The quickstart itself: robustness hinders on the antirobust target, and its control arms say why."""

import json
from pathlib import Path

import pytest

from .commands import robxfer

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(1200)]
SPEC = Path(__file__).parents[2] / "examples" / "quickstart.yaml"


def test_robustness_hinders_on_the_antirobust_target_and_not_on_the_robust_generators(tmp_path: Path):
    done = robxfer(tmp_path, "run", str(SPEC), "--out", "out", seconds=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    verdicts = {row["variant"]: row["verdict"] for row in report["verdicts"]}
    assert verdicts["antirobust"] == "hinders"
    assert verdicts["robust_generator"] in ("helps", "no_difference", "not_shown")
    assert verdicts["standard"] != "hinders"
    assert report["headline"]["high"] < 0
    for arm in report["arms"]:
        if arm["variant"] in ("relabel_only", "noise"):
            assert arm["chance"]["above"] is False
        for made in arm["sets"]:
            assert made.get("fooling") is None or min(made["fooling"].values()) >= 0.9
