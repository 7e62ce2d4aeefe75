"""Transfer that runs the network: which parameters move, batch norm, presets, resume, robust and per-class accuracy."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.transfer import Transfer
from robxfer_core.science import models
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.models import Network
from robxfer_core.science.training.train import calibrate
from robxfer_core.science.transfer import finetune as regimes
from robxfer_core.science.transfer.result import mean_per_class
from robxfer_core.spec.fields import Arch, ThreatModel

KEY = "0" * 64
GIVEN: dict[str, Any] = {"epochs": 2, "batch_size": 32, "tune_lr": []}
ATTACK = {"eps": [0.0, 0.5], "max_images": 40, "attack": {"steps": 3}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A network for 5 classes of grey 8x8 images, and a new task of 3 whose classes differ in brightness."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 97), ("test", 50)):
        y = rng.integers(0, 3, n)
        x = np.clip(60 + 50 * y[:, None, None, None] + rng.normal(0, 50, (n, 1, 8, 8)), 0, 255).astype(np.uint8)
        splits[split] = [Batch(x, y)]
    (folder / "data").mkdir()
    write_shards(folder / "data", name="dots", variant="standard", classes=list("abc"), splits=splits)
    built = models.build(Arch(name="resnet18_cifar", width=0.0625), 5, 1, 8, [0.5], [0.25], seed=0)
    calibrate(built, load(folder / "data", "train").x)  # else nothing of the images is left behind 17 layers
    (folder / "model").mkdir()
    models.save(built, folder / "model", threat=ThreatModel(eps=0.0), seed=0, epochs=1)
    model, data = Input(folder / "model", KEY), Input(folder / "data", KEY)
    run = LocalRun(folder / "features")
    compute("features", {"model": KEY, "dataset": KEY}, Inputs({"model": [model], "dataset": [data]}), run)
    features = Input(run.out, KEY)
    return Inputs({"model": [model], "dataset": [data], "clean_dataset": [data], "features": [features]})


def transferred(inputs: Inputs, run: LocalRun, *named: str, **params: Any) -> dict[str, Any]:
    names = named or ("model", "dataset")
    given = Inputs({name: inputs.all(name) for name in names})
    compute("transfer", GIVEN | dict.fromkeys(names, KEY) | params, given, run)
    return json.loads((run.out / "result.json").read_text())


def trained(inputs: Inputs, monkeypatch: pytest.MonkeyPatch, **params: Any) -> tuple[Network, Network]:
    """The source network, and what the transfer made of it."""
    kept: list[Network] = []
    starting = regimes.starting_network

    def keep(spec: Transfer, source: Network, classes: int) -> Network:
        kept.append(starting(spec, source, classes))
        return kept[-1]

    monkeypatch.setattr(regimes, "starting_network", keep)
    transferred(inputs, LocalRun(), **params)
    return models.load(inputs.one("model").path), kept[0]


def moved(before: Network, after: Network) -> set[str]:
    """Names of the body's parameters and statistics that are not the same to the bit."""
    start, end = before.body.state_dict(), after.body.state_dict()
    return {name for name in start if not torch.equal(start[name], end[name])}


@cache
def names(block: int) -> tuple[str, ...]:
    """Parameters and statistics of a block of the ResNet-18: two in each of four stages."""
    network = models.build(Arch(name="resnet18_cifar", width=0.0625), 5, 1, 8, [0.5], [0.25], seed=0)
    prefix = f"layer{1 + block // 2}.{block % 2}."
    return tuple(name for name in network.body.state_dict() if name.startswith(prefix))


def test_a_frozen_body_learns_as_heads_on_its_features(inputs: Inputs):
    """The same start, batches and steps, whether R(x) is stored or computed again every epoch."""
    params = {"epochs": 4, "sizes": [30], "images_per_class": 25, "lr": 0.1, "seed": 3, "tune_lr": [0.001, 0.1]}
    stored = transferred(inputs, LocalRun(), "features", tune_weight_decay=[0.0], **params)
    run = transferred(inputs, LocalRun(), tune_weight_decay=[0.0], **params)
    raw = [curve for curve in stored["curves"] if not curve["standardised"]]
    assert [curve["n"] for curve in run["curves"]] == [curve["n"] for curve in raw]
    for mine, theirs in zip(run["curves"], raw, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=2e-3)
        assert mine["test"] == pytest.approx(theirs["test"], abs=0.021)  # rounding may turn one image
        assert mine["mean_per_class"] == pytest.approx(theirs["mean_per_class"], abs=0.04)
    assert [row["lr"] for row in run["tuned"]["table"]] == [0.001, 0.1]
    assert run["tuned"]["best"] == stored["tuned"]["best"]


def test_the_full_network_with_a_body_that_stands_still_learns_as_a_head(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
):
    fixed = transferred(inputs, LocalRun(), lr=0.1)
    standing = transferred_with_still_body(inputs, monkeypatch)
    assert standing["curves"][0]["train_loss"] == pytest.approx(fixed["curves"][0]["train_loss"], rel=1e-3)
    monkeypatch.undo()
    moving = transferred(inputs, LocalRun(), lr=0.1, regime="full_network")
    assert moving["curves"][0]["train_loss"] != pytest.approx(fixed["curves"][0]["train_loss"], rel=1e-3)


def transferred_with_still_body(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Full-network transfer, its body's learning rate 0 and its batch norm in eval mode."""
    modes = regimes.set_modes

    def still(spec: Transfer, network: Network) -> None:
        modes(spec, network)
        network.body.eval()
        for parameter in network.body.parameters():
            parameter.register_hook(torch.zeros_like)

    monkeypatch.setattr(regimes, "set_modes", still)
    return transferred(inputs, LocalRun(), lr=0.1, weight_decay=1e-12, regime="full_network")


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_unfrozen_blocks_move_and_no_others(inputs: Inputs, monkeypatch: pytest.MonkeyPatch, blocks: int):
    before, after = trained(inputs, monkeypatch, unfrozen_blocks=blocks, lr=0.1)
    last = {name for block in range(8 - blocks, 8) for name in names(block)}
    assert moved(before, after) == last


def test_the_full_network_moves_all_of_the_body(inputs: Inputs, monkeypatch: pytest.MonkeyPatch):
    before, after = trained(inputs, monkeypatch, regime="full_network", lr=0.1)
    assert moved(before, after) == set(before.body.state_dict())


def test_the_preset_of_salman2020_drifts_in_batch_norm_and_in_nothing_else(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
):
    before, after = trained(inputs, monkeypatch, preset="salman2020")
    statistics = {name for name in before.body.state_dict() if "running" in name or "num_batches" in name}
    assert moved(before, after) == statistics
    assert after.mean.unique().tolist() == [0.0]
    assert after.std.unique().tolist() == [1.0]


def test_a_preset_only_sets_what_is_left_out():
    spec = Transfer.model_validate({"model": "m", "dataset": "d", "preset": "salman2020", "normalise": True})
    assert (spec.normalise, spec.frozen_batch_norm, spec.random_resized_crop) == (True, "train", True)
    said = spec.params()
    assert "preset" not in said
    assert Transfer.model_validate(said).params() == said
    explicit = {name: said[name] for name in ("frozen_batch_norm", "random_resized_crop", "flip", "center_crop")}
    again = Transfer.model_validate({"model": "m", "dataset": "d", **explicit})
    assert again.params() == said


RESUMED = {"sizes": [30], "tune_lr": [0.001, 0.05], "robust": ATTACK}
"""30 and 97 images in batches of 32, 2 epochs each; 2 attacked levels; 2 candidates and the better of them."""
FIELDS = ("model", "dataset", "clean_dataset")


@pytest.fixture(scope="module")
def uninterrupted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalRun]:
    runs = {how: LocalRun(tmp_path_factory.mktemp(how)) for how in REGIMES}
    for how, run in runs.items():
        transferred(inputs, run, *FIELDS, **REGIMES[how], **RESUMED)
    return runs


REGIMES: dict[str, dict[str, Any]] = {
    "salman2020": {"preset": "salman2020"},
    "full_network": {"regime": "full_network", "lr": 0.02},
}


@pytest.mark.parametrize(
    ("how", "stops"),
    [("salman2020", (3, 8)), ("full_network", (1, 4, 6)), ("full_network", (10, 3)), ("full_network", (21,))],
)
def test_an_interrupted_run_ends_byte_for_byte_as_one_that_was_not(
    inputs: Inputs, uninterrupted: dict[str, LocalRun], tmp_path: Path, how: str, stops: tuple[int, ...]
):
    """Stopped within trainings, between two, and between the levels of the attack."""
    whole, resume = uninterrupted[how], None
    for number, stop_at in enumerate(stops):
        stopped = LocalRun(tmp_path / f"stopped-{number}", resume=resume, stop_at=stop_at)
        with pytest.raises(Preempted):
            transferred(inputs, stopped, *FIELDS, **REGIMES[how], **RESUMED)
        resume = stopped.saved
    last = LocalRun(tmp_path / "last", resume=resume)
    transferred(inputs, last, *FIELDS, **REGIMES[how], **RESUMED)
    assert last.asked < whole.asked
    assert (last.out / "result.json").read_bytes() == (whole.out / "result.json").read_bytes()
    assert last.done == whole.done


@pytest.mark.parametrize("fields", [("model", "dataset"), ("features", "model", "dataset")])
def test_robust_accuracy_at_eps_0_is_the_clean_one_and_falls_with_eps(inputs: Inputs, fields: tuple[str, ...]):
    robust = ATTACK | {"eps": [0.0, 0.3, 3.0], "max_images": 50}
    told = transferred(inputs, LocalRun(), *fields, lr=0.1, epochs=8, robust=robust)
    found = told["robust"]["accuracy"]
    raw = next(curve for curve in told["curves"] if not curve["standardised"])
    assert found["0"] == pytest.approx(raw["test"][-1], abs=1e-6)
    assert found["0"] >= found["0.3"] >= found["3"]
    assert found["3"] < 0.1
    assert found["0"] > 0.45
    assert told["robust"]["n"] == 50


def test_clean_accuracy_is_measured_after_the_first_and_the_last_epoch(inputs: Inputs):
    told = transferred(inputs, LocalRun(), "model", "dataset", "clean_dataset", lr=0.1)
    (curve,) = told["curves"]
    assert (curve["clean_first"], curve["clean_last"]) == (curve["test"][0], curve["test"][-1])


def test_mean_per_class_weighs_classes_alike():
    y = torch.tensor([0, 0, 0, 0, 2, 2, 5])
    right = torch.tensor([True, True, True, False, True, False, False])
    assert mean_per_class(right, y) == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert mean_per_class(y >= 0, y) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"unfrozen_blocks": 9}, "unfrozen_blocks: got 9; takes at most 8"),
        ({"sizes": [98]}, "sizes: got 98; takes at most 97"),
        ({"lr": 100.0, "weight_decay": 10.0, "epochs": 20}, "diverged; takes smaller ones"),
    ],
)
def test_what_cannot_be_done_is_refused(inputs: Inputs, params: dict[str, Any], message: str):
    with pytest.raises((ValueError, FloatingPointError), match=message):
        transferred(inputs, LocalRun(), **params)


def test_robust_accuracy_of_features_takes_their_own_model(inputs: Inputs, tmp_path: Path):
    other = models.build(Arch(name="cnn", width=0.25), 5, 1, 8, [0.5], [0.25], seed=1)
    models.save(other, tmp_path, threat=ThreatModel(eps=0.0), seed=1, epochs=1)
    given = {name: inputs.all(name) for name in ("features", "dataset")} | {"model": [Input(tmp_path, KEY)]}
    params = GIVEN | {"features": KEY, "model": KEY, "dataset": KEY, "robust": ATTACK}
    with pytest.raises(ValueError, match="model: another than that of `features`"):
        compute("transfer", params, Inputs(given), LocalRun())
