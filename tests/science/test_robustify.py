"""Robust and non-robust data sets: what they share with the originals, seed images, labels, storing, resuming."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.robustify_dataset import RobustifyDataset
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.science import models
from robxfer_core.science.construct.robustify import SeedImages, draw
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.support.pixels import to_unit

KEY = "0" * 64
SEEDS = "1" * 64
PARAMS = {"dataset": KEY, "generator": KEY, "steps": 25, "step_size": 0.2, "seed": 3}


def written(folder: Path, name: str, x: np.ndarray, y: np.ndarray, classes: int, key: str = KEY) -> Input:
    folder.mkdir(exist_ok=True)
    test = np.arange(len(y)) % 5 == 0
    splits = {"train": [Batch(x[~test], y[~test])], "test": [Batch(x[test], y[test])]}
    write_shards(folder, name=name, variant="standard", classes=[str(k) for k in range(classes)], splits=splits)
    return Input(folder, key)


def pixels() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return np.rint(x.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8), y


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Input:
    """Five classes of the 8x8 digits."""
    x, y = pixels()
    kept = np.flatnonzero(y < 5)[:500]
    return written(tmp_path_factory.mktemp("digits"), "digits", x[kept], y[kept], 5)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Input:
    """The other five, to begin at."""
    x, y = pixels()
    kept = np.flatnonzero(y >= 5)[:200]
    return written(tmp_path_factory.mktemp("others"), "others", x[kept], y[kept] - 5, 5, SEEDS)


def trained(folder: Path, digits: Input, eps: float) -> Input:
    params = {
        "dataset": KEY,
        "arch": {"name": "cnn", "width": 0.5},
        "epochs": 6,
        "batch_size": 32,
        "threat": {"eps": eps},
        "attack": {"steps": 2},
        "holdout": 0.0,
    }
    return computed("train", params, folder, dataset=digits)


@pytest.fixture(scope="module")
def standard(digits: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    return trained(tmp_path_factory.mktemp("standard"), digits, 0.0)


@pytest.fixture(scope="module")
def made(digits: Input, others: Input, standard: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    folder = tmp_path_factory.mktemp("made")
    params = PARAMS | {"seed_data": SEEDS}
    return computed("robustify_dataset", params, folder, dataset=digits, generator=standard, seed_data=others)


def computed(kind: str, params: dict[str, Any], folder: Path, **inputs: Input) -> Input:
    run = LocalRun(folder)
    compute(kind, params, Inputs({name: [value] for name, value in inputs.items()}), run)
    return Input(run.out, KEY)


def result(made: Input) -> dict[str, Any]:
    return json.loads((made.path / "result.json").read_text())


def test_the_generator_sees_the_originals_in_images_made_of_others(
    digits: Input, others: Input, standard: Input, made: Input
) -> None:
    told, network = result(made), models.load(standard.path)
    images, moved, begun = load(digits.path, "train"), load(made.path, "train"), load(others.path, "train")
    assert moved.variant == told["data"]["variant"] == "nonrobust"
    assert torch.equal(moved.y, images.y)
    x = to_unit(moved.x)
    with torch.no_grad():
        target, near = network.represent(to_unit(images.x)), network.represent(x)
        says, now = network(to_unit(images.x)).argmax(1), network(x).argmax(1)
    away = (near - target).norm(dim=1) / target.norm(dim=1)
    distances = told["relative_distance"]
    assert distances["stored"]["mean"] == pytest.approx(float(away.mean()), rel=1e-4)
    assert distances["reached"]["mean"] < 0.5 * distances["start"]["mean"]
    assert distances["reached"]["q10"] <= distances["reached"]["median"] <= distances["reached"]["max"]
    assert told["agreement"] == pytest.approx(float((says == now).float().mean()))
    assert told["generator_accuracy"]["made"] == pytest.approx(float((now == images.y).float().mean()))
    assert told["agreement"] > 0.95
    # to the eye they are what they began as: seed images of no class of the set
    start = to_unit(begun.x)[draw(torch.arange(len(x)), len(begun.y), seed_of(others, digits, 3), others=False)]
    from_start, from_original = ((x - other).flatten(1).norm(dim=1) for other in (start, to_unit(images.x)))
    assert float((from_start < from_original).float().mean()) > 0.8


def seed_of(others: Input, digits: Input, seed: int) -> int:
    spec = RobustifyDataset.model_validate(PARAMS | {"seed_data": SEEDS, "seed": seed})
    return SeedImages.of(spec, Inputs({"dataset": [digits], "seed_data": [others]}), load(digits.path, "train")).seed


def test_the_test_split_is_kept(digits: Input, standard: Input, made: Input, tmp_path: Path) -> None:
    before, after = load(digits.path, "test"), load(made.path, "test")
    assert torch.equal(after.y, before.y)
    assert float((to_unit(after.x) - to_unit(before.x)).abs().max()) <= 2**-12
    params = PARAMS | {"steps": 1, "store": "uint8"}
    stored = computed("robustify_dataset", params, tmp_path, dataset=digits, generator=standard)
    assert torch.equal(load(stored.path, "test").x, before.x)
    assert load(stored.path, "train").x.dtype == torch.uint8
    cost = result(stored)["cost"]
    assert cost["gradient_steps"] == len(load(digits.path, "train").y)
    assert cost["flops"] > 1e5 * cost["gradient_steps"]


def test_seed_images_are_uniform_and_of_their_place_alone() -> None:
    places = torch.arange(70_000)
    drawn = draw(places, 7, 5, others=False)
    assert torch.equal(draw(places[300:400], 7, 5, others=False), drawn[300:400])
    assert not torch.equal(draw(places, 7, 6, others=False), drawn)
    share = torch.bincount(drawn, minlength=7) / len(places)
    assert float((share - 1 / 7).abs().max()) < 0.01
    other = torch.stack([draw(torch.tensor([place]), 7, seed, others=True) for place in (0, 6) for seed in range(50)])
    assert set(other[:50].flatten().tolist()) == set(range(1, 7))
    assert set(other[50:].flatten().tolist()) == set(range(6))


def test_an_adversarial_generator_makes_the_robust_variant_from_the_set_itself(digits: Input, tmp_path: Path) -> None:
    robust = trained(tmp_path / "generator", digits, 1.0)
    made = computed("robustify_dataset", PARAMS, tmp_path / "made", dataset=digits, generator=robust)
    told = result(made)
    assert load(made.path, "train").variant == told["data"]["variant"] == "robust"
    assert told["seed_data"] == {"name": "digits", "n": 400, "same": True}


@pytest.mark.parametrize("stop_at", [2, 3, 5])  # within the first part, at its end, within the second
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    digits: Input, others: Input, standard: Input, made: Input, tmp_path: Path, stop_at: int
) -> None:
    inputs = Inputs({"dataset": [digits], "generator": [standard], "seed_data": [others]})
    params = PARAMS | {"seed_data": SEEDS}
    first = LocalRun(tmp_path / "first", stop_at=stop_at)
    with pytest.raises(Preempted):
        compute("robustify_dataset", params, inputs, first)
    again = LocalRun(tmp_path / "again", resume=first.saved)
    compute("robustify_dataset", params, inputs, again)
    assert again.asked == 6 - stop_at  # what was done is not done again
    assert torch.equal(load(again.out, "train").x, load(made.path, "train").x)
    assert (again.out / "result.json").read_bytes() == (made.path / "result.json").read_bytes()


def test_what_does_not_fit_is_refused(digits: Input, others: Input, standard: Input, tmp_path: Path) -> None:
    x, y = pixels()
    large = written(tmp_path / "large", "large", x[:20].repeat(2, 2).repeat(2, 3), y[:20], 10, SEEDS)
    colour = written(tmp_path / "colour", "colour", x[:20].repeat(3, 1), y[:20], 10, SEEDS)
    for seeds in (large, colour):
        with pytest.raises(ValueError, match="seed_data: images"):
            computed(
                "robustify_dataset",
                PARAMS | {"seed_data": SEEDS},
                tmp_path / "run",
                dataset=digits,
                generator=standard,
                seed_data=seeds,
            )
    with pytest.raises(ValueError, match="5 classes, and large has 10"):
        computed("robustify_dataset", PARAMS, tmp_path / "run", dataset=large, generator=standard)
