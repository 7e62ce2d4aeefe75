"""Accuracy by level: counted right, image by image, and doubted where it rises."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robxfer_core.jobs.evaluate import Evaluate
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.train import Train
from robxfer_core.science import models
from robxfer_core.science.attacks import evaluate as module
from robxfer_core.science.attacks.evaluate import correct, evaluate, level_name
from robxfer_core.science.attacks.masking import accuracy_rises
from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.training.train import train
from robxfer_core.spec.fields import Attack, ThreatModel

KEY = "0" * 64


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Three digits of 8x8, and a network trained on them."""
    folder, run = tmp_path_factory.mktemp("digits"), LocalRun()
    pixels, y = load_digits(n_class=3, return_X_y=True)
    x = np.rint(pixels.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8)
    splits = {"train": [Batch(x[:300], y[:300])], "test": [Batch(x[300:], y[300:])]}
    write_shards(folder, name="digits", variant="standard", classes=["0", "1", "2"], splits=splits)
    fields = {"dataset": [Input(folder, KEY)]}
    spec = Train.model_validate({"dataset": KEY, "arch": {"name": "cnn", "width": 0.5}, "epochs": 5, "batch_size": 32})
    train(spec, Inputs(fields), run)
    return Inputs(fields | {"model": [Input(run.out, KEY)]})


def spec_of(**params: Any) -> Evaluate:
    given: dict[str, Any] = {"model": KEY, "dataset": KEY, "eps": [0.5, 1.0], "attack": {"steps": 5}}
    return Evaluate.model_validate(given | params)


def unpacked(bits: str, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))[:n].astype(bool)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_an_interrupted_run_ends_as_one_that_was_not(inputs: Inputs, stop_at: int) -> None:
    whole, stopped = LocalRun(), LocalRun(stop_at=stop_at)
    expected = evaluate(spec_of(), inputs, whole)
    with pytest.raises(Preempted):
        evaluate(spec_of(), inputs, stopped)
    last = LocalRun(resume=stopped.saved)
    assert evaluate(spec_of(), inputs, last) == expected
    assert whole.metrics == stopped.metrics | last.metrics
    assert last.asked == 4 - stop_at  # of three levels, of one batch each, the one interrupted is made again


def test_counts_each_image_at_each_level(inputs: Inputs) -> None:
    run = LocalRun()
    result = evaluate(spec_of(eps=[1.0, 0.5], seed=4), inputs, run)
    data, network = load(inputs.one("dataset").path, "test"), models.load(inputs.one("model").path)
    x, n = to_unit(data.x), len(data.y)
    assert result.n == n
    assert result.model.name == "cnn.l2_eps0"
    assert list(result.correct) == ["0", "0.5", "1"]
    assert list(result.robust) == ["0.5", "1"]
    assert result.clean == unpacked(result.correct["0"], n).mean() > 0.9
    assert result.clean > result.robust["0.5"] > result.robust["1"]
    for eps, accuracy in result.robust.items():
        threat = ThreatModel(norm="l2", eps=float(eps))
        seeds = image_seeds(derive(4, "attack"), torch.arange(n))
        attacked = pgd(network, x, data.y, threat, 5, 2.5 * threat.eps / 5, random_start=True, seeds=seeds)
        right = (network(attacked).argmax(1) == data.y).numpy()
        assert (unpacked(result.correct[eps], n) == right).mean() > 0.99  # other batches round differently
        assert accuracy == unpacked(result.correct[eps], n).mean()
    assert run.done == (3 * n, 3 * n, "images")
    assert run.lines == []


def test_the_batch_size_changes_nothing(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    data, network = load(inputs.one("dataset").path, "test"), models.load(inputs.one("model").path)

    def outcome() -> torch.Tensor:
        threat = ThreatModel(norm="l2", eps=0.7)
        return correct(network, data.x, data.y, threat, Attack(steps=3, restarts=2), seed=1)

    whole = outcome()
    monkeypatch.setattr(module, "BATCH", 17)
    assert torch.equal(outcome(), whole)
    assert 0.05 < whole.float().mean() < 0.95


def test_looks_at_the_first_images_only(inputs: Inputs) -> None:
    result = evaluate(spec_of(max_images=13, eps=[0.0], norm="linf"), inputs, LocalRun())
    assert result.n == 13
    assert result.robust == {"0": result.clean}
    assert list(result.correct) == ["0"]


def test_doubts_accuracy_that_rises_with_eps() -> None:
    def first(n: int) -> torch.Tensor:
        return torch.arange(100) < n

    assert accuracy_rises([0.0, 0.5, 1.0], [first(90), first(60), first(60)]) == []
    assert accuracy_rises([0.0, 0.5], [first(50), first(54)]) == []  # 4 of 4 gained: 4 is not above 2 sqrt(4)
    (doubt,) = accuracy_rises([0.0, 0.5, 1.0], [first(90), first(50), first(60)])
    assert doubt.code == "accuracy_rises"
    assert "0.5000 at eps 0.5 to 0.6000 at eps 1" in doubt.text


def test_level_names_are_short_and_exact() -> None:
    assert [level_name(eps) for eps in (0.0, 0.5, 1.0, 8 / 255, 0.1 + 0.2)] == [
        "0",
        "0.5",
        "1",
        "0.03137254901960784",
        "0.30000000000000004",
    ]


def test_refuses_what_does_not_fit(inputs: Inputs, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    many = Batch(np.zeros((8000, 1, 4, 4), np.uint8), np.zeros(8000, np.int64))
    write_shards(
        folder, name="many", variant="standard", classes=["a", "b", "c"], splits={"train": [many], "test": [many]}
    )
    fields = {"model": inputs.all("model"), "dataset": [Input(folder, KEY)]}
    eps = [i / 10 for i in range(1, 50)]
    with pytest.raises(ValueError, match="max_images: the outcomes of 8000 images at 50 levels"):
        evaluate(spec_of(max_images=8000, eps=eps), Inputs(fields), LocalRun())
    other = tmp_path / "other"
    other.mkdir()
    write_shards(other, name="other", variant="standard", classes=["a", "b"], splits={"train": [many], "test": [many]})
    with pytest.raises(ValueError, match="a model of 3 classes on other, which has 2"):
        evaluate(spec_of(), Inputs(fields | {"dataset": [Input(other, KEY)]}), LocalRun())


def test_a_broken_model_is_named_with_its_images(inputs: Inputs) -> None:
    data, network = load(inputs.one("dataset").path, "test"), models.load(inputs.one("model").path)
    network.head.bias.data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="images from 0 to 9: the model gives NaN for 10 of 10"):
        correct(network, data.x[:10], data.y[:10], ThreatModel(eps=0.5), Attack(), seed=0)
