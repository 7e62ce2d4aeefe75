"""The job `simulate`: every repeat at every point, and what they come to."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.simulate import Linear, LinearResult, Multiclass, MulticlassResult, Simulate
from robxfer_core.reports.report_json import rounded

from . import linear, multiclass, summary

STATE = "rows.json"
Row = dict[str, Any]


def simulate(spec: Simulate, inputs: Inputs, run: Run) -> LinearResult | MulticlassResult:
    """Write results.parquet, a row for each point and repeat; return the points' summary.

    A repeat at a point depends on the seed and itself alone, so an interrupted job goes on to the same bytes.
    """
    work = [(point, repeat) for point in _points(spec.setting) for repeat in range(spec.repeats)]
    done: list[list[Row]] = json.loads((run.resume / STATE).read_text()) if run.resume else []
    for point, repeat in work[len(done) :]:
        run.progress(len(done), len(work), "draws")
        if run.checkpoint_due():
            run.checkpoint(lambda folder: _save(folder, done))
        given = {**vars(point), "repeat": repeat}
        done.append([{**given, **row} for row in _simulate(spec, point, repeat)])
    rows = [row for group in done for row in group]
    parquet.write_table(pa.Table.from_pylist(rows), run.out / "results.parquet")
    run.progress(len(work), len(work), "draws")
    told = {
        "title": spec.title,
        "setting": spec.setting.model_dump(mode="json"),
        "repeats": spec.repeats,
        "confidence": spec.confidence,
    }
    content = rounded(told | summary.summarise(spec.setting, rows, 1 - spec.confidence))
    model = LinearResult if isinstance(spec.setting, Linear) else MulticlassResult
    return model.model_validate(content)


def _points(setting: Linear | Multiclass) -> list[Any]:
    return list(linear.points(setting) if isinstance(setting, Linear) else multiclass.points(setting))


def _simulate(spec: Simulate, point: Any, repeat: int) -> list[Row]:
    if isinstance(spec.setting, Linear):
        return linear.simulate(spec.setting, point, repeat, spec.seed)
    return multiclass.simulate(spec.setting, point, repeat, spec.seed)


def _save(folder: Path, done: list[list[Row]]) -> None:
    (folder / STATE).write_text(json.dumps(done))
