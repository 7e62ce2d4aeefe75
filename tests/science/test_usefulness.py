"""rho and gamma of planted features, against their closed forms; the same features on other sets; resuming."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from pydantic import ValidationError

from robxfer_core.jobs.compute import compute, result_json
from robxfer_core.jobs.probe import MOST, Probe
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.science import models
from robxfer_core.science.data.artifact import Batch, write_shards
from robxfer_core.science.models import Network
from robxfer_core.science.probe.estimate import Standard, mean_usefulness, standardise, usefulness
from robxfer_core.science.probe.summary import MeasuredSet, headline, summarise, table
from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Arch, ThreatModel

KEY = "0" * 64
N = 800
GAP, NOISE = 0.05, 0.1
"""A planted pixel is .5 +- GAP by class, and normal noise of this deviation."""
SPREAD = NOISE / 2  # of a component, the mean of four such pixels
ONE_STEP = {"steps": 1, "step_size": 1.0, "random_start": False}
"""Reaches the worst point of a linear function, from wherever in the ball."""
RHO = GAP / (GAP**2 + SPREAD**2) ** 0.5


def linear_network() -> Network:
    """8x8 grey images to 16 components. The first two are the means of four pixels each, (0,0), (0,4), (4,0), (4,4) and
    the four to the right of these; the others are constant. Biases keep every ReLU open."""
    network = models.build(Arch(name="cnn", width=0.25), 2, 1, 8, [0.0], [1.0], 0)
    with torch.no_grad():
        for name, parameter in network.body.named_parameters():
            parameter.fill_(1.0 if name.endswith("bn1.weight") else 0.0)
        for block, (kernel, bias) in enumerate(_convolutions(network)):
            if block == 0:
                kernel[0, 0, 1, 1] = kernel[1, 0, 1, 2] = 1.0
                bias.fill_(2.0)
            else:
                kernel[0, 0, 1, 1] = kernel[1, 1, 1, 1] = 1.0
    return network.eval()


def _convolutions(network: Network) -> list[tuple[torch.Tensor, torch.Tensor]]:
    named = dict(network.body.named_parameters())
    return [(named[n], named[n.replace("conv1", "bn1").replace("weight", "bias")]) for n in named if "conv1" in n]


def planted(folder: Path, *, flip: bool = False, seed: int = 0, n: int = N) -> Input:
    """Images of whose class the first component speaks and the second does not. `flip` swaps the labels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = 0.5 + NOISE * rng.standard_normal((n, 1, 8, 8)).clip(-3, 3)
    x[:, :, ::4, ::4] += GAP * (2 * y - 1)[:, None, None, None]
    batch = Batch(x.astype(np.float16), 1 - y if flip else y, y)
    variant = "antirobust" if flip else "relabel_only"
    write_shards(
        folder, name="planted", variant=variant, classes=["a", "b"], splits={"train": [batch], "test": [batch]}
    )
    return Input(folder, KEY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    folder = tmp_path_factory.mktemp("usefulness")
    (folder / "linear").mkdir()
    models.save(linear_network(), folder / "linear", threat=ThreatModel(eps=0.0), seed=0, epochs=0)
    (folder / "random").mkdir()
    network = models.build(Arch(name="cnn", width=0.25), 2, 1, 8, [0.5], [0.1], 1)
    models.save(network, folder / "random", threat=ThreatModel(eps=0.0), seed=1, epochs=0)
    return {
        "linear": Input(folder / "linear", KEY),
        "random": Input(folder / "random", KEY),
        "data": planted(folder / "data"),
        "flipped": planted(folder / "flipped", flip=True),
    }


def probed(made: dict[str, Input], model: str, run: LocalRun, **params: Any) -> dict[str, Any]:
    given = {"measure": "usefulness", "model": KEY, "dataset": KEY, "also": [KEY], **params}
    inputs = Inputs({"model": [made[model]], "dataset": [made["data"]], "also.0": [made["flipped"]]})
    compute("probe", given, inputs, run)
    return json.loads((run.out / "result.json").read_text())


def rows(run: LocalRun, **wanted: Any) -> list[dict[str, Any]]:
    table = parquet.read_table(run.out / "usefulness.parquet").to_pylist()
    return [row for row in table if all(row[name] == value for name, value in wanted.items())]


@pytest.mark.parametrize(("norm", "dual"), [("l2", 0.5), ("linf", 1.0)])
def test_a_planted_linear_feature_has_the_usefulness_of_the_closed_form(
    made: dict[str, Input], norm: str, dual: float
) -> None:
    assert pytest.approx(0.7071, abs=1e-4) == RHO
    eps = [0.02, 0.05] if norm == "linf" else [0.05, 0.15]
    run = LocalRun()
    result = probed(made, "linear", run, norm=norm, eps=eps, attack=ONE_STEP, max_images=200)
    scale = (GAP**2 + SPREAD**2) ** 0.5
    for row in rows(run, set=0, component=0):
        assert row["rho"] == pytest.approx(RHO, abs=0.15)  # three standard errors of 200 images
        # PGD finds the closed form: no pixel comes to the box's faces, so nothing is lost but float16's rounding.
        assert row["gamma"] == pytest.approx(row["first_order"], abs=2e-3)
        # Whatever rho is on these images, a linear function falls by eps times the dual norm of its weights.
        assert row["rho"] - row["gamma"] == pytest.approx(row["eps"] * dual / scale, rel=0.06)
        assert row["rho_low"] < RHO < row["rho_high"]
        assert row["ratio"] == pytest.approx(row["gamma"] / row["rho"])
    unplanted = rows(run, set=0, component=1)
    assert all(abs(row["rho"]) < 0.15 and row["gamma"] < row["rho"] for row in unplanted)
    constant = rows(run, set=0, component=5)
    assert all(row["rho"] is None and row["gamma"] is None for row in constant)
    assert result["components"] == {"of": 16, "measured": 16, "constant": 14}
    assert result["sets"][0]["features"] == 4  # two components, each for two classes
    assert result["sets"][0]["useful"]["low"] == 2  # those of the planted component


def test_the_sign_comes_from_d_so_a_feature_turns_against_swapped_labels(made: dict[str, Input]) -> None:
    run = LocalRun()
    result = probed(made, "linear", run, eps=[0.05], attack=ONE_STEP, max_images=60)
    here, there = (rows(run, set=index, component=0)[0]["rho"] for index in (0, 1))
    assert there == pytest.approx(-here)  # the same images, at the same places
    group = result["sets"][1]["levels"][0]["by_group_on_d"]["robustly_useful"]
    assert group["rho"]["high"] < 0
    assert (run.out / "figure_usefulness.svg").is_file()
    assert result["table"]["rows"][1][0] == "planted (antirobust)"


def test_gamma_falls_with_eps_from_rho_on_whatever_the_network_is(made: dict[str, Input]) -> None:
    run = LocalRun()
    attack = {"steps": 4, "random_start": True, "restarts": 2}
    probed(made, "random", run, eps=[1.0, 1e-6, 0.02], attack=attack, max_images=40, components=5)
    by_eps = {eps: rows(run, eps=eps) for eps in (1e-6, 0.02, 1.0)}
    assert len(by_eps[0.02]) == 5 * 2 * 2
    for tiny, small, large in zip(*by_eps.values(), strict=True):
        if tiny["rho"] is None:
            continue
        assert tiny["gamma"] == pytest.approx(tiny["rho"], abs=1e-3)
        assert tiny["rho"] >= tiny["gamma"] >= small["gamma"] >= large["gamma"]
        # Within so little the network bends little.
        assert small["gamma"] == pytest.approx(small["first_order"], abs=0.05)


def test_an_interrupted_run_ends_as_if_it_had_not_been(made: dict[str, Input]) -> None:
    params = {"eps": [0.1], "attack": {"steps": 2, "random_start": True}, "max_images": 60, "components": 6}
    whole = LocalRun()
    expected = probed(made, "random", whole, **params)
    stopped = LocalRun(stop_at=2)
    with pytest.raises(Preempted):
        probed(made, "random", stopped, **params)
    again = LocalRun(resume=stopped.saved)
    assert probed(made, "random", again, **params) == expected
    assert rows(again) == rows(whole)
    assert again.asked == whole.asked - 2


def test_the_largest_result_has_room() -> None:
    rng = np.random.default_rng(0)
    sets, eps, n, components = 5, 10, 40, 64
    assert sets * eps == MOST
    y = np.arange(n) % 4
    standard = standardise(rng.standard_normal((n, components)), y, 4)
    value = rng.standard_normal((n, components)) + y[:, None]
    levels = [0.1234567 * (level + 1) for level in range(eps)]
    low, high = (np.stack([value + sign * level for level in levels]) for sign in (-0.1, 0.1))
    part = MeasuredSet("n" * 60, "relabel_only", KEY, y, value, np.full_like(value, 0.1), low, high)
    summaries = summarise([part] * sets, standard, levels)
    result = {
        "sets": [each.model_dump() for each in summaries],
        "headline": headline(summaries, levels, "linf"),
        "table": table(summaries, levels).model_dump(),
    }
    assert len(result_json(result)) < 56 * 1024
    with pytest.raises(ValidationError, match="60 parts"):
        Probe(measure="usefulness", model=Ref(KEY), dataset=Ref(KEY), also=[Ref(KEY)] * 5, eps=levels)


def test_features_of_noise_are_seldom_called_useful() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 400)
    f = rng.standard_normal((400, 300)) * 3 + 50
    unit = Standard(np.where(rng.random((4, 300)) < 0.5, -1.0, 1.0), np.full((4, 300), 3.0))
    found = usefulness(f, f, y, unit)
    low, high = found.bounds()
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.95, abs=0.02)
    assert (found.bounds(2 * low.size)[0] > 0).sum() <= 1


def test_rho_is_the_correlation_with_the_class_whatever_the_units() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(3000) % 3
    f = rng.standard_normal((3000, 2)) + np.stack([y == 0, y == 2], 1) * 1.5
    standard = standardise(f, y, 3)
    assert standard.sign[:, 0].tolist() == [1, -1, -1]
    found = usefulness(f, f, y, standard)
    other = usefulness(f * -7 + 30, f * -7 + 30, y, standardise(f * -7 + 30, y, 3))
    np.testing.assert_allclose(found.value, other.value)
    # Class 0 against the rest, both weighing a half: a correlation with weights.
    weight = np.where(y == 0, 0.5 / 1000, 0.5 / 2000)
    sign = np.where(y == 0, 1.0, -1.0)
    centred = f[:, 0] - weight @ f[:, 0]
    expected = (weight * sign) @ centred / np.sqrt(weight @ centred**2)
    assert found.value[0, 0] == pytest.approx(expected)
    # The mean over features is the mean of the features, and its error is not that of independent ones.
    chosen = np.ones((3, 2), bool)
    value, error = mean_usefulness(f, y, standard, chosen)
    assert value == pytest.approx(found.value.mean())
    alone = mean_usefulness(f[:, :1], y, Standard(standard.sign[:, :1], standard.scale[:, :1]), chosen[:, :1])[1]
    twice = mean_usefulness(
        np.repeat(f[:, :1], 2, 1),
        y,
        Standard(*(np.repeat(part[:, :1], 2, 1) for part in (standard.sign, standard.scale))),
        chosen,
    )[1]
    assert twice == pytest.approx(alone)
    assert error < alone


def test_a_class_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes \[2\]"):
        standardise(np.ones((4, 1)), np.array([0, 1, 0, 1]), 3)
