"""Specs that once made a plan that lacked jobs, or an error that named no place: each is refused where it is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from robxfer_core.jobs.fetch import Fetch
from robxfer_core.jobs.registry import KINDS, leaves_report
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.spec import yaml
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError
from robxfer_core.studies.graph import Graph

TOY = Path(__file__).parents[2] / "examples/toy"
DIGITS = {"kind": "dataset", "name": "digits"}
SOURCE = {"kind": "train", "dataset": "d", "arch": {"name": "cnn"}}
COMPONENTS = {"kind": "visualize", "mode": "component", "model": "m", "dataset": "d", "judge": "j", "count": 2}


def refusals(spec: dict[str, Any] | bytes) -> list[tuple[str, str, str]]:
    data = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    with pytest.raises(SpecError) as caught:
        make_plan(read_spec(data), dict(BUILTIN))
    return [(p.at, p.got, p.takes) for p in caught.value.problems]


def of_jobs(**jobs: Any) -> list[tuple[str, str, str]]:
    return refusals({"name": "x", "jobs": {"d": DIGITS, **jobs}})


def toy(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A toy example, and its one study."""
    spec = yaml.load((TOY / f"{name}.yaml").read_bytes())
    [study] = spec["studies"].values()
    return spec, study


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("kind", ["nope"]),
        ("kind", ["transfer"]),
        ("run.queue", ["cpu", "gpu"]),
        ("matrix", [{}]),
        ("model", ["m", "zz"]),
        ("model", ["m"]),
    ],
)
def test_a_matrix_over_what_is_no_parameter_is_refused(path: str, values: list[Any]):
    features = {"kind": "features", "model": "m", "dataset": "d", "matrix": {path: values}}
    [(at, _, takes)] = of_jobs(m=SOURCE, f=features)
    assert at == f"jobs.f.matrix.{path}"
    assert "parameter" in takes


def test_a_reference_within_a_matrix_value_is_refused():
    heads = {"kind": "transfer", "features": "f", "matrix": {"robust": [{"dataset": "d"}]}}
    [(at, _, takes)] = of_jobs(m=SOURCE, f={"kind": "features", "model": "m", "dataset": "d"}, t=heads)
    assert at == "jobs.t.matrix.robust"
    assert "reference" in takes


@pytest.mark.parametrize("key", ["1", "true", "0.5"])
def test_a_key_that_is_no_text_is_refused(key: str):
    text = f"name: x\njobs:\n  t: {{kind: transfer, robust: {{{key}: {{dataset: d}}}}}}"
    [(at, got, takes)] = refusals(text.encode())
    assert at == "jobs.t.robust"
    assert "no text" in got
    assert "text" in takes


def test_a_doubled_job_of_a_study_is_refused():
    graph = Graph("s")
    graph.add(("targets", 0), "a.data", "dataset")
    with pytest.raises(SpecError, match=r"studies\.s\.targets\[1\]: got a second job named s\.a\.data"):
        graph.add(("targets", 1), "a.data", "dataset")


def test_embeddings_of_one_name_are_refused():
    spec, study = toy("steganalysis")
    study["embeddings"] = [{"payload": 0.4}, {"payload": 0.40000001}]
    [(at, got, takes)] = refusals(spec)
    assert at == "studies.stego"
    assert "embeddings that differ" in takes
    assert "200" not in got  # its keys, not all that it holds
    assert "embeddings" in got


def test_a_published_files_name_holds_the_whole_eps():
    names = [Fetch(file="m_{eps}.pt", eps=eps).name for eps in (0.0, 0.25, 3.0, 0.03, 0.1234567, 0.1234568)]
    assert names == ["m_0.pt", "m_0.25.pt", "m_3.pt", "m_0.03.pt", "m_0.1234567.pt", "m_0.1234568.pt"]


def test_a_place_names_no_member_of_a_union():
    setting = {"name": "linear", "norm": "l2", "eps": [-1.0]}
    [(at, _, _)] = of_jobs(s={"kind": "simulate", "title": "t", "setting": setting})
    assert at == "jobs.s.setting.eps[0]"
    spec, study = toy("component_visualization")
    study["judge"]["epochs"] = -1
    assert [(at, got) for at, got, _ in refusals(spec)] == [("studies.figure1.judge.epochs", "-1")]
    study["judge"] = {"epochs": 1}
    assert [(at, got) for at, got, _ in refusals(spec)] == [("studies.figure1.judge.arch", "nothing")]


def test_a_kind_of_another_version_leaves_no_report():
    assert not leaves_report("of_another_version")
    assert {kind for kind in KINDS if leaves_report(kind)} == {k for k in KINDS if k.split("_")[-1] == "report"}


@pytest.mark.parametrize(
    ("report", "empty"),
    [
        ({"kind": "report", "sources": [], "arms": [{"target": "t", "variant": "standard"}]}, "arms[0].transfers"),
        ({"kind": "which_eps_report", "target": "t", "amounts": [{}]}, "amounts[0].transfers"),
        (
            {"kind": "component_visualization_report", "architectures": [{"label": "a", "sources": []}]},
            "architectures[0].visualizations",
        ),
    ],
)
def test_a_report_on_nothing_is_refused(report: dict[str, Any], empty: str):
    group, field = empty.split("[0].")
    report = json.loads(json.dumps(report))
    report[group][0][field] = []
    assert [(at, got) for at, got, _ in of_jobs(r={"title": "t", **report})] == [(f"jobs.r.{empty}", "[]")]


def test_a_judge_of_the_models_own_key_is_refused():
    [(at, got, _)] = of_jobs(m=SOURCE, j=SOURCE, v=COMPONENTS)
    assert at == "jobs.v.judge"
    assert '"j"' in got
    assert '"m"' in got


def test_detection_on_a_set_without_messages_is_refused():
    features = {"kind": "features", "model": "m", "dataset": "d"}
    [(at, _, takes)] = of_jobs(m=SOURCE, f=features, t={"kind": "detect_stego", "features": "f"})
    assert at == "jobs.t.features"
    assert "embed_stego" in takes
