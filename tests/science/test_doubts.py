"""An attack that looks broken is doubted; one that works on a plain network is not. Worst case over several attacks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from robxfer_core.jobs.evaluate import Evaluate
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.train import Train
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, evaluate
from robxfer_core.science.attacks.masking import accuracy_flat, probe
from robxfer_core.science.data.artifact import Batch, load, write_shards
from robxfer_core.science.models import Network
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.training.train import train
from robxfer_core.spec.fields import Attack, ThreatModel

from .test_evaluate import unpacked

KEY = "0" * 64
ATTACKS = ("pgd", "apgd_ce", "apgd_dlr_t")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The digits 0 to 4, and a network trained on them."""
    folder, run = tmp_path_factory.mktemp("digits"), LocalRun()
    pixels, y = load_digits(n_class=5, return_X_y=True)
    x = np.rint(pixels.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8)
    splits = {"train": [Batch(x[:600], y[:600])], "test": [Batch(x[600:760], y[600:760])]}
    write_shards(folder, name="digits", variant="standard", classes=list("01234"), splits=splits)
    fields = {"dataset": [Input(folder, KEY)]}
    spec = Train.model_validate({"dataset": KEY, "arch": {"name": "cnn", "width": 0.5}, "epochs": 4, "batch_size": 32})
    train(spec, Inputs(fields), run)
    return Inputs(fields | {"model": [Input(run.out, KEY)]})


def spec_of(**params: Any) -> Evaluate:
    given = {"model": KEY, "dataset": KEY, "eps": [0.4, 0.8], "attack": {"steps": 5}, "apgd": {"steps": 10}}
    return Evaluate.model_validate(given | params)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_worst_case_is_at_most_each_attack_alone(inputs: Inputs, norm: str) -> None:
    eps = [0.4, 0.8] if norm == "l2" else [0.05, 0.12]
    result = evaluate(spec_of(attacks=list(ATTACKS), eps=eps, norm=norm), inputs, LocalRun())
    n = result.n
    assert result.warnings == []
    assert result.margin_in_place_of_dlr == []
    alone = {name: evaluate(spec_of(attacks=[name], eps=eps, norm=norm), inputs, LocalRun()) for name in ATTACKS}
    for level, told in result.attacks.items():
        assert list(told) == list(ATTACKS)
        bits = unpacked(result.correct[level], n)
        assert result.robust[level] == bits.mean() == told["apgd_dlr_t"].accuracy
        # PGD comes first, on all images; what is left to the others is what those before them left.
        assert told["pgd"] == alone["pgd"].attacks[level]["pgd"]
        assert told["pgd"].tried == n
        assert told["apgd_ce"].tried == round(told["pgd"].accuracy * n)
        assert told["apgd_dlr_t"].tried == round(told["apgd_ce"].accuracy * n)
        for name, one in alone.items():
            assert result.robust[level] <= one.robust[level] + 1 / n, name  # other batches round differently
            assert (bits <= unpacked(one.correct[level], n)).mean() > 0.99
    assert result.robust != alone["pgd"].robust  # the others found something


@pytest.mark.parametrize("stop_at", [2, 3, 5])
def test_several_attacks_resume_after_the_last_that_was_finished(inputs: Inputs, stop_at: int) -> None:
    spec = spec_of(attacks=["apgd_ce", "pgd"], max_images=60)
    expected = evaluate(spec, inputs, LocalRun())
    stopped = LocalRun(stop_at=stop_at)
    with pytest.raises(Preempted):
        evaluate(spec, inputs, stopped)
    last = LocalRun(resume=stopped.saved)
    assert evaluate(spec, inputs, last) == expected
    assert last.done == (5 * 60, 5 * 60, "images")


def test_two_classes_have_a_margin_and_no_dlr(inputs: Inputs, tmp_path: Path) -> None:
    network = models.build(spec_arch(inputs), 2, 1, 8, [0.5], [0.5], 0)
    models.save(network, tmp_path, threat=ThreatModel(eps=0.0), seed=0, epochs=1)
    data = load(inputs.one("dataset").path, "test")
    kept = data.y < 2
    both = Batch(data.x[kept].numpy(), data.y[kept].numpy())
    (tmp_path / "two").mkdir()
    write_shards(
        tmp_path / "two", name="two", variant="standard", classes=list("01"), splits={"train": [both], "test": [both]}
    )
    fields = {"model": [Input(tmp_path, KEY)], "dataset": [Input(tmp_path / "two", KEY)]}
    result = evaluate(spec_of(attacks=["apgd_dlr", "apgd_dlr_t"]), Inputs(fields), LocalRun())
    assert result.margin_in_place_of_dlr == ["apgd_dlr", "apgd_dlr_t"]
    with pytest.raises(ValueError, match="each attack once"):
        spec_of(attacks=["pgd", "pgd"])


def spec_arch(inputs: Inputs) -> Any:
    return models.load(inputs.one("model").path).arch


class Quantised(Network):
    """Sees its images in five shades."""

    def adapt(self, x: Tensor) -> Tensor:
        return super().adapt((x * 4).round() / 4)


class Saturated(Network):
    """Its logits are so far apart that the cross-entropy is 0 and its gradient with it."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * super().forward(x)


class Rough(Network):
    """Fine waves on the pixels, whose gradient is large and leads nowhere."""

    def adapt(self, x: Tensor) -> Tensor:
        return super().adapt(x + 0.02 * (x * 2000).sin())


def doubted(inputs: Inputs, kind: type[Network] = Network, norm: str = "l2", eps: float = 1.5) -> set[str]:
    """Codes of the doubts about PGD on the inputs' network, its input made another kind's."""
    network = models.load(inputs.one("model").path)
    network.__class__ = kind
    data, threat = load(inputs.one("dataset").path, "test"), ThreatModel.model_validate({"norm": norm, "eps": eps})
    attack = Attack(steps=20)
    clean = correct(network, data.x, data.y, ThreatModel(eps=0.0), attack, seed=0).nonzero().flatten()[:32]
    survived = correct(network, data.x[clean], data.y[clean], threat, attack, seed=0)
    seeds = torch.arange(len(clean))
    found = probe(network, to_unit(data.x[clean]), data.y[clean], survived, threat, attack, seeds=seeds)
    assert all(doubt.text for doubt in found)
    return {doubt.code for doubt in found}


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.2), ("l2", 1.5), ("linf", 0.02), ("linf", 0.2)])
def test_a_plain_network_is_not_doubted(inputs: Inputs, norm: str, eps: float) -> None:
    assert doubted(inputs, norm=norm, eps=eps) == set()


def test_masked_gradients_are_doubted(inputs: Inputs) -> None:
    assert doubted(inputs, Quantised) >= {"zero_gradients", "loss_flat", "unbounded_survives"}
    assert doubted(inputs, Saturated) >= {"zero_gradients", "loss_flat"}
    assert doubted(inputs, Rough, "linf", 0.3) >= {"noise_wins"}


def test_a_weak_attack_is_doubted_beside_a_step_and_noise(inputs: Inputs) -> None:
    """All images are said to have survived."""
    network, data = models.load(inputs.one("model").path), load(inputs.one("dataset").path, "test")
    x, y = to_unit(data.x[:32]), network(to_unit(data.x[:32])).argmax(1)
    threat, survived = ThreatModel(norm="linf", eps=0.4), torch.ones(32, dtype=torch.bool)
    found = probe(network, x, y, survived, threat, Attack(steps=5), seeds=torch.arange(32))
    assert {doubt.code for doubt in found} == {"single_step_wins", "noise_wins"}
    assert probe(network, x[:7], y[:7], survived[:7], threat, Attack(steps=5), seeds=torch.arange(7)) == []


def test_accuracy_that_does_not_fall_is_doubted() -> None:
    def first(n: int) -> Tensor:
        return torch.arange(100) < n

    levels = [0.0, 0.5, 1.0]
    assert [d.code for d in accuracy_flat(levels, [first(90)] * 3)] == ["accuracy_flat"]
    assert accuracy_flat(levels, [first(90), first(90), first(89)]) == []
    assert accuracy_flat([0.0, 0.5, 0.6], [first(90)] * 3) == []
    assert accuracy_flat(levels, [first(5)] * 3) == []


def test_an_evaluation_warns_and_logs(inputs: Inputs, tmp_path: Path) -> None:
    """A network whose cross-entropy vanishes, weights and all."""
    network = models.load(inputs.one("model").path)
    network.head.weight.data.mul_(1e4)
    network.head.bias.data.mul_(1e4)
    models.save(network, tmp_path, threat=ThreatModel(eps=0.0), seed=0, epochs=1)
    fields, run = {"model": [Input(tmp_path, KEY)], "dataset": inputs.all("dataset")}, LocalRun()
    masked = evaluate(spec_of(), Inputs(fields), run)
    assert {"zero_gradients", "loss_flat"} <= {warning.code for warning in masked.warnings}
    assert run.lines == [warning.text for warning in masked.warnings]
    # DLR does not care for the scale: it finds what the cross-entropy does not.
    found = evaluate(spec_of(attacks=["pgd", "apgd_dlr_t"]), Inputs(fields), LocalRun())
    honest = evaluate(spec_of(attacks=["apgd_dlr_t"]), inputs, LocalRun())
    assert found.robust["0.8"] < masked.robust["0.8"] - 0.1
    assert found.robust["0.8"] == pytest.approx(honest.robust["0.8"], abs=0.02)
