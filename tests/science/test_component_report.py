"""The report on components: planted trends and nulls, intervals of known answer, studies that are not whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from scipy import stats

from robxfer_core.jobs.component_visualization_report import ComponentVisualizationReport
from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.reports.component_visualization.collect import BadStudy, collect
from robxfer_core.reports.component_visualization.summary import over_components, summarise

LEVELS, SEEDS, K = (0.0, 0.5, 1.0), (0, 1, 2), 4


class Study:
    """Results of visualisations and evaluations of two architectures, as a report takes them."""

    def __init__(self, folder: Path, rise: float, seed: int = 0) -> None:
        self.folder, self.draws = folder, np.random.default_rng(seed)
        self.fields: dict[str, list[Input]] = {}
        for index in range(2):
            for eps in LEVELS:
                for s in SEEDS:
                    self.put(f"architectures.{index}.visualizations", self.visualization(eps, s, rise), pictures=True)
                    robust = {f"{at:g}": 0.6 - 0.3 * at + (0.2 if eps else 0) for at in LEVELS}
                    model = {"threat": {"eps": eps}, "seed": s}
                    self.put(f"architectures.{index}.sources", {"model": model, "clean": 0.6, "robust": robust})

    def put(self, field: str, result: dict[str, Any], pictures: bool = False) -> None:
        items = self.fields.setdefault(field, [])
        folder = self.folder / f"{field}-{len(items)}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
        if pictures:
            found = self.draws.random((K, 3, 8, 8)).astype(np.float16)
            top = self.draws.integers(0, 256, (K, 9, 3, 8, 8), dtype=np.uint8)
            np.savez(folder / "visualization.npz", found=found, top=top)
        items.append(Input(folder, f"{field}-{len(items)}"))

    def visualization(self, eps: float, seed: int, rise: float) -> dict[str, Any]:
        rows = [
            {
                "component": at,
                "start": 0.1,
                "end": 1.0,
                "top": 0.8,
                "slope": -1.0 - rise * eps + 0.1 * self.draws.standard_normal(),
                "alive": at > 0,
                "auroc": 0.6 + rise * eps + 0.02 * self.draws.standard_normal() if at > 0 else None,
                "auroc_start": 0.5 if at > 0 else None,
                "auroc_top": 0.9 if at > 0 else None,
            }
            for at in range(K)
        ]
        arch = {"name": "cnn", "width": 1.0, "input_size": None}
        about = {"model": {"threat": {"eps": eps}, "seed": seed, "arch": arch}, "mode": "component"}
        return {**about, "components": rows, "slope_real": -2.1, "slope_start": 0.0}

    def params(self) -> dict[str, Any]:
        fields = {name: [item.key for item in items] for name, items in self.fields.items()}
        arms = [
            {
                "label": label,
                **{name: fields[f"architectures.{index}.{name}"] for name in ("visualizations", "sources")},
            }
            for index, label in enumerate(("net & co", "other"))
        ]
        return {"title": "T < U", "architectures": arms}

    def report(self, folder: Path) -> Path:
        run = LocalRun(folder)
        compute("component_visualization_report", self.params(), Inputs(self.fields), run)
        return run.out

    def summary(self) -> dict[str, Any]:
        spec = ComponentVisualizationReport.model_validate(self.params())
        return summarise(spec.title, collect(spec, Inputs(self.fields)), spec.confidence)


def test_a_planted_trend_is_shown_and_a_null_is_not(tmp_path: Path) -> None:
    out = Study(tmp_path / "a", rise=0.2).report(tmp_path / "report")
    report = json.loads((out / "report.json").read_text())
    overall = {row["measure"]: row for row in report["trends"] if row["architecture"] == "all"}
    assert overall["auroc"]["shown"]
    assert overall["auroc"]["direction"] == "rises"
    assert overall["slope"]["shown"]
    assert overall["slope"]["direction"] == "falls"
    assert overall["auroc"]["blocks"] == 6
    assert report["headline"]["text"].startswith("AUROC rises with eps (0.61 at the lowest level, 0.80 at the highest")
    assert report["weak"] == []
    assert len(report["table"]["rows"]) == 2 * len(LEVELS)
    assert report["architectures"][0]["levels"][0]["alive"] == 9
    result = json.loads((out / "result.json").read_text())
    assert {name: result[name] for name in ("title", "headline", "table")} == result
    rows = parquet.read_table(out / "results.parquet").to_pylist()
    assert len(rows) == 2 * len(LEVELS) * len(SEEDS) * K
    assert {row["auroc"] is None for row in rows if row["component"] == 0} == {True}
    html = (out / "report.html").read_text()
    assert "T &lt; U" in html
    assert "<script" not in html

    again = Study(tmp_path / "a2", rise=0.2).report(tmp_path / "report2")
    for path in out.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name

    nulls = [Study(tmp_path / f"null{seed}", rise=0.0, seed=seed).summary() for seed in range(20)]
    assert sum(any(row["shown"] for row in each["trends"]) for each in nulls) <= 4  # 1 is expected at the most


def test_levels_that_are_not_more_robust_are_named(tmp_path: Path) -> None:
    study = Study(tmp_path / "a", rise=0.1)
    for item in study.fields["architectures.1.sources"]:
        result = json.loads((item.path / "result.json").read_text())
        if result["model"]["threat"]["eps"] == 1.0:
            result["robust"]["1"] = 0.1
            (item.path / "result.json").write_text(json.dumps(result))
    assert study.summary()["weak"] == ["other at eps 1"]


def test_a_study_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path / "a", rise=0.1)
    study.fields["architectures.0.visualizations"].pop()
    with pytest.raises(BadStudy, match=r"net & co: levels .* lacks .*\(1.0, 2\)"):
        study.summary()
    study.fields["architectures.0.visualizations"] += study.fields["architectures.0.visualizations"][:1]
    with pytest.raises(BadStudy, match="eps 0, seed 0 is there twice"):
        study.summary()


def test_the_interval_over_components_is_students_for_one_network_and_covers_for_several() -> None:
    draws = np.random.default_rng(0)
    one = draws.standard_normal(7)
    band = over_components([one], 0.05)
    assert band is not None
    low, high = stats.t.interval(0.95, 6, one.mean(), stats.sem(one))
    assert (band["low"], band["high"]) == pytest.approx((low, high))
    assert over_components([one, one[:0]], 0.05) is None
    assert over_components([one[:1]], 0.05) == {"mean": one[0], "low": None, "high": None}
    inside = 0
    for _ in range(2000):
        networks = [centre + draws.standard_normal(5) for centre in (1.0, 3.0, -4.0)]  # fixed, and far apart
        band = over_components(networks, 0.05)
        assert band is not None
        inside += band["low"] <= 0.0 <= band["high"]
    assert 0.93 <= inside / 2000 <= 0.97
