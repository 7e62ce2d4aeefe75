"""Verdicts by construction, and by simulated studies: false verdicts, power (fixed seeds)."""

import numpy as np
import pytest
from scipy.stats import norm

from robxfer_core.reports.stats import Estimate, crossed, differences
from robxfer_core.reports.verdict import Word, verdicts_of

SEEDS, LEVELS, IMAGES = 5, 4, 500
HEAD = 0.005  # sd of accuracy over heads on one model: half a point


def study(rng: np.random.Generator, runs: int, shifts: list[float], ratio: float, base: float = 0.8) -> np.ndarray:
    """correct[run, level, seed, image] with expected accuracy base + shift at each level.

    A probit model: images differ in difficulty (variance 3 of the latent 4.2), differently by level (.2), and a model's
    variance is `ratio` times that of heads.
    """
    scale = np.sqrt(4.2)
    centre = scale * norm.ppf(base + np.array(shifts))[:, None, None]
    latent = rng.standard_normal((runs, LEVELS, SEEDS, IMAGES), dtype=np.float32)
    latent += np.sqrt(3) * rng.standard_normal((runs, 1, 1, IMAGES), dtype=np.float32)
    latent += np.sqrt(0.2) * rng.standard_normal((runs, LEVELS, 1, IMAGES), dtype=np.float32)
    per_accuracy = scale / norm.pdf(norm.ppf(base))
    sd = HEAD * per_accuracy * np.sqrt(1 + ratio)
    return latent + centre + sd * rng.standard_normal((runs, LEVELS, SEEDS, 1)) > 0


def words(correct: np.ndarray, margin: float = 0.01) -> list[Word]:
    """The verdict on each run, each a study with one target."""
    all_runs = differences(correct)
    runs = (Estimate(m, e, all_runs.df) for m, e in zip(all_runs.mean, all_runs.error, strict=True))
    return [verdicts_of([run], margin)[0].word for run in runs]


def rate(verdicts: list[Word], *wanted: Word) -> float:
    return np.mean([word in wanted for word in verdicts]).item()


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_false_verdicts_on_nulls(ratio: float) -> None:
    rng = np.random.default_rng(10)
    null = words(study(rng, 400, [0, 0, 0, 0], ratio))
    assert rate(null, "helps", "hinders", "mixed") <= 0.06
    edge = words(study(rng, 400, [0, -0.01, -0.01, -0.01], ratio))  # the hardest null: every difference on the margin
    assert rate(edge, "helps", "hinders", "mixed") <= 0.06
    no_margin = words(study(rng, 400, [0, 0, 0, 0], ratio), margin=1e-9)
    assert rate(no_margin, "helps", "hinders", "mixed") <= 0.06


def test_a_family_of_targets_has_the_error_of_one() -> None:
    rng = np.random.default_rng(11)
    targets = [differences(study(rng, 400, [0, -0.01, -0.01, -0.01], 2)) for _ in range(4)]
    false = 0
    for run in range(400):
        verdicts = verdicts_of([Estimate(t.mean[run], t.error[run], t.df) for t in targets])
        false += any(v.word in ("helps", "hinders", "mixed") for v in verdicts)
    assert false / 400 <= 0.06


def test_a_false_no_difference_is_as_rare() -> None:
    rng = np.random.default_rng(12)
    assert rate(words(study(rng, 400, [0, 0, 0, -0.011], 1), margin=0.01), "no_difference") <= 0.06


def test_a_planted_effect_is_found() -> None:
    rng = np.random.default_rng(13)
    found = words(study(rng, 200, [0, -0.05, -0.05, -0.05], 2))
    assert rate(found, "hinders") > 0.6
    assert rate(found, "helps", "mixed") == 0
    large = words(study(rng, 200, [0, 0.02, 0.08, 0.12], 3))
    assert rate(large, "helps") > 0.9


def test_the_detectable_effect_is_found_with_its_power() -> None:
    rng = np.random.default_rng(14)
    error = 0.012
    truth = verdicts_of([Estimate(np.zeros(3), np.full(3, error), 4)])[0].detectable
    assert truth is not None
    seeds = rng.standard_normal((2_000, 3, SEEDS, 1)) * error * np.sqrt(SEEDS)
    seeds[:, 2] -= truth
    sample = crossed(seeds)
    runs = [Estimate(m, e, 4) for m, e in zip(sample.mean, sample.error, strict=True)]
    assert 0.7 < rate([verdicts_of([run])[0].word for run in runs], "hinders", "mixed") < 0.9


def estimate(means: list[float], error: float = 0.002, df: int = 4) -> Estimate:
    return Estimate(np.array(means), np.full(len(means), error), df)


@pytest.mark.parametrize(
    ("means", "error", "word", "level"),
    [
        ([0.0, 0.02, 0.06], 0.002, "helps", 2),
        ([-0.05, -0.12, -0.01], 0.002, "hinders", 1),
        ([0.05, 0.0, -0.08], 0.002, "mixed", 2),
        ([0.001, -0.001, 0.0], 0.002, "no_difference", 0),
        ([0.001, -0.001, 0.0], 0.005, "not_shown", 0),
        ([0.0, 0.0, 0.04], 0.02, "not_shown", 2),
    ],
)
def test_the_table(means: list[float], error: float, word: Word, level: int) -> None:
    verdict = verdicts_of([estimate(means, error)])[0]
    assert (verdict.word, verdict.level) == (word, level)
    assert verdict.detectable is not None
    assert verdict.detectable > 0.01


def test_holm_withholds_what_one_target_alone_would_show() -> None:
    border = estimate([0.0, 0.0, 0.045], 0.008)
    assert verdicts_of([border])[0].word == "helps"
    assert [v.word for v in verdicts_of([border, estimate([0.0] * 3, 0.05)])] == ["not_shown", "not_shown"]
    both = verdicts_of([border, estimate([0.0, 0.0, 0.2], 0.002)])
    assert [v.word for v in both] == ["helps", "helps"]  # a rejected hypothesis gives its share back
    assert [v.alpha for v in both] == pytest.approx([0.05, 0.025])


def test_one_seed_shows_nothing() -> None:
    verdict = verdicts_of([Estimate(np.array([0.2, 0.3]), np.full(2, np.nan), 0)])[0]
    assert (verdict.word, verdict.detectable) == ("not_shown", None)
