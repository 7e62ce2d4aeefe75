"""CKA, LEEP, LogME and nearest neighbours against known answers; and what a probe's spec refuses."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import multivariate_normal
from sklearn.neighbors import KNeighborsClassifier

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.probe import Probe
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.science import models
from robxfer_core.science.data.artifact import Batch, write_shards
from robxfer_core.science.probe.cka import batch_hsics, score
from robxfer_core.science.probe.knn import votes, wilson
from robxfer_core.science.probe.leep import leep_score
from robxfer_core.science.probe.logme import evidence
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError
from robxfer_core.spec.fields import Arch, ThreatModel

KEY = "0" * 64


def linear_cka(x: torch.Tensor, y: torch.Tensor, batch: int) -> float:
    return float(score(batch_hsics(zip(x.double().split(batch), y.double().split(batch), strict=True))))


def test_cka_of_a_rotated_scaled_and_shifted_copy_is_1_and_of_an_independent_one_0() -> None:
    torch.manual_seed(0)
    x, other = torch.randn(512, 12), torch.randn(512, 12)
    rotation = torch.linalg.qr(torch.randn(12, 12)).Q
    for batch in (512, 64):
        assert linear_cka(x, 3.0 * x @ rotation + 1.0, batch) == pytest.approx(1, abs=1e-6)
        assert abs(linear_cka(x, other, batch)) < 0.03
    # Not of any linear map: CKA knows scale from direction.
    assert linear_cka(x, x * torch.linspace(0.1, 3, 12), 512) < 0.9


def test_cka_in_minibatches_is_close_to_that_of_all_images() -> None:
    torch.manual_seed(1)
    x = torch.randn(2048, 10)
    y = torch.cat([x[:, :4], torch.randn(2048, 6)], 1)
    centred, centred_y = x - x.mean(0), y - y.mean(0)
    full = (centred_y.T @ centred).square().sum() / (
        (centred.T @ centred).norm() * (centred_y.T @ centred_y).norm()
    )  # biased, which at this many images is little
    whole = linear_cka(x, y, 2048)
    assert whole == pytest.approx(float(full), abs=0.01)
    assert linear_cka(x, y, 64) == pytest.approx(whole, abs=0.02)
    # The biased estimate of small batches would be far above: two unrelated representations of 16 images look alike.
    noise = torch.randn(2048, 10)
    assert abs(linear_cka(x, noise, 16)) < 0.05


def test_leep_of_a_head_that_knows_says_nothing_or_leaves_a_class_out() -> None:
    y = torch.arange(4).repeat(25)
    knows = torch.eye(4, dtype=torch.float64)[(y + 1) % 4]  # the source's classes are called otherwise
    assert leep_score(knows, y, 4) == pytest.approx(0, abs=1e-12)
    nothing = torch.full((100, 6), 1 / 6, dtype=torch.float64)
    assert leep_score(nothing, y, 4) == pytest.approx(-math.log(4))
    empty = torch.cat([knows, torch.zeros(100, 3, dtype=torch.float64)], 1)
    assert leep_score(empty, y, 4) == pytest.approx(0, abs=1e-12)
    # By hand: theta = (.9, .1) where y = 0, (.2, .8) where y = 1, one image each.
    theta = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
    by_hand = (math.log(0.9 * 0.9 / 1.1 + 0.1 * 0.1 / 0.9) + math.log(0.2 * 0.2 / 1.1 + 0.8 * 0.8 / 0.9)) / 2
    assert leep_score(theta, torch.tensor([0, 1]), 2) == pytest.approx(by_hand)


@pytest.mark.parametrize(("count", "length"), [(60, 8), (20, 50), (24, 24)])
def test_logme_is_the_exact_evidence_at_its_best(count: int, length: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.standard_normal((count, length))
    y = (x[:, 0] + x[:, 1] + rng.standard_normal(count) > 0).astype(float)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    found = evidence(u, s, length, y)

    def exact(alpha: float, beta: float) -> float:
        covariance = np.eye(count) / beta + x @ x.T / alpha
        found = multivariate_normal.logpdf(y, np.zeros(count), covariance)  # pyright: ignore[reportArgumentType]
        return float(found) / count

    assert found.converged
    assert found.value == pytest.approx(exact(found.alpha, found.beta), abs=1e-9)
    for a, b in ((1.2, 1.0), (0.8, 1.0), (1.0, 1.2), (1.0, 0.8)):
        assert exact(found.alpha * a, found.beta * b) < found.value + 1e-9


def test_logme_stays_finite_where_features_explain_everything() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10, 40))
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    assert math.isfinite(evidence(u, s, 40, x @ rng.standard_normal(40)).value)
    with pytest.raises(ValueError, match="explains nothing"):
        evidence(u, np.zeros_like(s), 40, np.ones(10))


def test_logme_of_features_that_say_nothing_is_that_of_noise() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((500, 3)), rng.standard_normal(500)
    y -= x @ np.linalg.lstsq(x, y, rcond=None)[0]
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    noise = -(math.log(2 * math.pi * float(y @ y) / 500) + 1) / 2
    assert evidence(u, s, 3, y).value == pytest.approx(noise, abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_vote_as_scikit_learn_has_them(metric: str) -> None:
    rng = np.random.default_rng(0)
    x, asked = rng.standard_normal((200, 5)), rng.standard_normal((60, 5))
    y = (x[:, 0] > 0) + (x[:, 1] > 0).astype(int)
    x, asked = (part * rng.uniform(0.2, 5, (len(part), 1)) for part in (x, asked))  # lengths matter to euclidean alone
    said = votes(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(asked), [1, 7], metric, 3)
    weighted = said.numpy()
    for row, k in zip(weighted, (1, 7), strict=True):
        model = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(x, y)
        shares = np.sort(model.predict_proba(asked), 1)
        clear = shares[:, -1] > shares[:, -2]  # ties are broken otherwise
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(row[clear], model.predict(asked)[clear])


def test_of_equal_votes_the_nearest_wins() -> None:
    x, y = torch.tensor([[1.0], [1.2], [-1.1], [-1.3]]), torch.tensor([1, 1, 0, 0])
    assert votes(x, y, torch.tensor([[0.0]]), [1, 4], "euclidean", 2)[:, 0].tolist() == [1, 1]
    assert votes(x, y, torch.tensor([[-0.3]]), [1, 4], "euclidean", 2)[:, 0].tolist() == [0, 0]


def test_wilsons_interval() -> None:
    low, high = wilson(0.5, 100)  # 0.5 +- 1.96 * 0.05 / (1 + 1.96**2 / 100)**.5
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-3)
    assert wilson(1.0, 10)[1] == pytest.approx(1)
    assert wilson(0.0, 10)[0] == pytest.approx(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    """A set whose class is its brightness, two untrained networks, and the features of one."""
    folder = tmp_path_factory.mktemp("probe")
    rng = np.random.default_rng(0)
    y = np.arange(160) % 3
    x = np.clip(60 * y[:, None, None, None] + 40 + rng.normal(0, 6, (160, 1, 8, 8)), 0, 255).astype(np.uint8)
    splits = {"train": [Batch(x[:100], y[:100])], "test": [Batch(x[100:], y[100:])]}
    for name in ("data", "a", "b"):
        (folder / name).mkdir()
    write_shards(folder / "data", name="bright", variant="standard", classes=list("abc"), splits=splits)
    for seed, name in enumerate("ab"):
        network = models.build(Arch(name="cnn", width=0.25), 3, 1, 8, [0.5], [0.25], seed)
        models.save(network, folder / name, threat=ThreatModel(eps=0.0), seed=seed, epochs=0)
    inputs = {name: Input(folder / name, KEY) for name in ("data", "a", "b")}
    run = LocalRun()
    compute(
        "features", {"model": KEY, "dataset": KEY}, Inputs({"model": [inputs["a"]], "dataset": [inputs["data"]]}), run
    )
    return {**inputs, "features": Input(run.out, KEY)}


def measured(params: dict[str, Any], **inputs: Input) -> dict[str, Any]:
    run = LocalRun()
    references = dict.fromkeys(inputs, KEY)
    compute("probe", {**params, **references}, Inputs({name: [item] for name, item in inputs.items()}), run)
    return json.loads((run.out / "result.json").read_text())


def test_every_measure_runs_as_a_job(made: dict[str, Input]) -> None:
    data, a, b = made["data"], made["a"], made["b"]
    same = measured({"measure": "cka", "batch_size": 16}, model=a, other=a, dataset=data)
    assert same["cka"] == pytest.approx(1)
    assert (same["batches"], same["n"]) == (3, 48)  # the last batch, of 12, is left out
    other = measured({"measure": "cka", "batch_size": 16}, model=a, other=b, dataset=data)
    assert other["cka"] < 1
    assert other["error"] > 0
    leep = measured({"measure": "leep"}, model=a, dataset=data)
    assert leep["uninformed"] - 1e-6 <= leep["leep"] <= 0
    logme = measured({"measure": "logme"}, features=made["features"])
    assert logme["converged"]
    assert len(logme["classes"]) == 3
    assert logme["logme"] == pytest.approx(np.mean(list(logme["classes"].values())), abs=1e-5)
    knn = measured({"measure": "knn", "k": [1, 5]}, features=made["features"])
    assert knn["accuracy"]["5"] > 0.7  # chance is 1 in 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"measure": "knn", "features": "f", "eps": [0.5]}, "eps with measure knn, which takes features, k, metric"),
        ({"measure": "logme", "features": "f", "model": "m"}, "model with measure logme, which takes features"),
        ({"measure": "cka", "model": "m", "dataset": "d"}, "measure cka without other"),
        ({"measure": "usefulness", "model": "m", "dataset": "d", "features": "f"}, "features with measure usefulness"),
        ({"measure": "knn", "features": "f", "k": [3, 3]}, "twice"),
    ],
)
def test_fields_of_another_measure_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Probe.model_validate(given)


def test_what_a_measure_does_not_take_is_in_no_key() -> None:
    probe = Probe.model_validate({"measure": "knn", "features": "f"})
    assert set(probe.params()) == {"measure", "features", "k", "metric"}
    assert Probe.model_validate(probe.params()) == probe


def test_a_plan_refuses_what_cannot_fit() -> None:
    spec: dict[str, Any] = {
        "name": "probes",
        "jobs": {
            "digits": {"kind": "dataset", "name": "digits"},
            "few": {"kind": "dataset", "name": "digits", "classes": [0, 1]},
            "net": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}},
            "many": {"kind": "probe", "measure": "usefulness", "model": "net", "dataset": "digits", "components": 17},
            "other": {"kind": "probe", "measure": "usefulness", "model": "net", "dataset": "digits", "also": ["few"]},
        },
    }
    with pytest.raises(SpecError) as refused:
        make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))
    assert {problem.at for problem in refused.value.problems} == {"jobs.many.components", "jobs.other.also[0]"}
