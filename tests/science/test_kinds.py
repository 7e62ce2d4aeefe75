"""The door into science, the seeds, and the run that needs no service."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from robxfer_core.jobs.base import Artifact
from robxfer_core.jobs.compute import RESULT_BYTES, compute, entry_point, result_json
from robxfer_core.jobs.registry import KINDS
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.science.support.seeds import derive


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_function(kind: str) -> None:
    assert callable(entry_point(KINDS[kind]))


def test_a_job_leaves_its_files_and_a_canonical_result() -> None:
    run = LocalRun()
    compute("dataset", {"name": "digits", "max_train": 20, "max_test": 10}, Inputs({}), run)
    text = (run.out / "result.json").read_bytes()
    assert text == result_json(json.loads(text))
    assert (run.out / "dataset.json").is_file()
    assert run.done == (30, 30, "images")


def test_parameters_are_validated() -> None:
    with pytest.raises(LookupError, match="no jobs of kind nonsense: update the worker"):
        compute("nonsense", {}, Inputs({}), LocalRun())
    with pytest.raises(ValidationError):
        compute("dataset", {"name": "digits", "extra": 1}, Inputs({}), LocalRun())


@pytest.mark.parametrize("bad", [{"a": [{"b": math.nan}]}, {"a": math.inf}, {"a": "x" * RESULT_BYTES}, {"a": object()}])
def test_a_result_that_cannot_be_kept(bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        result_json(bad)


def test_inputs() -> None:
    one, two = Input(Path("a"), "a" * 64), Input(Path("b"), "b" * 64)
    inputs = Inputs({"model": [one], "arms.0.transfers": [one, two]})
    assert inputs.one("model") == inputs.maybe("model") == one
    assert inputs.all("arms.0.transfers") == [one, two]
    assert inputs.maybe("init") is None
    assert inputs.all("sources") == []
    with pytest.raises(KeyError, match="got 2"):
        inputs.one("arms.0.transfers")


def test_a_run_that_is_stopped_keeps_its_checkpoint(tmp_path: Path) -> None:
    run = LocalRun(tmp_path, stop_at=3)
    assert [run.checkpoint_due() for _ in range(3)] == [False, False, True]

    def write(folder: Path) -> None:
        (folder / "at").write_text("3")

    with pytest.raises(Preempted):
        run.checkpoint(write)
    assert run.saved is not None
    assert (run.saved / "at").read_text() == "3"


def test_seeds_are_stable_and_apart() -> None:
    assert derive(0, "batches", 1) == 3195346981818661977  # pinned: another value would change every result
    seeds = {derive(seed, word, step) for seed in range(10) for word in ("a", "b") for step in range(10)}
    assert len(seeds) == 200
    assert derive(1, "2") != derive(1, 2)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_kinds_that_leave_a_report_are_named_so() -> None:
    reports = {kind for kind, model in KINDS.items() if model.ARTIFACT == Artifact.REPORT}
    assert reports == {kind for kind in KINDS if kind.endswith("_report")}
