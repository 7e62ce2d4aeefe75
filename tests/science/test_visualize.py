"""Visualisations: ascent on components, inversion of representations, and the numbers beside the pictures."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.visualize import Visualize
from robxfer_core.science import models
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.models import Network
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.visualize.common import fake_relu, gaussian_seeds
from robxfer_core.science.visualize.component import climb_component
from robxfer_core.science.visualize.inversion import another
from robxfer_core.science.visualize.measures import auroc, kinship, likeness, meaning, spectral_slope

KEYS = {name: digit * 64 for name, digit in (("dataset", "0"), ("model", "1"), ("judge", "2"))}
COMPONENT = {**KEYS, "mode": "component", "steps": 30}
INVERSION = {"model": KEYS["model"], "dataset": KEYS["dataset"], "mode": "inversion", "images": 3, "steps": 200}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    """Five digits, a model and a judge of another architecture."""
    folder = tmp_path_factory.mktemp("digits")
    pixels, labels = load_digits(n_class=5, return_X_y=True)
    x = np.rint(pixels.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8).repeat(2, 2).repeat(2, 3)
    test = np.arange(len(labels)) % 4 == 0
    splits = {"train": [Batch(x[~test], labels[~test])], "test": [Batch(x[test], labels[test])]}
    write_shards(folder, name="digits", variant="standard", classes=list("01234"), splits=splits)
    made = {"dataset": Input(folder, KEYS["dataset"])}
    for name, width in (("model", 0.5), ("judge", 1.0)):
        params = {"dataset": KEYS["dataset"], "arch": {"name": "cnn", "width": width}, "epochs": 4, "batch_size": 32}
        run = LocalRun(tmp_path_factory.mktemp(name))
        compute("train", params, Inputs({"dataset": [made["dataset"]]}), run)
        made[name] = Input(run.out, KEYS[name])
    return made


def visualized(params: dict[str, Any], trained: dict[str, Input], run: LocalRun | None = None) -> Path:
    run = run or LocalRun()
    given = {name: [trained[name]] for name in ("dataset", "model", "judge") if params.get(name)}
    compute("visualize", params, Inputs(given), run)
    return run.out


def told(out: Path) -> dict[str, Any]:
    return json.loads((out / "result.json").read_text())


class Linear(nn.Module):
    """R(x) = A x before the ReLU that is given."""

    def __init__(self, weights: Tensor, bias: float = 0.0) -> None:
        super().__init__()
        self.weights, self.bias = weights, bias
        self.mean = torch.zeros(1)

    def represent(self, x: Tensor, relu: Any = lambda z: z) -> Tensor:
        return relu(x.flatten(1) @ self.weights.T + self.bias)


def test_a_linear_component_is_climbed_along_its_weights() -> None:
    weights = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    network = cast(Network, Linear(weights))
    x = torch.full((2, 3, 4, 4), 0.5)
    moved = climb_component(network, x, torch.tensor([2, 0]), 0.2)
    wanted = 0.2 * F.normalize(weights[[2, 0]], dim=1)
    torch.testing.assert_close((moved - x).flatten(1), wanted)
    for _ in range(400):
        moved = climb_component(network, moved, torch.tensor([2, 0]), 1.0)
    corner = (weights[[2, 0]] > 0).float()  # what maximises a linear form in the box
    assert float((moved.flatten(1) - corner).abs().max()) < 1e-6


def test_a_dead_unit_gets_a_gradient_through_the_fake_relu_alone() -> None:
    z = torch.tensor([-2.0, 0.5], requires_grad=True)
    assert torch.equal(fake_relu(z), F.relu(z))
    assert torch.autograd.grad(fake_relu(z).sum(), z)[0].tolist() == [1.0, 1.0]
    assert torch.autograd.grad(F.relu(z).sum(), z)[0].tolist() == [0.0, 1.0]
    dead = cast(Network, Linear(torch.ones(1, 12), bias=-100.0))
    x = torch.full((1, 3, 2, 2), 0.2)
    assert float(dead.represent(x, F.relu)) == 0
    assert float((climb_component(dead, x, torch.tensor([0]), 0.1) - x).norm()) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("arch", ["cnn", "resnet18_cifar", "resnet50"])
def test_every_architecture_lets_its_last_relu_be_replaced(arch: Any) -> None:
    network = models.build(
        cast(Any, models.files.Arch(name=arch, width=0.125)), 3, 3, 32, [0.5] * 3, [0.2] * 3, seed=0
    ).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, faked = network.represent(x), network.represent(x, fake_relu)
        linear = network.represent(x, lambda z: z)
    assert torch.equal(plain, faked)
    assert float((linear - plain).max()) <= 0
    assert float(linear.min()) < 0


def test_the_spectral_slope_is_the_exponent_of_the_power() -> None:
    noise = torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(spectral_slope(noise).mean()) == pytest.approx(0.0, abs=0.05)
    along = torch.fft.fftfreq(64, 1 / 64, dtype=torch.float64)
    radius = torch.hypot(along[:, None], along[None, :]).clamp_min(1)
    for exponent in (-1.0, -2.0, -3.0):
        shaped = torch.fft.ifft2(torch.fft.fft2(noise) * radius ** (exponent / 2)).real
        found = spectral_slope(0.5 + shaped)
        assert float(found.mean()) == pytest.approx(exponent, abs=0.06)
        torch.testing.assert_close(spectral_slope(3 * shaped[:2]), found[:2])  # neither contrast nor brightness


def test_auroc_of_what_is_planted_and_of_chance() -> None:
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0, 1.0])) == 0.5
    assert auroc(np.array([2.0]), np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx((1 + 0.5) / 4)

    generator = torch.Generator().manual_seed(0)
    centre = 5 * F.normalize(torch.randn(32, generator=generator), dim=0)
    real = torch.randn(200, 32, generator=generator) * 0.3
    top = torch.arange(9)
    real[top] += centre
    near = likeness(100 * centre[None] + torch.randn(1, 32, generator=generator), real)  # however long it is
    assert meaning(near[0].numpy(), top.numpy()) == 1
    assert meaning(-near[0].numpy(), top.numpy()) == 0
    assert kinship(real, top) > 0.99
    elsewhere = likeness(torch.randn(400, 32, generator=generator), real[9:])
    by_chance = [meaning(row.numpy(), top.numpy()) for row in elsewhere]
    assert float(np.mean(by_chance)) == pytest.approx(0.5, abs=0.1)
    assert kinship(real[9:], top) == pytest.approx(0.5, abs=0.15)


def test_seeds_belong_to_their_component() -> None:
    both = gaussian_seeds(3, torch.tensor([5, 9]), (3, 32, 32))
    assert torch.equal(gaussian_seeds(3, torch.tensor([9]), (3, 32, 32))[0], both[1])
    assert float(both.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(both.std()) == pytest.approx(1 / 20, abs=0.003)
    assert not torch.equal(gaussian_seeds(4, torch.tensor([5]), (3, 32, 32))[0], both[0])


def test_components_rise_inside_the_box_and_are_measured(trained: dict[str, Input]) -> None:
    out = visualized(COMPONENT | {"count": 6}, trained)
    result = told(out)
    with np.load(out / "visualization.npz") as arrays:
        kept = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    assert result["step_size"] == 16 / 224
    assert 0 <= float(kept["found"].min()) <= float(kept["found"].max()) <= 1
    network = models.load(trained["model"].path)
    test = load(trained["dataset"].path, "test")
    with evaluating(network), torch.no_grad():
        real = network.represent(to_unit(test.x))
        found = network.represent(kept["found"].float())
    for at, row in enumerate(result["components"]):
        assert row["component"] == kept["components"][at]
        assert row["end"] > 1.1 * row["start"]
        assert row["end"] == pytest.approx(float(found[at, row["component"]]), rel=0.02)  # float16 pixels
        largest = real[:, row["component"]].topk(9)
        assert row["top"] == pytest.approx(float(largest.values.mean()), rel=1e-5)
        assert set(kept["top_places"][at].tolist()) == set(largest.indices.tolist())
        assert torch.equal(kept["top"][at], test.x[kept["top_places"][at]])
        assert row["slope"] == pytest.approx(float(spectral_slope(kept["found"][at : at + 1])), abs=0.02)
    judged = [row for row in result["components"] if row["alive"]]
    assert len(judged) >= 3
    assert all(0 <= row["auroc"] <= 1 for row in judged)
    # a judge that knows the digits finds more of what drives a component in its image than in the noise it began as
    assert np.mean([row["auroc_top"] for row in judged]) > 0.6

    alone = int(kept["components"][2])
    single = visualized(COMPONENT | {"components": [alone]}, trained)
    with np.load(single / "visualization.npz") as arrays:
        np.testing.assert_allclose(arrays["found"][0], kept["found"][2].numpy(), atol=2e-3)


@pytest.mark.parametrize(("params", "stop_at"), [(COMPONENT | {"count": 6}, 12), (INVERSION | {"steps": 35}, 3)])
def test_an_interrupted_visualisation_ends_as_an_undisturbed_one(
    trained: dict[str, Input], params: dict[str, Any], stop_at: int
) -> None:
    whole, first = visualized(params, trained), LocalRun(stop_at=stop_at)
    with pytest.raises(Preempted):
        visualized(params, trained, first)
    again = visualized(params, trained, LocalRun(resume=first.saved))
    for name in ("result.json", "visualization.npz", "visualization.png"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("start", ["noise", "image"])
def test_inversion_comes_nearer_to_its_target(trained: dict[str, Input], start: str) -> None:
    out = visualized(INVERSION | {"start": start}, trained)
    result = told(out)
    test = load(trained["dataset"].path, "test")
    network = models.load(trained["model"].path)
    with np.load(out / "visualization.npz") as arrays:
        found, target = torch.from_numpy(arrays["found"]).float(), to_unit(torch.from_numpy(arrays["target"]))
    assert torch.equal(target, to_unit(test.x[:3]))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    with torch.no_grad():
        goal = network.represent(target)
        far = (network.represent(found) - goal).norm(dim=1) / goal.norm(dim=1)
    for at, row in enumerate(result["images"]):
        assert row["relative_end"] < 0.25 * row["relative_start"]
        assert row["relative_end"] == pytest.approx(float(far[at]), abs=0.01)
        assert row["pixels_end"] == pytest.approx(float((found - target)[at].norm()), abs=0.02)


def test_a_start_is_of_another_class() -> None:
    y = torch.tensor([0, 1, 0, 0, 1])
    assert [another(y, at, 2) for at in range(2)] == [4, 3]
    with pytest.raises(ValueError, match="one class"):
        another(torch.zeros(4, dtype=torch.int64), 1, 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"mode": "component"}, "a judge"),
        ({"mode": "component", "judge": "c", "start": "image"}, "start with mode inversion only"),
        ({"mode": "inversion", "judge": "c", "count": 3}, "judge, count with mode component only"),
        ({"mode": "component", "judge": "c", "count": 3, "components": [1]}, "not both"),
        ({"mode": "component", "judge": "c", "components": [1, 1]}, "without repetition"),
        ({"mode": "component", "judge": "c", "components": [-1]}, "greater than or equal to 0"),
        ({"mode": "both"}, "'component' or 'inversion'"),
    ],
)
def test_parameters_of_the_other_mode_are_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Visualize.model_validate({"model": "a", "dataset": "b", **more})


def test_what_cannot_be_visualised_is_refused(trained: dict[str, Input]) -> None:
    with pytest.raises(ValueError, match="takes 0 to 31"):
        visualized(COMPONENT | {"components": [32]}, trained)
    with pytest.raises(ValueError, match="takes at most 32"):
        visualized(COMPONENT | {"count": 33}, trained)
    with pytest.raises(ValueError, match="takes another one"):
        visualized(COMPONENT, {**trained, "judge": trained["model"]})
