"""Constructed sets: targets, balls and boxes, fooling, storing, resuming, and the controls."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from sklearn.datasets import load_digits

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.science import models
from robxfer_core.science.attacks.threat import distance
from robxfer_core.science.construct.perturb import SPLITS, draw_targets, move_at_random
from robxfer_core.science.data.artifact import Batch, Images, load, write_shards
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit

KEY = "0" * 64
EPS = 2.0
PERTURB = {
    "dataset": KEY,
    "generator": KEY,
    "threat": {"norm": "l2", "eps": EPS},
    "attack": {"steps": 10, "random_start": True},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Input:
    """Five classes of the 8x8 digits, every fifth image for testing."""
    folder = tmp_path_factory.mktemp("digits")
    pixels, labels = load_digits(n_class=5, return_X_y=True)
    x, y = np.rint(pixels.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8), labels
    test = np.arange(len(y)) % 5 == 0
    splits = {"train": [Batch(x[~test], y[~test])], "test": [Batch(x[test], y[test])]}
    write_shards(folder, name="digits", variant="standard", classes=list("01234"), splits=splits)
    return Input(folder, KEY)


@pytest.fixture(scope="module")
def generator(digits: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    params = {"dataset": KEY, "arch": {"name": "cnn", "width": 0.5}, "epochs": 5, "batch_size": 32}
    return computed("train", params, tmp_path_factory.mktemp("generator"), dataset=digits)


@pytest.fixture(scope="module")
def perturbed(digits: Input, generator: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    return computed(
        "perturb_dataset", PERTURB, tmp_path_factory.mktemp("perturbed"), dataset=digits, generator=generator
    )


def computed(kind: str, params: dict[str, Any], folder: Path, **inputs: Input) -> Input:
    run = LocalRun(folder)
    compute(kind, params, Inputs({name: [value] for name, value in inputs.items()}), run)
    return Input(run.out, KEY)


def result(made: Input) -> dict[str, Any]:
    return json.loads((made.path / "result.json").read_text())


def both(made: Input) -> list[tuple[str, Images]]:
    return [(split, load(made.path, split)) for split in SPLITS]


def test_targets_are_drawn_as_asked() -> None:
    y = torch.arange(20_000) % 7
    seeds = image_seeds(5, torch.arange(len(y)))
    uniform = draw_targets("uniform", y, 7, seeds)
    other = draw_targets("uniform_other", y, 7, seeds)
    assert torch.equal(draw_targets("shift", y, 7, seeds), (y + 1) % 7)
    pairs = torch.bincount(7 * y + uniform, minlength=49)
    assert chisquare(pairs.numpy()).pvalue > 0.01
    assert not (other == y).any()
    steps = torch.bincount((other - y) % 7, minlength=7)[1:]
    assert chisquare(steps.numpy()).pvalue > 0.01
    assert torch.equal(draw_targets("uniform", y[100:], 7, seeds[100:]), uniform[100:])
    assert set(draw_targets("uniform_other", y % 2, 2, seeds).sub(y % 2).abs().tolist()) == {1}


def test_the_set_fools_its_generator_inside_ball_and_box(digits: Input, generator: Input, perturbed: Input) -> None:
    told = result(perturbed)
    network = models.load(generator.path)
    for (split, moved), (_, images) in zip(both(perturbed), both(digits), strict=True):
        assert moved.variant == "antirobust"
        assert moved.x.dtype == torch.float16
        assert moved.original is not None
        assert torch.equal(moved.original, images.y)
        x = to_unit(moved.x)
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
        norms = distance("l2", x - to_unit(images.x))
        # float16 rounds a pixel by at most 2**-12, 64 of them by at most 2**-9 in l2
        assert float(norms.max()) <= EPS + 2**-9
        assert told["norm"][split] == pytest.approx({"mean": float(norms.mean()), "max": float(norms.max())}, rel=1e-4)
        with torch.no_grad():
            says = network(x).argmax(1)
        away = moved.y != images.y
        assert told["stored"]["fooling"][split] == pytest.approx(float((says == moved.y)[away].float().mean()))
        assert told["stored"]["fooling"][split] >= 0.9
        assert told["fooling"][split] >= 0.9
        # an image whose target is its own class is moved as well
        assert float(norms[~away].min()) > 0.1
        assert told["generator_accuracy"][split] > 0.9
    assert told["stored"]["bytes"] == sum(path.stat().st_size for path in perturbed.path.glob("*.npz"))
    assert told["targets"] == "uniform"
    assert told["eps"] == EPS


def test_shifted_targets_stored_as_bytes(digits: Input, generator: Input, tmp_path: Path) -> None:
    params = PERTURB | {"targets": "shift", "store": "uint8", "threat": {"norm": "linf", "eps": 0.2}}
    made = computed("perturb_dataset", params, tmp_path, dataset=digits, generator=generator)
    told = result(made)
    for (split, moved), (_, images) in zip(both(made), both(digits), strict=True):
        assert torch.equal(moved.y, (images.y + 1) % 5)
        assert moved.x.dtype == torch.uint8
        steps = (moved.x.int() - images.x.int()).abs().max()
        assert int(steps) == 51  # 0.2 * 255, to which truncation would not come from both sides
        assert told["norm"][split]["max"] == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    digits: Input, generator: Input, perturbed: Input, tmp_path: Path, stop_at: int
) -> None:
    inputs = Inputs({"dataset": [digits], "generator": [generator]})
    first = LocalRun(tmp_path / "first", stop_at=stop_at)
    with pytest.raises(Preempted):
        compute("perturb_dataset", PERTURB, inputs, first)
    again = LocalRun(tmp_path / "again", resume=first.saved)
    compute("perturb_dataset", PERTURB, inputs, again)
    names = sorted(path.name for path in perturbed.path.iterdir())
    assert sorted(path.name for path in again.out.iterdir()) == names
    for (_, one), (_, other) in zip(both(perturbed), both(Input(again.out, KEY)), strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    assert (again.out / "result.json").read_bytes() == (perturbed.path / "result.json").read_bytes()


def test_eps_is_raised_until_it_fools(digits: Input, generator: Input, tmp_path: Path) -> None:
    raising = PERTURB | {
        "threat": {"norm": "l2", "eps": 0.2},
        "attack": {"steps": 10, "step_size": 0.05, "random_start": False},
        "raise_eps": {"until": 0.9, "factor": 2.0, "limit": 5.0},
    }
    made = computed("perturb_dataset", raising, tmp_path / "whole", dataset=digits, generator=generator)
    told = result(made)
    tried = told["eps_tried"]
    assert [eps for eps, _ in tried] == pytest.approx([0.2 * 2**step for step in range(len(tried))])
    assert all(rate < 0.9 for _, rate in tried[:-1])
    assert tried[-1][1] >= 0.9
    assert told["eps"] == tried[-1][0] < 5
    # ten steps of the size as given would end at .5: the steps were raised with eps
    assert told["norm"]["train"]["mean"] > 0.9 * told["eps"]

    inputs = Inputs({"dataset": [digits], "generator": [generator]})
    first = LocalRun(tmp_path / "first", stop_at=2)
    with pytest.raises(Preempted):
        compute("perturb_dataset", raising, inputs, first)
    again = LocalRun(tmp_path / "again", resume=first.saved)
    compute("perturb_dataset", raising, inputs, again)
    assert (again.out / "result.json").read_bytes() == (made.path / "result.json").read_bytes()


def test_a_limit_ends_the_raising(digits: Input, generator: Input, tmp_path: Path) -> None:
    params = PERTURB | {"threat": {"eps": 0.01}, "raise_eps": {"factor": 4.0, "limit": 0.05}}
    told = result(computed("perturb_dataset", params, tmp_path, dataset=digits, generator=generator))
    assert [eps for eps, _ in told["eps_tried"]] == pytest.approx([0.01, 0.04, 0.05])
    assert told["eps"] == 0.05
    with pytest.raises(ValueError, match="cannot be raised"):
        computed("perturb_dataset", params | {"threat": {"eps": 0.0}}, tmp_path, dataset=digits, generator=generator)


def test_a_generator_of_other_classes_is_refused(digits: Input, generator: Input, tmp_path: Path) -> None:
    x = np.zeros((8, 1, 8, 8), np.uint8)
    y = np.arange(8) % 2
    write_shards(
        tmp_path, name="pair", variant="standard", classes=["a", "b"], splits={split: [Batch(x, y)] for split in SPLITS}
    )
    with pytest.raises(ValueError, match="5 classes, and pair has 2"):
        computed("perturb_dataset", PERTURB, tmp_path / "run", dataset=Input(tmp_path, KEY), generator=generator)


def test_relabel_only_leaves_every_pixel(digits: Input, perturbed: Input, tmp_path: Path) -> None:
    params = {"like": KEY, "dataset": KEY, "arm": "relabel_only"}
    made = computed("control_dataset", params, tmp_path, like=perturbed, dataset=digits)
    for (split, control), (_, images), (_, moved) in zip(both(made), both(digits), both(perturbed), strict=True):
        assert control.x.dtype == torch.uint8
        assert torch.equal(control.x, images.x)
        assert torch.equal(control.y, moved.y)
        assert control.original is not None
        assert torch.equal(control.original, images.y)
        assert control.variant == "relabel_only"
        assert result(made)["norm"][split] == {"mean": 0.0, "max": 0.0}


def test_noise_has_each_perturbations_norm(digits: Input, generator: Input, perturbed: Input, tmp_path: Path) -> None:
    params = {"like": KEY, "dataset": KEY, "arm": "noise"}
    made = computed("control_dataset", params, tmp_path, like=perturbed, dataset=digits)
    network = models.load(generator.path)
    for (split, control), (_, images), (_, moved) in zip(both(made), both(digits), both(perturbed), strict=True):
        x, clean = to_unit(control.x), to_unit(images.x)
        wanted = distance("l2", to_unit(moved.x) - clean)
        torch.testing.assert_close(distance("l2", x - clean), wanted, rtol=0, atol=2**-8)
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
        assert torch.equal(control.y, moved.y)
        assert result(made)["unreached"][split] == 0
        with torch.no_grad():
            away = control.y != images.y
            assert float((network(x).argmax(1) == control.y)[away].float().mean()) < 0.2


def test_controls_of_another_set_are_refused(digits: Input, perturbed: Input, tmp_path: Path) -> None:
    images = load(digits.path, "train")
    batch = Batch(images.x.numpy(), (images.y.numpy() + 1) % 5)
    write_shards(
        tmp_path, name="other", variant="standard", classes=list("01234"), splits={split: [batch] for split in SPLITS}
    )
    params = {"like": KEY, "dataset": KEY, "arm": "relabel_only"}
    with pytest.raises(ValueError, match="was not made from other"):
        computed("control_dataset", params, tmp_path / "run", like=perturbed, dataset=Input(tmp_path, KEY))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_random_moves_reach_their_length_or_say_so(norm: Any) -> None:
    # black, white, grey, and black with a length that no point of the box has
    x = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4), torch.full((3, 4, 4), 0.5), torch.zeros(3, 4, 4)])
    length = torch.tensor([0.4, 0.7, 0.0, 50.0])
    moved, reached = move_at_random(x, norm, length, image_seeds(0, torch.arange(4)))
    assert reached.tolist() == [True, True, True, False]
    torch.testing.assert_close(distance(norm, moved - x)[:3], length[:3], rtol=0, atol=1e-5)
    assert torch.equal(moved[3], torch.ones(3, 4, 4))
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    alone, _ = move_at_random(x[1:2], norm, length[1:2], image_seeds(0, torch.tensor([1])))
    assert torch.equal(alone[0], moved[1])
