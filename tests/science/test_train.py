"""Training: it learns, robustly where asked, resumes to the bit, and keeps apart what it holds out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.train import HoldoutCurves
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.data.subset import stratified_split
from robxfer_core.science.support.batches import channel_moments
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.training.state import FILE
from robxfer_core.science.training.train import starting_network, train
from robxfer_core.spec.fields import Arch, Attack, ThreatModel

from .training import KEY, digits, spec_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return digits(tmp_path_factory.mktemp("train") / "digits", [0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return digits(tmp_path_factory.mktemp("train") / "few", [0, 1, 2], 100)


def published(run: LocalRun) -> dict[str, torch.Tensor]:
    return load_file(run.out / "model.safetensors")


def test_learns_and_adversarial_training_makes_robust(inputs: Inputs) -> None:
    threat = ThreatModel(norm="l2", eps=0.8)
    data = load(inputs.one("dataset").path, "test")
    robust = []
    before = torch.get_rng_state()
    for eps in (0.0, 0.8):
        run = LocalRun()
        spec = spec_of(epochs=6, threat={"norm": "l2", "eps": eps}, attack={"steps": 3}, holdout_attack_steps=3)
        result = train(spec, inputs, run)
        network = models.load(run.out)
        clean = correct(network, data.x, data.y, ThreatModel(eps=0.0), Attack(), seed=0)
        assert share(clean) > 0.9
        robust.append(share(correct(network, data.x, data.y, threat, Attack(steps=10), seed=0)))
        assert result.holdout.clean[-1] > 0.9
        assert len(result.holdout.clean) == 6
        assert len(result.holdout.robust) == (6 if eps else 0)
        assert result.model.model_dump(mode="json") == json.loads((run.out / "model.json").read_text())
        assert result.model.threat == ThreatModel(norm="l2", eps=eps)
        assert [run.metrics["holdout_clean", epoch] for epoch in range(6)] == result.holdout.clean
        assert run.metrics["train_loss", 5] < run.metrics["train_loss", 0]
        assert run.metrics["images_per_s", 6] > 0
        assert run.done is not None
        assert run.done[0] == run.done[1]
        assert run.done[2] == "images"
        moments = channel_moments(data.x, torch.arange(len(data.x)))  # of the test images: close to the training's
        assert result.model.mean == pytest.approx(moments[0], rel=0.05)
        assert result.model.std == pytest.approx(moments[1], rel=0.05)
    assert robust[1] > robust[0] + 0.1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "params",
    [
        {
            "threat": {"eps": 0.5},
            "attack": {"steps": 2, "restarts": 2},
            "ema": 0.9,
            "augment": {"crop": 1, "flip": True},
        },
        {"optimizer": {"momentum": 0.0}, "label_smoothing": 0.1, "precision": "bf16"},
    ],
)
def test_an_interrupted_training_ends_bit_for_bit_as_one_that_was_not(few: Inputs, params: dict[str, Any]) -> None:
    spec = spec_of(epochs=3, batch_size=16, **params)  # 72 training images but those held out: 5 steps an epoch
    whole = LocalRun()
    train(spec, few, whole)
    resume = None
    stopped: list[LocalRun] = []
    for stop_at in (3, 2, 4):  # in the first epoch; at its last step; in the second
        run = LocalRun(resume=resume, stop_at=stop_at)
        with pytest.raises(Preempted):
            train(spec, few, run)
        stopped.append(run)
        resume = run.saved
    last = LocalRun(resume=resume)
    train(spec, few, last)
    assert last.asked == whole.asked - (3 + 2 + 4)  # no step was taken twice
    for name, value in published(whole).items():
        assert torch.equal(value, published(last)[name]), name
    assert (whole.out / "history.json").read_bytes() == (last.out / "history.json").read_bytes()
    metrics = {k: v for run in [*stopped, last] for k, v in run.metrics.items()}
    speed = ("images_per_s", max(step for _, step in whole.metrics))
    assert {k: v for k, v in metrics.items() if k != speed} == {k: v for k, v in whole.metrics.items() if k != speed}


def test_a_checkpoint_from_before_single_steps_were_watched_is_gone_on_from(few: Inputs) -> None:
    spec = spec_of(epochs=2, batch_size=16)
    whole, stopped = LocalRun(), LocalRun(stop_at=2)
    train(spec, few, whole)
    with pytest.raises(Preempted):
        train(spec, few, stopped)
    assert stopped.saved is not None
    held = torch.load(stopped.saved / FILE, weights_only=True)
    for name in ("fgsm", "pgd", "perturbation"):
        del held[name]
    torch.save(held, stopped.saved / FILE)
    last = LocalRun(resume=stopped.saved)
    train(spec, few, last)
    assert all(torch.equal(value, published(last)[name]) for name, value in published(whole).items())


def test_seeds_decide(few: Inputs) -> None:
    runs = [LocalRun() for _ in range(3)]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        train(spec_of(seed=seed, epochs=1), few, run)
    first, again, other = (published(run)["head.weight"] for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_epochs_publish_the_random_start(few: Inputs) -> None:
    run = LocalRun()
    result = train(spec_of(epochs=0, seed=3), few, run)
    assert result.model.epochs == 0
    assert result.model.name == "cnn.random_init"
    assert result.holdout == HoldoutCurves(clean=[], robust=[])
    data = load(few.one("dataset").path, "train")
    start = starting_network(spec_of(seed=3), data, torch.arange(len(data.y)), None)
    assert all(torch.equal(value, published(run)[name]) for name, value in start.named_parameters())


def test_a_random_start_has_the_batch_norm_statistics_of_its_images(few: Inputs) -> None:
    run = LocalRun()
    train(spec_of(epochs=0, seed=3), few, run)
    network = models.load(run.out)
    x = to_unit(load(few.one("dataset").path, "train").x)
    seen: list[torch.Tensor] = []

    def watch(module: torch.nn.Module, given: Any, out: torch.Tensor) -> None:
        seen.append(out)

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(watch)
    with torch.no_grad():
        network.represent(x)
    assert seen
    for out in seen:
        varies = out.std((0, 2, 3)) > 1e-3
        assert out.mean((0, 2, 3)).abs().max() < 0.05  # some of the images were held out
        assert out.std((0, 2, 3))[varies].sub(1).abs().max() < 0.05


def test_through_the_one_door(few: Inputs) -> None:
    run = LocalRun()
    compute("train", spec_of(epochs=1).params(), few, run)
    result = json.loads((run.out / "result.json").read_text())
    assert {"model.safetensors", "model.json", "history.json", "result.json"} == {p.name for p in run.out.iterdir()}
    assert models.load(run.out).classes == 3
    assert len(result["holdout"]["clean"]) == 1


def test_goes_on_from_another_model(inputs: Inputs, few: Inputs, tmp_path: Path) -> None:
    source = LocalRun()
    train(spec_of(epochs=1), inputs, source)
    old = models.load(source.out)
    data = load(few.one("dataset").path, "train")
    kept = torch.arange(len(data.y))
    spec = spec_of(init=KEY)
    new = starting_network(spec, data, kept, Input(source.out, KEY))
    assert new.classes == 3
    assert new.head.weight.shape == (3, old.head.weight.shape[1])
    x = to_unit(data.x[:5])
    assert torch.equal(new.eval().represent(x), old.represent(x))
    same = load(inputs.one("dataset").path, "train")
    assert torch.equal(starting_network(spec, same, kept, Input(source.out, KEY)).eval()(x), old(x))
    with pytest.raises(ValueError, match=r"cnn of width 0\.5, and arch is a cnn of width 1"):
        starting_network(spec_of(init=KEY, arch={"name": "cnn"}), data, kept, Input(source.out, KEY))
    with pytest.raises(ValueError, match="epochs: 0"):
        starting_network(spec_of(init=KEY, epochs=0), data, kept, Input(source.out, KEY))
    both = Inputs({"dataset": few.all("dataset"), "init": [Input(source.out, KEY)]})
    assert train(spec_of(init=KEY, epochs=8), both, LocalRun()).holdout.clean[-1] > 0.8


@pytest.mark.parametrize(
    ("eps", "message"), [(0.0, "epoch 0: the training loss is nan"), (0.5, "epoch 0, step 0: the ")]
)
def test_divergence_is_an_error_that_says_where(few: Inputs, eps: float, message: str, tmp_path: Path) -> None:
    network = models.build(Arch(name="cnn", width=0.5), 3, 1, 8, [0.5], [0.5], 0)
    network.head.weight.data.fill_(torch.nan)
    models.save(network, tmp_path, threat=ThreatModel(eps=0.0), seed=0, epochs=1)
    both = Inputs({"dataset": few.all("dataset"), "init": [Input(tmp_path, KEY)]})
    with pytest.raises(FloatingPointError, match=message):
        train(spec_of(init=KEY, threat={"eps": eps}), both, LocalRun())


def test_held_out_images_are_not_trained_on(few: Inputs, tmp_path: Path) -> None:
    """Other pixels in their place change no weight; none held out leaves nothing to measure."""
    data = load(few.one("dataset").path, "train")
    spec = spec_of(holdout=0.25, epochs=1)
    kept, held = stratified_split(data.y.numpy(), 0.25, derive(spec.seed, "holdout"))
    weights = []
    for name, places in (("as it is", []), ("held out", held), ("kept", kept[:1])):
        x = data.x.numpy().copy()
        x[places] = 255 - x[places]
        (tmp_path / name).mkdir()
        splits = {"train": [Batch(x, data.y.numpy())], "test": [Batch(x, data.y.numpy())]}
        write_shards(tmp_path / name, name=name, variant="standard", classes=list("abc"), splits=splits)
        run = LocalRun()
        train(spec, Inputs({"dataset": [Input(tmp_path / name, KEY)]}), run)
        weights.append(published(run)["head.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    run = LocalRun()
    result = train(spec_of(holdout=0.0, epochs=1), few, run)
    assert result.holdout == HoldoutCurves(clean=[], robust=[])
    assert run.done == (len(data.y), len(data.y), "images")
    half = LocalRun()
    train(spec_of(holdout=0.5, epochs=1), few, half)
    assert half.done is not None
    assert half.done[1] == len(data.y) - round(len(data.y) / 2)
