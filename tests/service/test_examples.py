"""The examples of toy size, each submitted as it stands to one stack that they share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robxfer_core import messaging
from robxfer_core.ledger import experiments
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.storage import fetch_files, open_store

from . import servers
from .servers import until
from .stack import Stack

pytestmark = pytest.mark.servers
TOYS = sorted((Path(__file__).parents[2] / "examples" / "toy").glob("*.yaml"))


class Ended:
    """An experiment that has ended, and what its jobs left."""

    def __init__(self, stack: Stack, experiment: str, folder: Path) -> None:
        self._stack, self._experiment, self._folder = stack, experiment, folder

    def files(self, node: str) -> Path:
        """A folder with the artifact of a node: `source`, or `source[eps=0.5,seed=1]`."""
        kept = self._stack.artifact(self._stack.job(self._experiment, node))
        store = open_store(self._stack.settings.store_url, self._stack.settings)
        folder = self._folder / kept.id
        if not folder.exists():
            fetch_files(store, f"{kept.project_id}/{kept.job_id}/{kept.attempt}", kept.manifest, folder)
        return folder

    def result(self, node: str) -> dict[str, Any]:
        return json.loads((self.files(node) / "result.json").read_text())

    def report(self, study: str) -> dict[str, Any]:
        """The report.json of a study, whose other files are looked at in passing."""
        folder = self.files(f"{study}.report")
        assert (folder / "report.html").stat().st_size > 0
        assert {path.suffix for path in folder.glob("figure*")} == {".png", ".svg"}
        return json.loads((folder / "report.json").read_text())


def inversion(ended: Ended) -> None:
    for way in ("from-noise", "from-images"):
        robust, standard = (ended.result(f"{way}[eps={eps}]")["mean"] for eps in (2, 0))
        assert max(robust["relative_end"], standard["relative_end"]) < 0.2
        if way == "from-images":  # what the robust network takes for the same looks more alike: the paper's claim
            assert robust["pixels_end"] < 0.95 * standard["pixels_end"]


def simulate(ended: Ended) -> None:
    told = json.loads((ended.files("report") / "report.json").read_text())
    equal, unequal, multiclass = told["simulations"]
    assert unequal["points"][1]["difference"]["high"] < -0.1  # adversarial training of unequal tasks helps
    assert abs(equal["points"][1]["difference"]["mean"]) < 0.01  # and of equal ones does not
    assert {row["nearer"] for row in multiclass["slopes"] if row["of"] != "excess"} == {"du"}


def component_visualization(ended: Ended) -> None:
    report = ended.report("figure1")
    assert len(report["table"]["rows"]) == 4
    for arm in report["architectures"]:
        for level in arm["levels"]:
            assert level["gain"] > 0
            assert level["slope"]["mean"] < -0.05  # smoother than the noise that it began as
            assert level["auroc"]["low"] <= level["auroc"]["mean"] <= level["auroc"]["high"]


def full_network(ended: Ended) -> None:
    fixed, full = ended.report("gap.fixed-feature"), ended.report("gap.full-network")
    assert (fixed["regime"], full["regime"]) == ("fixed_feature", "full_network")
    for frozen, tuned in zip(fixed["arms"][0]["levels"], full["arms"][0]["levels"], strict=True):
        assert tuned["accuracy"]["mean"] > max(frozen["accuracy"]["mean"], 0.8)
        for level in (frozen, tuned):
            assert level["robust"]["0"]["mean"] == pytest.approx(level["accuracy"]["mean"], abs=1e-5)
            assert level["robust"]["0.5"]["mean"] < level["robust"]["0"]["mean"]
    assert all(arm["random_init"] for report in (fixed, full) for arm in report["arms"])
    frozen, partly = (ended.result(f"blocks[unfrozen_blocks={k}]")["curves"][0]["test"] for k in (0, 2))
    assert len(frozen) == len(partly) == 4
    assert partly[-1] > frozen[-1] + 0.05


def export(ended: Ended) -> None:
    for form, name in (("folder", "images.zip"), ("npz", "dataset.npz"), ("webdataset", "train-000000.tar")):
        told, files = ended.result(f"export[format={form}]"), ended.files(f"export[format={form}]")
        assert told["images"] == {"train": 200, "test": 50}
        assert (files / name).is_file()
        assert '"eps": 1.5' in (files / "README.md").read_text()
    assert (ended.files("export[format=parquet]") / "data" / "train-00000-of-00001.parquet").is_file()


def probe(ended: Ended) -> None:
    sets = {eps: ended.result(f"usefulness[eps={eps}]")["sets"] for eps in (0, 1)}
    for eps, (d, antirobust, robust) in sets.items():
        assert [each["data"]["variant"] for each in (d, antirobust, robust)] == ["standard", "antirobust", "robust"]
        assert d["rho"] > d["levels"][0]["gamma"] > d["levels"][1]["gamma"]
        # What a robust network takes for the same is as useful to it; features turn fragile on the antirobust images.
        assert robust["rho"] > 0.7 * d["rho"] > 0 or eps == 0
        assert antirobust["levels"][0]["gamma"] < 0 < d["levels"][0]["gamma"]
    # The paper's section 3: what antirobust images offer, standard features use more than robust ones.
    assert sets[0][1]["rho"] > sets[1][1]["rho"]
    assert 0 < ended.result("cka")["cka"] < 1
    for eps in (0, 1):
        leep = ended.result(f"leep[eps={eps}]")
        assert leep["uninformed"] < leep["leep"] < 0
        assert ended.result(f"knn[eps={eps}]")["accuracy"]["1"] > 0.7
        assert ended.result(f"logme[eps={eps}]")["converged"]


def which_eps(ended: Ended) -> None:
    report = ended.report("which")
    whole, few = report["amounts"]
    assert (whole["images_per_class"], few["images_per_class"], few["n_train"]) == (None, 10, 50)
    for amount in (whole, few):
        best = max(amount["levels"], key=lambda row: row["accuracy"]["mean"])
        assert best["in_set"]
        assert {row["eps"] for row in amount["levels"] if row["usual"]} == {0.0, 3.0}
    assert min(row["accuracy"]["mean"] for row in whole["levels"]) > 0.6
    assert whole["levels"][1]["accuracy"]["mean"] > few["levels"][1]["accuracy"]["mean"] + 0.1


def adversarial_training(ended: Ended) -> None:
    standard = ended.result("attacked-standard")
    for method in ("pgd", "trades", "free", "fast"):
        trained, attacked = (ended.result(f"{job}[method={method}]") for job in ("robust", "attacked-robust"))
        assert attacked["warnings"] == standard["warnings"] == []
        assert attacked["clean"] > 0.85
        assert attacked["robust"]["0.8"] > standard["robust"]["0.8"] + 0.1
        for accuracies in attacked["attacks"].values():
            left = [accuracies[attack]["accuracy"] for attack in ("pgd", "apgd_ce", "apgd_dlr_t")]
            assert left == sorted(left, reverse=True)
        assert trained.get("overfitting") is None
        assert ("overfitting" in trained) == (method in ("free", "fast"))


def steganalysis(ended: Ended) -> None:
    report = ended.report("stego")
    (task,) = report["tasks"]
    assert task["reference"]["mean"] < 0.4  # the network that was trained for it can do it
    assert max(task["reference_p_null"]) < 0.001
    (verdict,) = report["verdicts"]
    # The representations of networks that learnt digits see nothing of it, robust or not: they are at chance.
    assert min(level["p_e"]["mean"] for level in task["levels"]) > 0.45
    assert verdict["verdict"] == "unusable"
    assert verdict["reason"].startswith("at chance at every level")
    assert 0.45 < task["change"]["train"]["rate"] < 0.55


def source_modification(ended: Ended) -> None:
    report = ended.report("digits")
    arms = {row["name"]: row for row in report["arms"]}
    robust = {name: row["source"]["robust"]["mean"] for name, row in arms.items() if row["source"]}
    # standard training on what a robust generator made leaves a more robust network than on what a standard one made
    assert robust["adversarial"] > robust["standard"]
    assert robust["robust"] > robust["nonrobust"]
    for name, variant in (("robust", "robust"), ("nonrobust", "nonrobust")):
        assert min(arms[name]["made"]["agreement"]) > 0.8
        assert ended.result(f"digits.data.{name}-0")["data"]["variant"] == variant
    costs = report["costs"]["arms"]
    assert costs["standard"]["source"] == costs["robust"]["source"] < costs["adversarial"]["source"]
    assert report["costs"]["break_even"] > 1
    assert len({cost["updates"] for cost in costs.values()}) == 1


CHECKS: dict[str, Callable[[Ended], None]] = {
    "adversarial_training": adversarial_training,
    "component_visualization": component_visualization,
    "export": export,
    "full_network": full_network,
    "inversion": inversion,
    "probe": probe,
    "simulate": simulate,
    "source_modification": source_modification,
    "which_eps": which_eps,
    "steganalysis": steganalysis,
}
"""What an example's results must say, by its file."""


def test_every_toy_has_its_check() -> None:
    assert {path.stem for path in TOYS} == CHECKS.keys()


@pytest.fixture(scope="module")
def shared(make_stack: Callable[..., Stack]) -> Iterator[Stack]:
    stack = make_stack()
    with servers.worker(stack.settings, stack.folder):
        yield stack


@pytest.mark.parametrize("path", TOYS, ids=[path.stem for path in TOYS])
def test_a_toy_example_ends_done_and_says_what_it_is_there_to_say(shared: Stack, path: Path, tmp_path: Path) -> None:
    spec = read_spec(path.read_bytes())
    plan = make_plan(spec, dict(BUILTIN))
    submission = experiments.submit(shared.engine, "default", spec.model_dump(mode="json"), plan)
    messaging.notify(shared.settings, submission.queues_ready)
    experiment = submission.experiment_id

    def over() -> str | None:
        state = experiments.get_state(shared.engine, "default", experiment)
        return None if state == "running" else state

    if until(over, 800) != "done":
        jobs = {job.name: job.state for job in experiments.list_nodes(shared.engine, experiment)}
        pytest.fail(f"{path.name}: { ({name: state for name, state in jobs.items() if state != 'done'}) }")
    CHECKS[path.stem](Ended(shared, experiment, tmp_path))
