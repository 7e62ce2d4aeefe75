"""Representations and the heads on them: shapes, curves, tuning that never sees the test split."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robxfer_core.jobs.compute import compute, result_json
from robxfer_core.jobs.features import FeaturesResult
from robxfer_core.jobs.results import TaskSummary
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.science import models
from robxfer_core.science.data.artifact import Batch, write_shards
from robxfer_core.science.data.subset import per_class, stratified_order
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.transfer.linear_heads import Head, LabelledFeatures, train_heads
from robxfer_core.spec.fields import Arch, Schedule, ThreatModel

from .cards import model_card

KEY = "0" * 64


def written(folder: Path, n: int = 200, m: int = 90, width: int = 6, classes: int = 3, seed: int = 0) -> Input:
    """Features of clusters that overlap, of uneven scale, as kind `features` leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    for split, count in (("train", n), ("test", m)):
        y = rng.permutation(np.arange(count) % classes)
        x = (centres[y] + 0.8 * rng.normal(size=(count, width))) * np.logspace(0, -1, width) + 1
        np.save(folder / f"{split}_x.npy", x.astype(np.float32))
        np.save(folder / f"{split}_y.npy", y)
    data = TaskSummary(name="clusters", variant="standard", n_train=n, n_test=m, classes=classes)
    (folder / "result.json").write_bytes(result_json(FeaturesResult(model=model_card(), data=data)))
    return Input(folder, KEY)


def transferred(features: Input, folder: Path, **params: Any) -> tuple[dict[str, Any], LocalRun]:
    run = LocalRun(folder)
    given = {"features": KEY, "epochs": 6, "batch_size": 32} | params
    compute("transfer", given, Inputs({"features": [features]}), run)
    return json.loads((run.out / "result.json").read_text()), run


def bits(text: str, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)


def test_curves_for_each_size_raw_and_standardised(tmp_path: Path) -> None:
    told, run = transferred(written(tmp_path / "f"), tmp_path / "r", sizes=[90, 30])
    assert [(curve["n"], curve["standardised"]) for curve in told["curves"]] == [
        (30, False), (30, True), (90, False), (90, True), (200, False), (200, True),
    ]  # fmt: skip
    for curve in told["curves"]:
        assert len(curve["test"]) == len(curve["train_loss"]) == 6
        for at, name in ((0, "correct_first"), (-1, "correct_last")):
            assert bits(curve[name], 90).mean() == pytest.approx(curve["test"][at], abs=1e-6)
    assert told["model"]["name"] == "made up"
    assert told["features_key"] == KEY
    whole = told["curves"][-2]
    assert [run.metrics["test_accuracy", epoch] for epoch in range(6)] == pytest.approx(whole["test"], abs=1e-6)
    for found in told["asymptote"].values():
        assert found["converged"]
        assert found["test"] > 0.6
    assert len(told["tuned"]["table"]) == 6
    assert run.done == (6 * 5, 6 * 5, "epochs")


def test_a_curve_is_that_of_its_stratified_subset(tmp_path: Path) -> None:
    features = written(tmp_path / "f")
    told, _ = transferred(features, tmp_path / "r", sizes=[30], seed=4, lr=0.1)

    def read(split: str) -> LabelledFeatures:
        x, y = (torch.from_numpy(np.load(features.path / f"{split}_{part}.npy")) for part in "xy")
        return LabelledFeatures(x, y)

    train, test = read("train"), read("test")
    order = torch.from_numpy(stratified_order(train.y.numpy(), derive(4, "subset")))
    assert torch.bincount(train.y[order[:30]]).tolist() == [10, 10, 10]
    (alone,) = train_heads(
        train,
        test,
        3,
        [Head(order[:30], 0.1, 5e-4, 4)],
        epochs=6,
        batch_size=32,
        schedule=Schedule(kind="step", milestones=[1 / 3, 2 / 3]),
    )
    assert told["curves"][0]["test"] == pytest.approx(alone.test, abs=1e-6)


def test_no_choice_sees_the_test_split(tmp_path: Path) -> None:
    features = written(tmp_path / "f")
    grid = {"tune_lr": [1e-4, 0.001, 0.1, 1.0], "tune_weight_decay": [0.0, 0.1]}
    told, _ = transferred(features, tmp_path / "r", **grid)
    labels = np.load(features.path / "test_y.npy")
    np.save(features.path / "test_y.npy", np.random.default_rng(1).permutation(labels))
    shuffled, _ = transferred(features, tmp_path / "s", **grid)
    assert shuffled["tuned"]["best"] == told["tuned"]["best"]
    assert shuffled["tuned"]["table"] == told["tuned"]["table"]
    assert shuffled["tuned"]["test"] < told["tuned"]["test"]
    for name in ("raw", "standardised"):
        assert shuffled["asymptote"][name]["l2"] == told["asymptote"][name]["l2"]
    best = max(told["tuned"]["table"], key=lambda row: row["validation"])
    assert told["tuned"]["best"] == {"lr": best["lr"], "weight_decay": best["weight_decay"]}


def test_two_classes_and_few_images(tmp_path: Path) -> None:
    told, _ = transferred(written(tmp_path / "f", n=10, m=4, classes=2), tmp_path / "r", sizes=[2])
    assert [curve["n"] for curve in told["curves"]] == [2, 2, 10, 10]


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    features = written(tmp_path / "f")
    runs = [transferred(features, tmp_path / name)[1] for name in "ab"]
    assert (runs[0].out / "result.json").read_bytes() == (runs[1].out / "result.json").read_bytes()


@pytest.mark.parametrize("stops", [(1, 1, 1), (7, 13, 2), (6, 25, 3), (29, 1), (33,), (35,), (38,)])
def test_an_interrupted_run_ends_byte_for_byte_as_one_that_was_not(tmp_path: Path, stops: tuple[int, ...]) -> None:
    """Stopped in each stage, and between two: 3 curves and 2 more of 6 epochs, 2 asymptotes of 4 penalties."""
    features = written(tmp_path / "f")
    params = {"features": KEY, "epochs": 6, "batch_size": 32, "sizes": [30, 90]}
    inputs = Inputs({"features": [features], "clean": [features]})

    def run(name: str, **how: Any) -> LocalRun:
        made = LocalRun(tmp_path / name, **how)
        compute("transfer", params | {"clean": KEY}, inputs, made)
        return made

    whole, resume = run("whole"), None
    for number, stop_at in enumerate(stops):
        with pytest.raises(Preempted):
            run(f"stopped-{number}", resume=resume, stop_at=stop_at)
        (resume,) = (tmp_path / f"stopped-{number}").glob("checkpoint-*")
    last = run("last", resume=resume)
    assert last.asked < whole.asked
    assert (last.out / "result.json").read_bytes() == (whole.out / "result.json").read_bytes()


def test_the_largest_usual_result_has_room(tmp_path: Path) -> None:
    features = written(tmp_path / "f", n=404, m=1000, classes=101)
    _, run = transferred(features, tmp_path / "r", epochs=150, sizes=[101, 202, 303], batch_size=404)
    assert (run.out / "result.json").stat().st_size <= 64 * 1024


MANY = [i / 1000 for i in range(1, 21)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": 1500, "tune_lr": MANY, "tune_weight_decay": MANY}, "400 pairs"),
        ({"sizes": [30, 201]}, "sizes: got 201; takes at most 200"),
        ({"epochs": 9000}, "has room for"),
        ({"validation": 0.001}, "leaves a part without images"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transferred(written(tmp_path / "f"), tmp_path / "r", **params)


def test_a_head_that_diverges_is_named(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="lr 100 and weight decay 10 on 200 images diverged"):
        transferred(written(tmp_path / "f"), tmp_path / "r", lr=100.0, weight_decay=10.0, epochs=40)


def test_a_candidate_that_diverges_is_not_chosen(tmp_path: Path) -> None:
    grid = {"tune_lr": [0.1, 100.0], "tune_weight_decay": [10.0], "epochs": 40}
    told, _ = transferred(written(tmp_path / "f"), tmp_path / "r", **grid)
    assert told["tuned"]["best"] == {"lr": 0.1, "weight_decay": 10.0}
    assert [row["validation"] > 0 for row in told["tuned"]["table"]] == [True, False]
    with pytest.raises(FloatingPointError, match="lr 100 and weight decay 10 on 200 images diverged"):
        transferred(written(tmp_path / "f"), tmp_path / "s", **grid | {"tune_lr": [100.0]})


def test_clean_features_are_those_of_the_same_model(tmp_path: Path) -> None:
    made, other = written(tmp_path / "f"), written(tmp_path / "g")
    another = FeaturesResult.read(other.path).model_copy(update={"model": model_card(name="another")})
    (other.path / "result.json").write_bytes(result_json(another))
    inputs = Inputs({"features": [made], "clean": [other]})
    with pytest.raises(ValueError, match="clean: features of another model"):
        compute("transfer", {"features": KEY, "clean": KEY}, inputs, LocalRun(tmp_path / "r"))


def test_features_that_are_not_finite_are_named(tmp_path: Path) -> None:
    features = written(tmp_path / "f")
    x = np.load(features.path / "test_x.npy")
    x[17, 2] = np.inf
    np.save(features.path / "test_x.npy", x)
    with pytest.raises(FloatingPointError, match="image 17 of the test split"):
        transferred(features, tmp_path / "r")


@pytest.fixture
def images(tmp_path: Path) -> Input:
    rng = np.random.default_rng(0)
    splits = {
        split: [Batch(rng.integers(0, 256, (n, 1, 8, 8), np.uint8), np.arange(n) % 3)]
        for split, n in (("train", 300), ("test", 7))
    }
    (tmp_path / "images").mkdir()
    write_shards(tmp_path / "images", name="dots", variant="standard", classes=list("abc"), splits=splits)
    return Input(tmp_path / "images", KEY)


def network(folder: Path, spoil: bool = False) -> Input:
    folder.mkdir()
    built = models.build(Arch(name="cnn", width=0.25), 5, 1, 8, [0.5], [0.25], seed=0)
    if spoil:
        with torch.no_grad():
            next(built.body.parameters()).fill_(torch.nan)
    models.save(built, folder, threat=ThreatModel(eps=0.0), seed=0, epochs=0)
    return Input(folder, KEY)


def test_features_are_the_representation(tmp_path: Path, images: Input) -> None:
    model = network(tmp_path / "model")
    run = LocalRun(tmp_path / "run")
    compute("features", {"model": KEY, "dataset": KEY}, Inputs({"model": [model], "dataset": [images]}), run)
    told = json.loads((run.out / "result.json").read_text())
    assert told["data"] == {"name": "dots", "variant": "standard", "n_train": 300, "n_test": 7, "classes": 3}
    assert told["model"]["epochs"] == 0
    loaded = models.load(model.path)
    for split, n in (("train", 300), ("test", 7)):
        x, y = np.load(run.out / f"{split}_x.npy"), np.load(run.out / f"{split}_y.npy")
        with np.load(images.path / f"{split}-00000.npz") as shard, torch.no_grad():
            expected = loaded.represent(to_unit(torch.from_numpy(shard["x"])))
        assert x.dtype == np.float32
        assert x.shape == (n, 16)
        torch.testing.assert_close(torch.from_numpy(x), expected, rtol=1e-4, atol=1e-5)
        assert y.tolist() == [place % 3 for place in range(n)]
    transferred(Input(run.out, KEY), tmp_path / "transfer")


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_interrupted_features_are_those_of_one_run(tmp_path: Path, images: Input, stop_at: int) -> None:
    inputs = Inputs({"model": [network(tmp_path / "model")], "dataset": [images]})
    params = {"model": KEY, "dataset": KEY}
    whole, stopped = LocalRun(tmp_path / "whole"), LocalRun(tmp_path / "stopped", stop_at=stop_at)
    compute("features", params, inputs, whole)
    with pytest.raises(Preempted):
        compute("features", params, inputs, stopped)
    last = LocalRun(tmp_path / "last", resume=stopped.saved)
    compute("features", params, inputs, last)
    assert last.asked == 3 - stop_at  # two batches of the 300 training images, one of the 7 test images
    for path in whole.out.iterdir():
        assert (last.out / path.name).read_bytes() == path.read_bytes()


def test_a_network_that_gives_nan_is_named(tmp_path: Path, images: Input) -> None:
    inputs = Inputs({"model": [network(tmp_path / "model", spoil=True)], "dataset": [images]})
    with pytest.raises(FloatingPointError, match="image 0 of the train split"):
        compute("features", {"model": KEY, "dataset": KEY}, inputs, LocalRun(tmp_path / "run"))


def test_clean_accuracy_is_that_of_the_same_heads_on_the_other_test_split(tmp_path: Path) -> None:
    made, other = written(tmp_path / "f"), written(tmp_path / "g", m=60)
    params = {"features": KEY, "clean": KEY, "epochs": 6, "batch_size": 32}
    told = []
    for name, clean in (("same", made), ("other", other)):
        run = LocalRun(tmp_path / name)
        compute("transfer", params, Inputs({"features": [made], "clean": [clean]}), run)
        told.append(json.loads((run.out / "result.json").read_text())["curves"])
    for same, beside in zip(*told, strict=True):
        assert same["clean_first"] == pytest.approx(same["test"][0], abs=1e-6)
        assert same["clean_last"] == pytest.approx(same["test"][-1], abs=1e-6)
        assert beside["test"] == same["test"]
        assert 0 <= beside["clean_last"] <= 1
    assert "clean_last" not in transferred(made, tmp_path / "without")[0]["curves"][0]


def test_few_shot_learns_from_so_many_images_of_each_class_and_chooses_among_them(tmp_path: Path) -> None:
    features = written(tmp_path / "f", n=120)
    few, _ = transferred(features, tmp_path / "r", images_per_class=10, seed=3)
    assert [curve["n"] for curve in few["curves"]] == [30, 30]
    labels = np.load(features.path / "train_y.npy")
    kept = per_class(labels, 10, derive(3, "images_per_class"))
    assert np.bincount(labels[kept]).tolist() == [10, 10, 10]
    assert set(per_class(labels, 4, derive(3, "images_per_class"))) < set(kept)
    # Nothing outside the draw is learnt from, or chosen by: without the others, all is the same.
    np.save(features.path / "train_x.npy", np.load(features.path / "train_x.npy")[kept])
    np.save(features.path / "train_y.npy", labels[kept])
    alone, _ = transferred(features, tmp_path / "s", seed=3)
    assert alone["curves"] == few["curves"]
    assert alone["tuned"] == few["tuned"]


def test_the_tuned_heads_outcomes_are_those_it_reports(tmp_path: Path) -> None:
    told, _ = transferred(written(tmp_path / "f"), tmp_path / "r")
    assert bits(told["tuned"]["correct"], 90).mean() == pytest.approx(told["tuned"]["test"], abs=1e-6)
