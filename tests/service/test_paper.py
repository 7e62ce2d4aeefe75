"""The paper's own experiments, as their specs stand but for size: small files of the published names, from loopback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robxfer_core import messaging
from robxfer_core.ledger import experiments
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.spec import yaml
from robxfer_core.spec.datasets import BUILTIN, DatasetInfo
from robxfer_core.storage import fetch_files, open_store

from . import servers
from .published import serving, write_checkpoint
from .stack import Stack

pytestmark = pytest.mark.servers
PAPER = Path(__file__).parents[2] / "examples" / "paper"
LEVELS = [0, 0.01, 3]
WIDTH = 0.0625


def small(value: Any, url: str) -> Any:
    """A spec at toy size: digits for every data set, narrow networks, few steps, files from `url`."""
    if isinstance(value, list):
        return [small(each, url) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: small(item, url) for key, item in value.items() if key not in ("precision", "augment")}
    if "file" in made:
        made["urls"] = [url]
    if isinstance(made.get("arch"), dict):
        narrow = WIDTH if made["arch"]["name"] != "cnn" else 0.25
        made["arch"] = {"name": made["arch"]["name"], "width": narrow, "input_size": 32}
    if "epochs" in made:
        made["epochs"] = 1
    if "steps" in made:
        made["steps"] = 1
    if isinstance(made.get("dataset"), dict):
        made["dataset"] = {"name": "digits", "size": 16, "max_train": 60, "max_test": 30}
    return made


def run_to_its_end(stack: Stack, spec: dict[str, Any]) -> str:
    """Submit a spec and wait until it is done. The experiment's id."""
    checked = read_spec(json.dumps(spec).encode(), "json")
    submission = experiments.submit(stack.engine, "default", spec, make_plan(checked, dict(BUILTIN)))
    messaging.notify(stack.settings, submission.queues_ready)
    assert stack.ended(submission.experiment_id) == "done"
    return submission.experiment_id


def report_of(stack: Stack, experiment: str, node: str, folder: Path) -> dict[str, Any]:
    """The report.json of a node, whose artifact is left in the folder."""
    kept = stack.artifact(stack.job(experiment, node))
    store = open_store(stack.settings.store_url, stack.settings)
    fetch_files(store, f"{kept.project_id}/{kept.job_id}/{kept.attempt}", kept.manifest, folder)
    return json.loads((folder / "report.json").read_text())


def test_figure_1_runs_on_files_of_the_published_names(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    for arch in ("resnet18", "resnet50"):
        for seed, eps in enumerate(LEVELS):
            write_checkpoint(tmp_path / f"{arch}_l2_eps{eps:g}.ckpt", {"name": arch, "width": WIDTH}, seed)
    write_checkpoint(tmp_path / "resnext50_32x4d_l2_eps0.ckpt", {"name": "resnext50_32x4d", "width": WIDTH}, 7)
    stack = make_stack(fetch_hosts=["127.0.0.1"])
    with serving(tmp_path) as url, servers.worker(stack.settings, stack.folder):
        spec = small(yaml.load((PAPER / "figure1.yaml").read_bytes()), url) | {"run": {"queue": "cpu"}}
        spec["studies"]["components"] |= {"levels": LEVELS, "components": 3, "steps": 3}
        experiment = run_to_its_end(stack, spec)
    report = report_of(stack, experiment, "components.report", tmp_path / "report")
    assert [[level["eps"] for level in arm["levels"]] for arm in report["architectures"]] == [LEVELS, LEVELS]
    assert "training variance is unknown" in report["headline"]["text"]
    assert all(level["clean"] is None for arm in report["architectures"] for level in arm["levels"])
    assert all(level["gain"] > 0 for arm in report["architectures"] for level in arm["levels"])


def test_figure_3_runs_on_files_of_the_published_names(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    whole = yaml.load((PAPER / "figure3.yaml").read_bytes())
    for arch in ("resnet18", "resnet50"):
        for seed, eps in enumerate(LEVELS):
            write_checkpoint(tmp_path / f"{arch}_l2_eps{eps:g}.ckpt", {"name": arch, "width": WIDTH}, seed)
    stack = make_stack(fetch_hosts=["127.0.0.1"])
    with serving(tmp_path) as url, servers.worker(stack.settings, stack.folder):
        spec = small(whole, url) | {"run": {"queue": "cpu"}}
        for study in spec["studies"].values():
            study |= {"levels": LEVELS, "controls": [], "targets": study["targets"][:1]}
        experiment = run_to_its_end(stack, spec)
    for arch in ("resnet18", "resnet50"):
        report = report_of(stack, experiment, f"{arch}.report", tmp_path / arch)
        assert report["levels"] == LEVELS
        # One checkpoint a level has no interval, and is not taken for a failed one.
        assert {row["verdict"] for row in report["verdicts"] if row["variant"] == "standard"} == {"not_shown"}
        assert "training variance unknown" in report["verdicts"][0]["reason"]
        page = (tmp_path / arch / "report.html").read_text()
        assert "taken by their word" in page


def test_figure_4_runs(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make_stack()
    with servers.worker(stack.settings, stack.folder):
        spec = small(yaml.load((PAPER / "figure4.yaml").read_bytes()), "") | {"run": {"queue": "cpu"}}
        digits = spec["studies"]["sources"]["source"]["dataset"]
        spec["studies"]["sources"] |= {"seeds": [0], "seed_data": digits, "min_agreement": 0.0}
        experiment = run_to_its_end(stack, spec)
    report = report_of(stack, experiment, "sources.report", tmp_path / "report")
    assert (tmp_path / "report" / "figure4b.png").stat().st_size
    assert {row["name"] for row in report["arms"]} == {"standard", "robust", "nonrobust", "adversarial", "random_init"}


@pytest.mark.parametrize("path", sorted(PAPER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_level_that_was_published_is_planned(path: Path) -> None:
    sets: dict[str, DatasetInfo] = {
        name: {"shape": None, "classes": 10, "train": 1000, "test": 500} for name in ("flowers17", "hymenoptera")
    }
    sets |= {"caltech101": {"shape": None, "classes": 101, "train": 3000, "test": 3000}}
    sets |= {"cifar10": {"shape": [3, 32, 32], "classes": 10, "train": 50_000, "test": 10_000}}
    sets |= {"mnist": {"shape": [1, 28, 28], "classes": 10, "train": 60_000, "test": 10_000}}
    plan = make_plan(read_spec(path.read_bytes()), sets)
    files = {node.params["file"].format(eps=f"{node.params['eps']:g}") for node in plan.nodes if node.kind == "fetch"}
    if path.stem in ("figure1", "figure3"):
        levels = ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5")
        judge = {"resnext50_32x4d_l2_eps0.ckpt"} if path.stem == "figure1" else set()
        assert files - judge == {f"{arch}_l2_eps{eps}.ckpt" for arch in ("resnet18", "resnet50") for eps in levels}
    assert {node.running.queue for node in plan.nodes} == {"gpu"}
    assert sum(node.bytes for node in plan.nodes) > 1e9
