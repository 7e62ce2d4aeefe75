"""A kind that stands in one module of this folder, from the spec to the artifact in the store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.registry import KINDS, PUBLISHED_KINDS, accepted_kinds, register
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError
from robxfer_core.storage import ArtifactInfo, fetch_files, publish_folder
from robxfer_core.storage.folder import FolderStore

from .mean_image import MeanImage, MeanImageResult

SPEC: dict[str, Any] = {
    "name": "mean",
    "jobs": {
        "digits": {"kind": "dataset", "name": "digits", "max_train": 40, "max_test": 20},
        "mean": {"kind": "mean_image", "dataset": "digits", "matrix": {"split": ["train", "test"]}},
    },
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register(MeanImage)
    yield
    del KINDS["mean_image"], PUBLISHED_KINDS["average_image"]


def planned(spec: dict[str, Any]) -> Plan:
    return make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))


def test_it_is_planned_computed_and_kept(tmp_path: Path) -> None:
    runs: dict[str, LocalRun] = {}
    store = FolderStore(tmp_path / "store")
    for node in planned(SPEC).nodes:
        fields = {ref.field: [Input(runs[ref.key].out, ref.key)] for ref in node.inputs}
        runs[node.key] = run = LocalRun(tmp_path / node.key[:8], key=node.key)
        compute(node.kind, node.params, Inputs(fields), run)
        info = ArtifactInfo(node.artifact, node.kind, node.key)
        manifest = publish_folder(store, f"p/{node.key}/1", run.out, info)
        fetch_files(store, f"p/{node.key}/1", manifest, tmp_path / "back" / node.name)
    for split, n in (("train", 40), ("test", 20)):
        folder = tmp_path / "back" / f"mean[split={split}]"
        result = MeanImageResult.read(folder)
        assert result.n == n
        assert result.brightness == pytest.approx(np.load(folder / "mean.npy").mean())
        assert 0.2 < result.brightness < 0.4  # digits: about .3


def test_the_planner_knows_what_the_kind_says_of_itself() -> None:
    digits, *means = planned(SPEC).nodes
    assert [node.shapes.train for node in means] == [40, 40]
    assert {node.flops for node in means} == {60.0 * 64}
    assert {ref.key for node in means for ref in node.inputs} == {digits.key}
    assert "perturb_dataset" in accepted_kinds(MeanImage, "dataset")
    wrong = {**SPEC["jobs"], "of_a_mean": {"kind": "mean_image", "dataset": "mean[split=test]"}}
    with pytest.raises(SpecError, match=r"jobs.of_a_mean.dataset: got \"mean\", a mean_image job"):
        planned({**SPEC, "jobs": wrong})


def test_names_first_published_are_accepted_and_make_the_keys() -> None:
    old = {"kind": "average_image", "dataset": "digits", "part": "test"}
    digits, *_, new_node = planned(SPEC).nodes
    *_, old_node = planned({**SPEC, "jobs": {"digits": SPEC["jobs"]["digits"], "mean": old}}).nodes
    assert old_node.key == new_node.key
    assert old_node.kind == "mean_image"
    content = MeanImage.model_validate(old_node.params).key_content(old_node.params)
    assert content == {"kind": "average_image", "recipe": 1, "params": {"dataset": digits.key, "part": "test"}}


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="mean_image is registered already"):
        register(MeanImage)
