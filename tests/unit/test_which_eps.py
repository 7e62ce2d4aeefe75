"""The study `which_eps` as a plan: what it expands to, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec import yaml
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError

TOY = (Path(__file__).parents[2] / "examples" / "toy" / "which_eps.yaml").read_text()


def study(**changed: Any) -> dict[str, Any]:
    spec = yaml.load(TOY.encode())
    given = spec["studies"]["which"] | changed
    spec["studies"]["which"] = {name: value for name, value in given.items() if value is not None}
    return spec


def plan(spec: dict[str, Any]) -> Plan:
    return make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))


def models(*levels: float) -> list[dict[str, Any]]:
    arch = {"name": "cnn", "input_size": 8}
    return [{"upload": f"{index}" * 64, "arch": arch, "threat": {"eps": eps}} for index, eps in enumerate(levels)]


def test_a_family_trained_here() -> None:
    nodes = plan(study()).nodes
    kinds = [node.kind for node in nodes]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "dataset": 2, "train": 12, "features": 12, "transfer": 24, "which_eps_report": 1,
    }  # fmt: skip
    shots = {node.params["images_per_class"] for node in nodes if node.kind == "transfer"}
    assert shots == {None, 10}
    for node in nodes:
        if node.kind == "transfer" and "[" in node.name:
            assert f"seed={node.params['seed']}" in node.name


def test_its_models_are_those_of_a_figure_3_with_the_same_source() -> None:
    spec = study()
    which = spec["studies"]["which"]
    gap = {name: which[name] for name in ("source", "levels", "seeds", "heads")}
    gap |= {
        "kind": "transfer_gap",
        "targets": [which["target"]],
        "generator": {"training": which["source"]["training"]},
        "antirobust": {"eps": 1.0},
        "controls": [],
    }
    both = plan({"name": "x", "studies": {"gap": gap, "which": which}}).nodes
    keys = {node.name: node.key for node in both}
    assert keys["which.source[eps=0.5,seed=1]"] == keys["gap.source[eps=0.5,seed=1]"]
    assert keys["which.features[eps=0.5,seed=1]"] == keys["gap.digits-5-9.standard.features[eps=0.5,seed=1]"]
    assert keys["which.transfer[eps=0.5,seed=1]"] == keys["gap.digits-5-9.standard.transfer[eps=0.5,seed=1]"]


def test_a_family_that_others_trained_on_an_upload() -> None:
    target = {"label": "mine", "import_dataset": {"upload": "f" * 64, "name": "mine", "size": 8}}
    nodes = plan(study(source=None, levels=None, models=models(0.0, 0.5, 3.0), target=target, seeds=[0, 1])).nodes
    kinds = [node.kind for node in nodes]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "import_dataset": 1, "import_model": 3, "features": 3, "transfer": 12, "which_eps_report": 1,
    }  # fmt: skip
    report = nodes[-1]
    assert report.params["training"] is None
    assert len(report.params["amounts"][1]["transfers"]) == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"models": models(0.0, 0.5)}, r"^studies\.which: got .*either `source`, a family to train, or `models`"),
        ({"source": None, "levels": None}, "either `source`, a family to train, or `models`"),
        ({"source": None, "models": models(0.0, 0.5)}, "`levels` with `source` alone"),
        ({"source": None, "levels": None, "models": models(0.5, 0.5)}, "levels without repetition"),
        ({"levels": [0.0]}, "at least 2 levels"),
        ({"seeds": [1, 1]}, "seeds without repetition"),
        ({"target": {"label": "x"}}, "either `dataset` or `import_dataset`"),
        ({"few_shot": [1]}, r"^studies\.which\.few_shot\[0\]: got 1; takes"),
        ({"few_shot": [1000]}, r"images_per_class: got 1000.*takes at most \d+, the training images there are"),
        ({"kind": "which_ep"}, r'^studies\.which\.kind: got "which_ep"; takes one of .*which_eps'),
        ({"kind": None}, r"^studies\.which\.kind: got nothing; takes a value"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        plan(study(**changed))
