"""Detectors of hidden messages: P_E against brute force and closed forms, thresholds, and detectors that must work."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robxfer_core.jobs.compute import compute, result_json
from robxfer_core.jobs.detect_stego import DetectStego
from robxfer_core.jobs.features import FeaturesResult
from robxfer_core.jobs.results import TaskSummary
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.science import models
from robxfer_core.science.models.residuals import high_pass_filters
from robxfer_core.science.stego.detect import best_threshold, errors_at, permutation_p
from robxfer_core.science.support.batches import epoch_batches
from robxfer_core.spec.archs import RESIDUALS
from robxfer_core.spec.fields import Arch

from .cards import model_card

KEY = "a" * 64
DIGITS = {"name": "digits", "max_train": 200, "max_test": 100}


def job(kind: str, params: dict[str, Any], **inputs: LocalRun) -> tuple[LocalRun, dict[str, Any]]:
    run = LocalRun()
    given = Inputs({name: [Input(made.out, KEY)] for name, made in inputs.items()})
    compute(kind, {**params, **dict.fromkeys(inputs, KEY)}, given, run)
    return run, json.loads((run.out / "result.json").read_text())


def pairs(seed: int, n: int, shift: float) -> torch.Tensor:
    """Scores of n pairs, normal, those of stegos shifted."""
    scores = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (scores + torch.tensor([0, shift])).flatten()


def test_the_threshold_is_the_best_of_all():
    for seed in range(5):
        scores = (4 * pairs(seed, 15, 0.7)).round()  # with ties
        all_of_them = [errors_at(scores, float(t)).p_e for t in (*scores, -math.inf)]
        assert errors_at(scores, best_threshold(scores)).p_e == pytest.approx(min(all_of_them))


def test_p_e_of_two_normals_is_the_known_one():
    held, test = pairs(0, 20_000, 2.0), pairs(1, 20_000, 2.0)
    found = errors_at(test, best_threshold(held)).p_e
    assert found == pytest.approx(0.1587, abs=0.01)  # Phi(-1): the threshold in the middle, at 1


def test_without_a_message_p_e_is_a_half_on_new_pairs_and_below_it_on_those_that_set_the_threshold():
    held, test = zip(*[(pairs(s, 100, 0), pairs(s + 100, 100, 0)) for s in range(30)], strict=True)
    thresholds = [best_threshold(scores) for scores in held]
    assert np.mean([errors_at(s, t).p_e for s, t in zip(held, thresholds, strict=True)]) < 0.47
    assert np.mean([errors_at(s, t).p_e for s, t in zip(test, thresholds, strict=True)]) == pytest.approx(0.5, abs=0.01)


def test_the_permutation_p_is_that_of_exchanging_the_labels_of_every_pair():
    flagged = torch.tensor([0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1]).bool()
    both = flagged.view(-1, 2)
    observed = float(both[:, 1].sum() - both[:, 0].sum())
    swapped = [
        sum(sign * float(row[1].int() - row[0].int()) for sign, row in zip(signs, both, strict=True))
        for signs in itertools.product((1, -1), repeat=len(both))
    ]
    assert permutation_p(flagged) == pytest.approx(np.mean([value >= observed for value in swapped]))
    assert permutation_p(torch.zeros(8).bool()) == 1.0


def test_the_filters_take_planes_away_and_are_those_of_the_network():
    filters = high_pass_filters()
    assert filters.shape == (RESIDUALS, 5, 5)
    torch.testing.assert_close(filters.sum((1, 2)), torch.zeros(RESIDUALS))
    torch.testing.assert_close(filters[:, 2, 2].abs(), torch.ones(RESIDUALS))
    rise = torch.arange(5.0) - 2
    for slope in (rise.expand(5, 5), rise.expand(5, 5).T):  # all but the first-order ones see no slope either
        torch.testing.assert_close((filters[2:] * slope).sum((1, 2)), torch.zeros(RESIDUALS - 2))
    network = models.build(Arch(name="highpass_cnn", width=0.5), 2, 3, 16, [0.5] * 3, [0.25] * 3, 0)
    weight = network.body.get_parameter("conv1.weight")
    assert weight.shape == (3 * RESIDUALS, 1, 5, 5)
    torch.testing.assert_close(weight[RESIDUALS : 2 * RESIDUALS, 0], filters)
    assert not weight.requires_grad


def test_batches_keep_pairs_together():
    places = torch.arange(100)[20:]
    batches = epoch_batches(places, 16, 3, paired=True)
    assert torch.equal(torch.cat(batches).sort().values, places)
    for batch in batches:
        assert torch.equal(batch[::2] + 1, batch[1::2])


@pytest.fixture(scope="module")
def hidden() -> LocalRun:
    """Digits with messages in them."""
    covers, _ = job("dataset", DIGITS)
    return job("embed_stego", {"payload": 1.0}, dataset=covers)[0]


@pytest.fixture(scope="module")
def trained(hidden: LocalRun) -> LocalRun:
    arch = {"name": "highpass_cnn", "width": 0.25}
    params = {"arch": arch, "epochs": 20, "batch_size": 32, "optimizer": {"lr": 0.1}, "holdout": 0.25}
    return job("train", params, dataset=hidden)[0]


def test_a_high_pass_network_finds_messages_and_its_features_do(hidden: LocalRun, trained: LocalRun):
    _, own = job("detect_stego", {"validation": 0.25}, model=trained, dataset=hidden)
    assert own["p_e"] < 0.1
    assert own["p_null"] < 1e-6
    assert own["validation"]["pairs"] == 50
    assert own["p_e"] == pytest.approx((own["p_fa"] + own["p_md"]) / 2)
    features, _ = job("features", {}, model=trained, dataset=hidden)
    _, linear = job("detect_stego", {"validation": 0.25}, features=features)
    assert linear["p_e"] < 0.1


def test_the_validation_pairs_of_a_network_are_those_held_out_of_its_training(hidden: LocalRun, trained: LocalRun):
    # Its accuracy on them is what the training measured, at a threshold of 0; the best threshold does no worse.
    told = json.loads((trained.out / "result.json").read_text())["holdout"]["clean"][-1]
    _, own = job("detect_stego", {"validation": 0.25}, model=trained, dataset=hidden)
    assert 1 - own["validation"]["p_e"] >= told


def test_where_nothing_is_hidden_nothing_is_found():
    labels = np.arange(600) % 2
    run = LocalRun()
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        np.save(run.out / f"{split}_x.npy", rng.standard_normal((600, 20)).astype(np.float32))
        np.save(run.out / f"{split}_y.npy", labels)
    data = TaskSummary(name="made", variant="stego", n_train=600, n_test=600, classes=2)
    (run.out / "result.json").write_bytes(result_json(FeaturesResult(model=model_card(), data=data)))
    _, found = job("detect_stego", {}, features=run)
    assert 0.42 < found["p_e"] < 0.58
    assert found["p_null"] > 0.01


def test_what_is_no_set_of_pairs_is_refused(trained: LocalRun):
    digits, _ = job("dataset", DIGITS)
    features, _ = job("features", {}, model=trained, dataset=digits)
    with pytest.raises(ValueError, match="takes pairs of cover and stego"):
        job("detect_stego", {}, features=features)
    with pytest.raises(ValueError, match="either `features`, or `model`"):
        DetectStego.model_validate({"kind": "detect_stego", "model": KEY})


def test_equal_jobs_leave_equal_results(hidden: LocalRun, trained: LocalRun, tmp_path: Path):
    first, second = (job("detect_stego", {"validation": 0.25}, model=trained, dataset=hidden)[1] for _ in range(2))
    assert first == second
