"""TRADES, free and fast adversarial training: known answers of a step, robustness, and exact resumption."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from robxfer_core.jobs.run import Inputs, LocalRun, Preempted
from robxfer_core.jobs.train import Overfitting, Train
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.attacks.threat import distance
from robxfer_core.science.data.artifact import load
from robxfer_core.science.training.adversarial import farthest_prediction, kl_divergence, scheduled, step
from robxfer_core.science.training.distributed import Team
from robxfer_core.science.training.overfitting import found_in, overfitted, watch
from robxfer_core.science.training.state import TrainingState
from robxfer_core.science.training.train import train
from robxfer_core.spec.fields import Attack, ThreatModel

from .training import KEY, digits

THREAT = {"norm": "l2", "eps": 0.8}
METHODS = ("pgd", "trades", "free", "fast")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return digits(tmp_path_factory.mktemp("adversarial") / "digits", [0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return digits(tmp_path_factory.mktemp("adversarial") / "few", [0, 1, 2], 100)


def spec_of(**params: Any) -> Train:
    given: dict[str, Any] = {"dataset": KEY, "arch": {"name": "cnn", "width": 0.5}, "batch_size": 32, "epochs": 2}
    given |= {"threat": THREAT, "attack": {"steps": 3}, "holdout_attack_steps": 3}
    return Train.model_validate(given | params)


def state_of(spec: Train) -> TrainingState:
    network = models.build(spec.arch, 3, 1, 8, [0.5], [0.5], 0)
    state = TrainingState.start(network, spec.optimizer, averaged=False, team=Team())
    state.perturbation = torch.zeros(6, 1, 8, 8)
    return state


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3, torch.arange(6)


def published(run: LocalRun) -> dict[str, torch.Tensor]:
    return load_file(run.out / "model.safetensors")


def same(one: LocalRun, other: LocalRun) -> bool:
    return all(torch.equal(value, published(other)[name]) for name, value in published(one).items())


def test_every_method_makes_robust(inputs: Inputs) -> None:
    data = load(inputs.one("dataset").path, "test")

    def robust(**params: Any) -> float:
        run = LocalRun()
        result = train(spec_of(**params), inputs, run)
        assert ("overfitting" in result.model_dump()) == (params.get("method") in ("free", "fast"))
        assert result.overfitting is None
        network = models.load(run.out)
        assert share(correct(network, data.x, data.y, ThreatModel(eps=0.0), Attack(), seed=0)) > 0.9
        threat = ThreatModel.model_validate(THREAT)
        return share(correct(network, data.x, data.y, threat, Attack(steps=10), seed=0))

    standard = robust(epochs=6, threat={"eps": 0.0})
    reached = {
        "trades": robust(epochs=6, method="trades"),
        "free": robust(epochs=12, method="free", free_replays=2),
        "fast": robust(epochs=6, method="fast"),
    }
    assert min(reached.values()) > standard + 0.1, (standard, reached)


@pytest.mark.parametrize(
    "params",
    [
        {"method": "trades", "precision": "bf16"},
        {"method": "free", "free_replays": 2, "ema": 0.9, "epochs": 6, "augment": {"crop": 1}},
        {"method": "fast", "eps_warmup": 0.5, "attack": {"step_size": 0.5}},
    ],
)
def test_an_interrupted_training_ends_bit_for_bit_as_one_that_was_not(few: Inputs, params: dict[str, Any]) -> None:
    spec = spec_of(**({"epochs": 3, "batch_size": 16} | params))
    whole = LocalRun()
    expected = train(spec, few, whole)
    resume, stopped = None, []
    for stop_at in (3, 2, 4):  # within a round, at its end or between two replays
        run = LocalRun(resume=resume, stop_at=stop_at)
        with pytest.raises(Preempted):
            train(spec, few, run)
        stopped.append(run)
        resume = run.saved
    last = LocalRun(resume=resume)
    assert train(spec, few, last) == expected
    assert last.asked == whole.asked - (3 + 2 + 4)
    assert same(whole, last)
    metrics = {k: v for run in [*stopped, last] for k, v in run.metrics.items()}
    assert {k: v for k, v in metrics.items() if "per_s" not in k[0]} == {
        k: v for k, v in whole.metrics.items() if "per_s" not in k[0]
    }


def test_trades_without_its_penalty_is_standard_training(few: Inputs) -> None:
    specs = (spec_of(method="trades", trades_beta=0.0), spec_of(threat={"eps": 0.0}), spec_of(method="trades"))
    runs = [LocalRun() for _ in specs]
    for spec, run in zip(specs, runs, strict=True):
        train(spec, few, run)
    assert same(runs[0], runs[1])
    assert not same(runs[2], runs[1])


def test_trades_loss_is_the_clean_one_and_the_divergence() -> None:
    spec = spec_of(method="trades", trades_beta=3.0)
    state, (x, y, seeds) = state_of(spec), batch()
    network = state.network.eval()
    threat = ThreatModel.model_validate(THREAT)
    moved = farthest_prediction(network, x, threat, 3, spec.attack.step(threat.eps), seeds=seeds)
    with torch.no_grad():
        p, q = network(x).double().softmax(1), network(moved).double().softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1)
    expected = -p[torch.arange(6), y].log().mean() + 3 * divergence.mean()
    torch.testing.assert_close(step(spec, state, x, y, seeds, 6).double(), expected, rtol=1e-4, atol=1e-6)


def test_the_inner_maximisation_of_trades_raises_the_divergence_within_the_ball() -> None:
    network, (x, _, seeds) = models.build(spec_of().arch, 3, 1, 8, [0.5], [0.5], 0), batch()
    network.head.weight.data.mul_(20)
    threat = ThreatModel.model_validate(THREAT)
    reached = []
    for steps in (0, 2, 10):
        moved = farthest_prediction(network, x, threat, steps, 0.2, seeds=seeds)
        assert float(distance("l2", moved - x).max()) <= 0.8 + 1e-5
        with torch.no_grad():
            reached.append(float(kl_divergence(network.eval()(x), network(moved), "mean")))
    assert reached[0] < 1e-3 < reached[1] < reached[2]


def test_a_free_step_moves_weights_and_perturbation_by_one_backward_pass() -> None:
    spec, plain = (
        spec_of(method="free", free_replays=1, threat={"norm": "linf", "eps": 0.1}),
        spec_of(threat={"eps": 0}),
    )
    (x, y, seeds), free, standard = batch(), state_of(spec), state_of(plain)
    assert free.perturbation is not None
    leaf = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(standard.network.train()(leaf), y)
    (gradient,) = torch.autograd.grad(loss, leaf)
    standard, free.network = state_of(plain), free.network.train()
    standard.network.train()
    # The first perturbation is 0, so the first step is that of standard training...
    assert torch.equal(step(spec, free, x, y, seeds, 6), step(plain, standard, x, y, seeds, 6))
    for one, other in zip(free.network.parameters(), standard.network.parameters(), strict=True):
        assert torch.equal(one, other)
    # ...and the perturbation after it a full step up the gradient that came with it.
    torch.testing.assert_close(free.perturbation, 0.1 * gradient.sign())
    before = free.perturbation.clone()
    seen: list[torch.Tensor] = []
    free.network.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone()))
    step(spec, free, x[:4], y[:4], seeds[:4], 4)
    torch.testing.assert_close(seen[0], (x[:4] + before[:4]).clamp(0, 1))
    assert not torch.equal(free.perturbation[:4], before[:4])
    assert torch.equal(free.perturbation[4:], before[4:])  # a smaller batch leaves the rest for the next
    assert free.perturbation.abs().max() <= 0.1


def test_free_makes_as_many_passes_as_it_is_given(few: Inputs) -> None:
    run, plain = LocalRun(), LocalRun()
    spec = spec_of(method="free", epochs=5, free_replays=2, batch_size=16)
    result = train(spec, few, run)
    train(spec_of(epochs=6, threat={"eps": 0.0}, batch_size=16), few, plain)
    assert spec.rounds == 3
    assert result.probe is not None
    assert len(result.holdout.robust) == len(result.probe.pgd) == 3
    assert run.asked == plain.asked  # one step each
    assert run.done is not None
    assert run.done[0] == run.done[1]


def test_eps_rises_linearly_and_a_set_step_size_with_it() -> None:
    spec = spec_of(eps_warmup=0.4, attack={"steps": 2, "step_size": 0.3})
    found = [scheduled(spec, done) for done in (0.0, 0.1, 0.2, 0.4, 0.9)]
    assert [threat.eps for threat, _ in found] == pytest.approx([0, 0.2, 0.4, 0.8, 0.8])
    assert [attack.step(threat.eps) for threat, attack in found[1:]] == pytest.approx([0.075, 0.15, 0.3, 0.3])
    assert found[3] == (spec.threat, spec.attack)
    assert scheduled(spec_of(), 0.0) == (spec_of().threat, spec_of().attack)
    threat, attack = scheduled(spec_of(eps_warmup=0.4), 0.2)
    assert attack.step(threat.eps) == pytest.approx(2.5 * 0.4 / 3)


@pytest.mark.parametrize(
    ("fgsm", "pgd", "epoch"),
    [
        ([0.30, 0.42, 0.48, 0.85, 0.95], [0.25, 0.35, 0.40, 0.05, 0.0], 3),
        ([0.30, 0.42, 0.48, 0.85, 0.50], [0.25, 0.35, 0.40, 0.05, 0.38], 3),  # it recovers: it was there all the same
        ([0.70, 0.95], [0.02, 0.0], 0),  # never robust
        ([0.30, 0.42, 0.48, 0.50], [0.25, 0.35, 0.40, 0.41], None),
        ([0.30, 0.42, 0.30, 0.10], [0.25, 0.35, 0.22, 0.02], None),  # diverges: both fall
        ([0.10, 0.11, 0.10], [0.10, 0.02, 0.0], None),  # at chance
        ([0.60, 0.70, 0.72], [0.40, 0.30, 0.22], None),  # overfits, but not catastrophically
        ([], [], None),
    ],
)
def test_catastrophic_overfitting_is_found_where_it_is(fgsm: list[float], pgd: list[float], epoch: int | None) -> None:
    found = overfitted(fgsm, pgd)
    assert (found and found.epoch) == epoch
    if found is not None and epoch:
        assert found.pgd == pgd[epoch]
        assert found.best_pgd == max(pgd[:epoch])


def test_during_the_warm_up_nothing_is_found() -> None:
    assert overfitted([0.9, 0.5], [0.0, 0.4], first=1) is None
    assert overfitted([0.9, 0.5], [0.0, 0.4]) is not None


def test_a_collapse_is_measured_and_said(inputs: Inputs) -> None:
    """A network of standard training, after an epoch at which it is said to have been robust."""
    spec = spec_of(method="fast", threat={"norm": "l2", "eps": 1.0}, holdout_attack_steps=10)
    plain = LocalRun()
    train(spec_of(epochs=4, threat={"eps": 0.0}), inputs, plain)
    data, run = load(inputs.one("dataset").path, "test"), LocalRun()
    state = TrainingState.start(models.load(plain.out), spec.optimizer, averaged=False, team=Team())
    state.fgsm, state.pgd, state.epoch = [0.2], [0.6], 1
    watch(spec, state, data.x, data.y, run)
    assert found_in(spec, state) == Overfitting(epoch=1, fgsm=state.fgsm[1], pgd=state.pgd[1], best_pgd=0.6)
    assert run.metrics == {
        ("probe_fgsm", 1): state.fgsm[1],
        ("probe_pgd", 1): state.pgd[1],
        ("catastrophic_overfitting", 1): 1.0,
    }
    assert "catastrophic overfitting at epoch 1: on 181 images PGD accuracy is 0." in run.lines[0]
    state.fgsm, state.pgd = [0.2], [0.2]
    watch(spec, state, data.x, data.y, run)
    assert len(run.lines) == 1
