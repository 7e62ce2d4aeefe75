"""The theory simulated: closed forms against brute force, the known ranges, and the paper's own model."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.simulate import Linear, Multiclass, Simulate, Tasks
from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.simulate import linear, multiclass
from robxfer_core.science.simulate.summary import summarise
from robxfer_core.spec.fields import ThreatModel

SMALL = {"name": "multiclass", "dimension": 6, "rank": 2, "source_classes": 4, "target_classes": 3}


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_closed_form_perturbation_of_a_linear_model_is_what_pgd_finds(norm: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    w, eps = torch.randn(12, generator=rng), 0.1
    y = torch.randint(0, 2, (20,), generator=rng)
    x = 0.5 + 0.05 * torch.rand(20, 1, 3, 4, generator=rng)

    def network(images: torch.Tensor) -> torch.Tensor:
        margin = images.flatten(1) @ w
        return torch.stack((-margin, margin), 1)

    delta = pgd(network, x, y, ThreatModel(norm=norm, eps=eps), steps=20, step_size=eps) - x
    direction = w.sign() if norm == "linf" else w / w.norm()
    signs = 2.0 * y - 1
    torch.testing.assert_close(delta.flatten(1), -eps * signs[:, None] * direction, atol=1e-5, rtol=0)
    # Its loss is what `trained` minimises: the worst -y <w, x + delta> is -y <w, x> + eps |w|_dual.
    dual = w.abs().sum() if norm == "linf" else w.norm()
    worst = -signs * ((x + delta).flatten(1) @ w)
    torch.testing.assert_close(worst, -signs * (x.flatten(1) @ w) + eps * dual)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.3, 5.0])
def test_closed_form_training_minimises_the_adversarial_loss(norm: str, eps: float) -> None:
    rng = np.random.default_rng(1)
    mu = 0.3 * rng.standard_normal((8, 5))

    def loss(w: Any) -> Any:
        return -(w * mu).sum(0) + eps * (np.linalg.norm(w, axis=0) if norm == "l2" else np.abs(w).sum(0))

    w = linear.trained(mu, norm, eps)
    assert (np.linalg.norm(w, axis=0) <= 1 + 1e-12).all()
    for _ in range(300):
        other = w + rng.standard_normal(w.shape) * 10 ** rng.uniform(-3, 0)
        other /= np.maximum(1, np.linalg.norm(other, axis=0))
        assert (loss(w) <= loss(other) + 1e-12).all()
    if eps == 0:
        np.testing.assert_allclose(w, mu / np.linalg.norm(mu, axis=0))


def test_the_drawn_statistic_is_the_mean_of_drawn_samples() -> None:
    rng = np.random.default_rng(2)
    signal, n = np.array([0.6, 0.0, -0.8]), 50
    y = rng.choice([-1.0, 1.0], size=(4000, n, 1))
    statistics = (y * (y * signal + rng.standard_normal((4000, n, 3)))).mean(1)
    np.testing.assert_allclose(statistics.mean(0), signal, atol=5 / math.sqrt(4000 * n))
    np.testing.assert_allclose(np.cov(statistics.T), np.eye(3) / n, atol=0.003)


@pytest.mark.parametrize(
    ("length", "rank", "n2"), [(1.0, 5, 20), (0.3, 5, 200), (0.0, 3, 50), (0.9, 1, 4), (1.0, 5, 20_000)]
)
def test_the_mean_alignment_in_closed_form(length: float, rank: int, n2: int) -> None:
    rng = np.random.default_rng(3)
    m = length * np.eye(rank)[0]
    g = m + rng.standard_normal((200_000, rank)) / math.sqrt(n2)
    drawn = (g @ m) / np.linalg.norm(g, axis=1)
    assert linear.mean_alignment(length, rank, n2) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 447 + 1e-9)


UNEQUAL: dict[str, Any] = {"tasks": [8], "snr": [2.0], "weak": Tasks(count=192, snr=0.1)}
SPARSE: dict[str, Any] = {"norm": "linf", "dimension": 400, "tasks": [20], "n2": [50]}


@pytest.mark.parametrize(
    ("given", "ranges"),
    [
        (UNEQUAL, {0.0: (0.550, 0.04), 2.0: (0.197, 0.03), 2.5: (0.55, 0.10)}),
        ({}, {0.0: (0.090, 0.01), 1.5: (0.090, 0.01), 1.7: (0.130, 0.015)}),
        ({**SPARSE, "support": 20}, {0.0: (0.375, 0.05), 0.2: (0.166, 0.03)}),
        (SPARSE, {0.0: (0.395, 0.04), 0.2: (0.758, 0.05)}),
    ],
    ids=["l2 unequal", "l2 equal", "linf sparse", "linf dense"],
)
def test_the_two_regimes(given: dict[str, Any], ranges: dict[float, tuple[float, float]]) -> None:
    """Ranges known for these settings; the tolerance is about three standard errors of 40 repeats."""
    setting = Linear(**given, eps=list(ranges))
    (point,) = linear.points(setting)
    rows = [{**vars(point), **row} for repeat in range(40) for row in linear.simulate(setting, point, repeat, 0)]
    points = summarise(setting, rows, 0.05)["points"]
    for told in points:
        expected, tolerance = ranges[told["eps"]]
        assert told["excess"]["mean"] == pytest.approx(expected, abs=tolerance)
        assert told["expected"] == pytest.approx(told["excess"]["mean"], abs=0.02)
        if told["surviving_expected"] is not None:
            assert told["surviving"] == pytest.approx(told["surviving_expected"], abs=1 + 0.03 * told["surviving"])
    assert (points[-1]["short"] > 0.5) == (given is UNEQUAL)  # the last: eps 2.5 leaves fewer than r tasks


def test_excess_risk_of_linear_transfer_is_never_below_zero_and_vanishes() -> None:
    setting = Linear(dimension=30, rank=[3], tasks=[10], n1=[50, 100_000], n2=[20, 100_000], eps=[0.0, 0.3])
    rows = {p: [row for s in range(5) for row in linear.simulate(setting, p, s, 0)] for p in linear.points(setting)}
    assert all(row["excess"] >= -1e-12 for group in rows.values() for row in group)
    least = min(rows, key=lambda point: -point.n1 - point.n2)
    assert max(row["excess"] for row in rows[least]) < 1e-3
    assert all(row["population"] < 1e-9 for row in rows[least] if row["eps"] == 0)


def test_under_gumbel_noise_the_true_head_minimises_the_cross_entropy() -> None:
    setting = Multiclass.model_validate(SMALL)
    of = multiclass.world(setting, 5)
    n = 200_000

    x, y = multiclass.sample(setting, of, of.target, n, 6)
    features = multiclass.represent(of.representation, x)

    def gradient(scale: float) -> float:
        weight, bias = (scale * each for each in (of.target.weight, of.target.bias))
        weight, bias = weight.requires_grad_(), bias.requires_grad_()
        found = torch.autograd.grad(cross_entropy(features @ weight + bias, y), (weight, bias))
        return max(float(each.abs().max()) for each in found)

    assert gradient(1.0) < 2 / math.sqrt(n)  # an entry's standard error is at most half of 1/sqrt(n)
    assert gradient(1.2) > 3 / math.sqrt(n)


@pytest.mark.parametrize("representation", ["linear", "mlp"])
def test_excess_risk_of_the_papers_model_is_above_zero_and_falls(representation: str) -> None:
    setting = Multiclass.model_validate(
        {**SMALL, "representation": representation, "hidden": 3, "n1": [200, 2000], "n2": [50, 2000], "test": 2000}
    )
    few, many = (multiclass.simulate(setting, point, 0, 0) for point in multiclass.points(setting))
    risks = [row["excess"] for row in (*few, *many)]
    assert min(risks) > 0
    assert min(row["head"] for row in (*few, *many)) > -1e-3
    assert few[0]["excess"] > 3 * many[1]["excess"]
    assert many[1]["excess"] < (0.02 if representation == "linear" else 0.1)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_eps_zero_is_standard_training_and_the_attack_stays_in_its_ball(norm: Any) -> None:
    setting = Multiclass.model_validate({**SMALL, "norm": norm, "eps": [0.0, 0.5]})
    of = multiclass.world(setting, 1)
    x, y = multiclass.sample(setting, of, of.source, 300, 2)

    def model(at: torch.Tensor) -> torch.Tensor:
        return of.source.logits(multiclass.represent(of.representation, at))

    assert not multiclass.attack(model, setting, x, y, 0.0).any()
    delta = multiclass.attack(model, setting, x, y, 0.5)
    lengths = torch.linalg.vector_norm(delta, 2 if norm == "l2" else torch.inf, dim=1)
    assert lengths.max() <= 0.5 + 1e-9
    assert (cross_entropy(model(x + delta), y, reduction="none") >= cross_entropy(model(x), y, reduction="none")).all()
    fits = [multiclass.fit_source(setting, x, y, eps, 3) for eps in (0.0, 0.5)]
    again = multiclass.fit_source(setting, x, y, 0.0, 3)
    assert torch.equal(fits[0].weights[0], again.weights[0])
    assert not torch.equal(fits[0].weights[0], fits[1].weights[0])


def test_an_adversarial_fit_ends_at_a_minimum() -> None:
    """L-BFGS alone stops .0058 above what 300 steps of Adam reach here: its line search fails at a kink."""
    shape = {"dimension": 10, "rank": 2, "source_classes": 5}
    setting = Multiclass.model_validate({**SMALL, **shape, "eps": [1.0]})
    of = multiclass.world(setting, 0)
    x, y = multiclass.sample(setting, of, of.source, 1000, 0)
    fit, loss = multiclass.fit_source(setting, x, y, 1.0, 0), multiclass.source_loss(setting, x, y, 1.0)
    assert fit.converged
    assert float(loss(fit.weights)) == fit.loss
    assert fit.loss - float(loss(multiclass.descend(loss, fit.weights, 300, 0.02))) < 1e-4


def test_a_fit_that_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Multiclass.model_validate({**SMALL, "eps": [0.0, 0.5]})
    of = multiclass.world(setting, 1)
    x, y = multiclass.sample(setting, of, of.source, 100, 2)
    assert multiclass.fit_source(setting, x, y, 0.0, 3).converged
    monkeypatch.setattr(multiclass, "ITERATIONS", 5)
    monkeypatch.setattr(multiclass, "ROUNDS", 1)
    assert not any(multiclass.fit_source(setting, x, y, eps, 3).converged for eps in (0.0, 0.5))


def _spec(**changed: Any) -> dict[str, Any]:
    setting = {**SMALL, "n1": [100, 300], "n2": [50, 100], "test": 500}
    return {"title": "small", "setting": setting, "repeats": 3, **changed}


def test_an_interrupted_simulation_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, first = LocalRun(tmp_path / "whole"), LocalRun(tmp_path / "first", stop_at=4)
    compute("simulate", _spec(), Inputs({}), whole)
    with pytest.raises(Preempted):
        compute("simulate", _spec(), Inputs({}), first)
    second = LocalRun(tmp_path / "second", resume=first.saved)
    compute("simulate", _spec(), Inputs({}), second)
    assert second.asked == whole.asked - 3
    for name in ("result.json", "results.parquet"):
        assert (second.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_a_report_shows_both_settings(tmp_path: Path) -> None:
    given = {
        "multi": _spec(),
        "lin": {"title": "<b>linear</b>", "setting": {"name": "linear", "dimension": 20}, "repeats": 3},
        "swept": {"title": "swept", "setting": {"name": "linear", "eps": [0.0], "rank": [1, 2]}, "repeats": 3},
    }
    inputs: list[Input] = []
    for name, spec in given.items():
        run = LocalRun(tmp_path / name)
        compute("simulate", spec, Inputs({}), run)
        inputs.append(Input(run.out, "a" * 64))
    run = LocalRun(tmp_path / "report")
    keys = [each.key for each in inputs]
    compute("simulate_report", {"title": "T", "simulations": keys}, Inputs({"simulations": inputs}), run)
    told = json.loads((run.out / "report.json").read_text())
    assert {row[0] for row in told["table"]["rows"]} == {"small", "<b>linear</b>", "swept"}
    assert len(told["simulations"]) == 3
    assert "nearer to" in told["headline"]["text"]
    assert "swept" not in told["headline"]["text"]
    assert "<b>linear" not in (run.out / "report.html").read_text()


@pytest.mark.parametrize(
    "setting",
    [
        {"name": "linear", "support": 4},  # rank 5
        {"name": "linear", "eps": [1.0, 1.0]},
        {"name": "linear", "eps": [i / 10 for i in range(40)], "rank": [1, 2, 3, 4]},
        {"name": "multiclass", "source_classes": 3},  # rank 3
        {"name": "multiclass", "dimension": 1000, "test": 20_001},
        {"name": "multiclass", "dimension": 1000, "n1": [20_001]},
        {"name": "multiclass", "representation": "mlp", "hidden": 200, "test": 100_001},
        {"name": "cubic"},
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Simulate.model_validate({"title": "t", "setting": setting})
