"""The command line on the embedded stack: the main job as a user runs it, and how it refuses what is wrong."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import func, select

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Inputs, LocalRun
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import attempts, jobs
from robxfer_core.science import models
from robxfer_core.science.data.artifact import load
from robxfer_core.spec.fields import Arch

from . import tiny
from .commands import robxfer

pytestmark = pytest.mark.servers


def counted(folder: Path) -> dict[str, int]:
    """Attempts by kind of job."""
    engine = connect(f"sqlite:///{folder / 'data' / 'ledger.sqlite'}")
    with read(engine) as connection:
        query = select(jobs.c.kind, func.count()).join(attempts, attempts.c.job_id == jobs.c.id).group_by(jobs.c.kind)
        found = {str(row[0]): int(row[1]) for row in connection.execute(query)}
    engine.dispose()
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which the tiny study was run with all control arms, and what the command said."""
    folder = tmp_path_factory.mktemp("embedded")
    controls = ("relabel_only", "noise", "robust_generator")
    (folder / "tiny.json").write_bytes(tiny.study((0,), controls))
    return folder, robxfer(folder, "run", "tiny.json", "--out", "out")


def test_a_study_runs_from_spec_to_report(ran: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, done = ran
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "out" / "report.json").read_text())
    told = {(row["target"], row["variant"]) for row in report["verdicts"]}
    variants = ("standard", "antirobust", "relabel_only", "noise", "robust_generator")
    assert told == {("digits 5-7", variant) for variant in variants}
    for name in ("report.json", "figure3.png", "figure3.svg", "report.html", "results.parquet"):
        assert (folder / "out" / name).stat().st_size > 0
        assert name in done.stdout
    assert "antirobust" in done.stdout
    assert "gap.report: done" in done.stdout
    assert not (folder / "data" / "stack.json").exists()


def test_the_same_spec_again_computes_nothing(ran: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, _ = ran
    before = counted(folder)
    report = (folder / "out" / "report.json").read_bytes()
    again = robxfer(folder, "run", "tiny.json", "--out", "again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert counted(folder) == before
    assert (folder / "again" / "report.json").read_bytes() == report


def test_a_spec_that_shares_its_sources_reuses_them(ran: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, _ = ran
    before = counted(folder)
    (folder / "longer.json").write_bytes(tiny.study((0,), epochs=3))
    planned = robxfer(folder, "plan", "longer.json", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    done = robxfer(folder, "run", "longer.json", "--out", "longer")
    assert done.returncode == 0, done.stdout + done.stderr
    new = {kind: count - before[kind] for kind, count in counted(folder).items()}
    heads = plan["counts"]["transfer"]["jobs"]
    assert new == {**dict.fromkeys(new, 0), "transfer": heads, "transfer_gap_report": 1}


def test_lists_and_shows_without_a_worker(ran: tuple[Path, subprocess.CompletedProcess[str]]):
    folder, _ = ran
    listed = robxfer(folder, "list", "--state", "done", "--json")
    experiment = json.loads(listed.stdout)["items"][-1]
    assert experiment["state"] == "done"
    shown = json.loads(robxfer(folder, "show", experiment["id"], "--json").stdout)
    report = next(node for node in shown["nodes"] if node["kind"] == "transfer_gap_report")
    pulled = robxfer(folder, "pull", report["artifact_id"], "pulled")
    assert pulled.returncode == 0, pulled.stderr
    assert (folder / "pulled" / "report.html").read_bytes() == (folder / "out" / "report.html").read_bytes()


WRONG: list[tuple[str, str]] = [
    ("jobs: {a: {kind: train, dataset: b, arch: {name: cnn}}}", "jobs.a.dataset"),
    ("jobs: {a: {kind: dataset, name: imagenet}}", "jobs.a.name"),
    ("jobs: {a: {kind: dataset, name: digits, siez: 3}}", "jobs.a.siez"),
    ("jobs: [", "line"),
]


@pytest.mark.parametrize(("text", "place"), WRONG)
def test_a_wrong_spec_exits_2_and_names_the_place(tmp_path: Path, text: str, place: str):
    (tmp_path / "wrong.yaml").write_text(f"name: wrong\n{text}\n")
    refused = robxfer(tmp_path, "plan", "wrong.yaml")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert place in refused.stderr
    assert "takes" in refused.stderr


def test_a_server_out_of_reach_exits_4(tmp_path: Path):
    assert robxfer(tmp_path, "list", "--server", "http://127.0.0.1:9").returncode == 4


def test_a_bare_submit_without_a_stack_exits_2(tmp_path: Path):
    (tmp_path / "tiny.json").write_bytes(tiny.study())
    refused = robxfer(tmp_path, "submit", "tiny.json")
    assert refused.returncode == 2
    assert "robxfer up" in refused.stderr


def test_an_experiment_that_fails_exits_1(tmp_path: Path):
    spec: dict[str, Any] = {"name": "fails", "run": {"retries": 0}, "jobs": {}}
    spec["jobs"]["digits"] = {"kind": "dataset", "name": "digits", "max_train": 50, "max_test": 20}
    sgd = {"lr": 100.0, "momentum": 0.99, "weight_decay": 10.0}
    spec["jobs"]["diverges"] = {
        "kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 30, "batch_size": 8,
        "optimizer": sgd,
    }  # fmt: skip
    (tmp_path / "fails.json").write_text(json.dumps(spec))
    failed = robxfer(tmp_path, "run", "fails.json", "--out", "out")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "diverges" in failed.stdout
    listed = json.loads(robxfer(tmp_path, "list", "--json").stdout)
    shown = robxfer(tmp_path, "show", listed["items"][0]["id"])
    assert "diverges: failed: " in shown.stdout


def test_jobs_without_a_study_give_what_none_of_them_takes(tmp_path: Path):
    digits = {"kind": "dataset", "name": "digits", "size": 8, "max_train": 60, "max_test": 40}
    arch = {"name": "cnn", "width": 0.25}
    model = {"kind": "train", "dataset": "digits", "arch": arch, "epochs": 1, "matrix": {"threat.eps": [0.0]}}
    knn = {"kind": "probe", "measure": "knn", "features": "features", "k": [1, 5]}
    jobs = {"digits": digits, "model": model, "features": {"kind": "features", "model": "model", "dataset": "digits"}}
    (tmp_path / "knn.json").write_text(json.dumps({"name": "knn", "jobs": jobs | {"knn": knn}}))
    done = robxfer(tmp_path, "run", "knn.json", "--out", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    near = ", ".join(f"{k}: {told['accuracy'][k]:.4g}" for k in ("1", "5"))
    assert f"knn[eps=0]  accuracy ({near})" in done.stdout
    jobs["model"]["matrix"]["threat.eps"] = [0.0, 0.5]
    (tmp_path / "two.json").write_text(json.dumps({"name": "two", "jobs": jobs | {"knn": knn}}))
    two = robxfer(tmp_path, "run", "two.json", "--out", "two")
    assert two.returncode == 0, two.stdout + two.stderr
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"knn[eps=0]", "knn[eps=0.5]"}


def test_files_of_ones_own_are_imported_or_refused_with_the_reason(tmp_path: Path):
    for split, count in (("train", 6), ("val", 2)):
        for name, shade in (("cat", 30), ("dog", 200)):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.pgm").write_bytes(b"P5 8 8 255\n" + bytes([shade + index]) * 64)
    done = robxfer(tmp_path, "import-dataset", "pets", "--size", "8", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["job"]["kind"], told["job"]["name"], told["state"]) == ("import_dataset", "pets", "done")
    (card,) = (tmp_path / "data" / "store").rglob("dataset.json")
    assert json.loads(card.read_text())["classes"] == ["cat", "dog"]

    # A network that says "three" to everything.
    network = models.build(Arch(name="cnn", width=0.25), 10, 1, 8, [0.5], [0.25], seed=0)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.eye(10)[3])
    torch.save({"state_dict": network.state_dict()}, tmp_path / "three.pt")
    normal = ("--input-size", "8", "--mean", ".5", "--std", ".25", "--dataset", "digits", "--json")
    done = robxfer(tmp_path, "import-model", "three.pt", "--arch", "cnn", "--width", ".25", *normal)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    compute("dataset", {"name": "digits"}, Inputs({}), run := LocalRun(tmp_path / "digits"))
    threes = (load(run.out, "test").y == 3).float().mean().item()
    assert (told["state"], told["job"]["arch"]["name"]) == ("done", "cnn")
    assert told["clean_accuracy"] == pytest.approx(threes, abs=1e-6)
    assert 0 < threes < 0.5

    (tmp_path / "weights.pt").write_bytes(b"<html>not found</html>")
    refused = robxfer(tmp_path, "import-model", "weights.pt", "--arch", "resnet18", "--moments", "imagenet")
    assert refused.returncode == 1
    assert "a .safetensors or PyTorch file" in refused.stdout.replace("\n", " ")
    wrong = robxfer(tmp_path, "import-model", "nowhere.pt", "--arch", "resnet18")
    assert (wrong.returncode, "no such file" in wrong.stderr) == (2, True)
