"""Specs: what is refused names the place, what it got and what is taken there."""

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from robxfer_core.jobs.registry import KINDS
from robxfer_core.planning.experiment import MAX_BYTES, read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.spec import yaml
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError

EXAMPLES = Path(__file__).parents[2] / "examples"
CATALOG: dict[str, Any] = {
    **BUILTIN,
    "photos": {"shape": None, "classes": 3, "train": 30, "test": 9},
    "colours": {"shape": [3, 32, 32], "classes": 10, "train": 100, "test": 50},
}


def small(**source: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "jobs": {
            "digits": {"kind": "dataset", "name": "digits", "size": 16},
            "source": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn"}, **source},
        },
    }


def problems(spec: Any) -> list[tuple[str, str, str]]:
    data = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    with pytest.raises(SpecError) as caught:
        make_plan(read_spec(data, "yaml"), CATALOG)
    return [(p.at, p.got, p.takes) for p in caught.value.problems]


def test_every_example_reads_and_plans():
    for path in EXAMPLES.rglob("*.yaml"):
        assert make_plan(read_spec(path.read_bytes())).nodes, path


def test_an_unknown_key_is_named():
    assert problems(small(epoch=3)) == [("jobs.source.epoch", 'the unknown key "epoch"', "no such key")]
    assert problems({**small(), "jbos": {}})[0][0] == "jbos"


def test_a_wrong_type_is_named():
    [(at, got, takes)] = problems(small(epochs="15"))
    assert (at, got) == ("jobs.source.epochs", '"15"')
    assert "integer" in takes


def test_an_eps_below_zero_is_named():
    [(at, got, takes)] = problems(small(threat={"eps": -0.5}))
    assert (at, got) == ("jobs.source.threat.eps", "-0.5")
    assert "greater than or equal to 0" in takes


def test_an_eps_below_zero_in_a_matrix_is_named():
    [(at, got, _)] = problems(small(matrix={"threat.eps": [0.0, -1.0]}))
    assert (at, got) == ("jobs.source.threat.eps", "-1.0")


def test_an_eps_below_zero_in_a_study_is_named():
    spec = yaml.load((EXAMPLES / "quickstart.yaml").read_bytes())
    spec["studies"]["digits"]["levels"] = [0.0, -1.0]
    [(at, got, _)] = problems(spec)
    assert (at, got) == ("studies.digits.levels[1]", "-1.0")


def test_an_unknown_kind_of_study_is_named():
    spec = yaml.load((EXAMPLES / "quickstart.yaml").read_bytes())
    spec["studies"]["digits"]["kind"] = "transfer_gip"
    [(at, got, takes)] = problems(spec)
    assert (at, got) == ("studies.digits.kind", '"transfer_gip"')
    assert "'transfer_gap'" in takes
    del spec["studies"]["digits"]["kind"]
    assert problems(spec) == [("studies.digits.kind", "nothing", "a value (it is required)")]


def test_an_integer_that_json_may_not_hold_exactly_is_refused():
    [(at, got, takes)] = problems(small(seed=2**53))
    assert (at, got, takes) == ("jobs.source.seed", str(2**53), "integers of less than 2**53")


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_not_finite_is_refused(value: str):
    text = json.dumps(small(threat={"eps": "X"})).replace('"X"', value).encode()
    [(at, _, takes)] = problems(text)
    assert at == "jobs.source.threat.eps"
    assert "finite" in takes


def test_a_reference_to_a_job_that_is_not_there_is_named():
    [(at, got, takes)] = problems(small(dataset="digit"))
    assert (at, got) == ("jobs.source.dataset", '"digit"')
    assert "digits" in takes


def test_a_reference_to_a_job_of_another_kind_is_named():
    spec = small()
    spec["jobs"]["again"] = {**spec["jobs"]["source"], "dataset": "source"}
    [(at, got, takes)] = problems(spec)
    assert at == "jobs.again.dataset"
    assert "train" in got
    assert "dataset" in takes


def test_a_cycle_is_named():
    spec = small(init="second")
    spec["jobs"]["second"] = {**spec["jobs"]["source"], "init": "source"}
    [(_, got, _)] = problems(spec)
    assert "source -> second -> source" in got or "second -> source -> second" in got


def test_a_data_set_that_is_not_there_is_named():
    spec = small()
    spec["jobs"]["digits"]["name"] = "imagenet"
    [(at, got, takes)] = problems(spec)
    assert (at, got) == ("jobs.digits.name", '"imagenet"')
    assert "photos" in takes


def test_a_data_set_that_a_job_may_download_need_not_be_there():
    spec = small()
    spec["jobs"]["digits"] |= {"name": "cifar10", "download": True}
    assert make_plan(read_spec(json.dumps(spec).encode()), CATALOG).nodes


def test_images_of_differing_size_need_a_size():
    spec = small()
    spec["jobs"]["digits"] = {"kind": "dataset", "name": "photos"}
    assert problems(spec)[0][0] == "jobs.digits.size"


def test_classes_out_of_range_are_named():
    spec = small()
    spec["jobs"]["digits"]["classes"] = [0, 10]
    assert problems(spec)[0][0] == "jobs.digits.classes"


def test_a_network_too_deep_for_the_images_is_named():
    [(at, got, takes)] = problems(small(arch={"name": "resnet18"}))
    assert at == "jobs.source.arch"
    assert "16x16" in got
    assert "32x32" in takes
    spec = small(arch={"name": "resnet18", "input_size": 64})
    assert make_plan(read_spec(json.dumps(spec).encode()), CATALOG).nodes


def test_images_of_channels_that_no_network_takes_are_named():
    spec = small()
    spec["jobs"]["digits"] = {"kind": "dataset", "name": "layers"}
    with pytest.raises(SpecError, match=r"jobs.source.dataset: got 4 channels; takes images of 1 or 3 channels"):
        make_plan(
            read_spec(json.dumps(spec).encode()),
            {"layers": {"shape": [4, 16, 16], "classes": 3, "train": 30, "test": 9}},
        )


def test_a_model_of_one_channel_does_not_take_colours():
    spec = small()
    spec["jobs"]["colours"] = {"kind": "dataset", "name": "colours"}
    spec["jobs"]["features"] = {"kind": "features", "model": "source", "dataset": "colours"}
    assert problems(spec)[0][0] == "jobs.features.model"


def test_more_head_images_than_there_are_is_named():
    spec = small()
    spec["jobs"]["features"] = {"kind": "features", "model": "source", "dataset": "digits"}
    spec["jobs"]["heads"] = {"kind": "transfer", "features": "features", "sizes": [10, 99999]}
    assert problems(spec)[0][0] == "jobs.heads.sizes[1]"


def test_two_jobs_of_one_name_are_refused_in_yaml_and_json():
    text = b"name: x\njobs:\n  a: {kind: dataset, name: digits}\n  a: {kind: dataset, name: digits}\n"
    assert problems(text)[0][0] == "jobs.a"
    with pytest.raises(SpecError, match="same key twice"):
        read_spec(b'{"name": "x", "jobs": {"a": {}, "a": {}}}', "json")


def test_a_matrix_of_too_many_jobs_is_refused_before_it_is_built():
    spec = small(matrix={"seed": list(range(101)), "epochs": list(range(100))})
    [(at, got, takes)] = problems(spec)
    assert at == "jobs.source.matrix"
    assert "10100" in got
    assert "10000" in takes


def test_a_matrix_value_too_long_to_name_a_node_is_refused():
    assert problems(small(matrix={"arch.name": ["x" * 101]}))[0][0] == "jobs.source.matrix.arch.name"


def test_a_matrix_too_large_along_references_is_refused():
    spec = small(matrix={"seed": list(range(5000))})
    spec["jobs"]["features"] = {"kind": "features", "model": "source", "dataset": "digits"}
    spec["jobs"]["heads"] = {"kind": "transfer", "features": "features", "seed": "$seed"}
    assert problems(spec)[0][0] == "jobs.features.matrix"


def test_references_that_multiply_are_refused_before_they_are_joined():
    spec = small(matrix={"seed": list(range(5000))})
    spec["jobs"]["cut"] = {"kind": "dataset", "name": "digits", "matrix": {"max_train": list(range(2, 4992))}}
    spec["jobs"]["robust"] = {"kind": "evaluate", "model": "source", "dataset": "cut", "eps": [0.0]}
    [(at, got, takes)] = problems(spec)
    assert at == "jobs.robust.matrix"
    assert str(5000 * 4990) in got
    assert "10000" in takes


def test_a_report_that_takes_the_same_jobs_over_and_over_is_refused():
    spec = small(matrix={"seed": list(range(500))})
    spec["jobs"]["clean"] = {"kind": "evaluate", "model": "source", "dataset": "digits", "eps": [0.0]}
    spec["jobs"]["report"] = {"kind": "report", "title": "t", "sources": ["clean"] * 1000, "arms": []}
    [(at, got, takes)] = problems(spec)
    assert at == "jobs.report.sources[397]"  # what it takes has 1,500 inputs itself
    assert "199000" in got
    assert "200000" in takes


@pytest.mark.parametrize("levels", [60, 900])
@pytest.mark.parametrize("media", ["yaml", "json"])
def test_a_spec_too_deep_is_refused(levels: int, media: Literal["yaml", "json"]):
    deep = json.dumps(small()).replace('"digits", "size"', f'{"[" * levels}{"]" * levels}, "size"').encode()
    with pytest.raises(SpecError, match=r"at most 50 levels|recursion depth"):
        make_plan(read_spec(deep, media))


def test_anchors_that_explode_are_refused():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join(['*' + previous] * 10)}]\n"
    [(_, got, _)] = problems(bomb.encode())
    assert "anchors" in got


def test_an_anchor_that_contains_itself_is_refused():
    assert "contains itself" in problems(b"name: x\njobs: &a {b: *a}\n")[0][1]


def test_anchors_that_only_repeat_are_taken():
    text = b"name: x\njobs:\n  a: &a {kind: dataset, name: digits}\n  b: {<<: *a, size: 16}\n"
    assert len(make_plan(read_spec(text), CATALOG).nodes) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"[" * 10_000,
        b"!!python/object/apply:os.system [ls]",
        b"a: b: c",
        b"",
        b"3",
        b"x" * (MAX_BYTES + 1),
    ],
)
def test_bytes_that_are_no_spec_are_refused(data: bytes):
    with pytest.raises(SpecError):
        read_spec(data)


@pytest.mark.parametrize("text", ["\0", "\ud800"])
def test_text_that_no_database_holds_is_refused(text: str):
    with pytest.raises(SpecError) as caught:
        read_spec(json.dumps({**small(), "description": f"a{text}b"}).encode(), "json")
    assert caught.value.problems[0].at == "description"


def test_integers_that_no_key_holds_are_refused():
    spec = small()
    spec["jobs"]["digits"]["max_train"] = 2**70
    assert problems(spec)[0][0] == "jobs.digits.max_train"


def test_numbers_may_be_written_as_people_do():
    spec = read_spec(b"name: x\njobs: {a: {kind: train, optimizer: {lr: 5e-4}}}")
    assert spec.jobs["a"]["optimizer"]["lr"] == 5e-4


def test_every_parameter_of_every_kind_is_named_in_the_schema():
    for kind, model in KINDS.items():
        assert re.fullmatch(r"[a-z_]+", kind)
        assert model.__doc__
        assert model.model_json_schema()["properties"]["kind"]["const"] == kind
