"""Statistics of the report: known answers, and coverage by simulation (fixed seeds)."""

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from robxfer_core.planning.power import detectable_effect
from robxfer_core.reports import stats

# Page (1963), table 2: least L that is significant at .05, .01 (levels, seeds): critical values
PAGE = {(3, 3): (41, 42), (3, 5): (66, 68), (4, 2): (58, 60), (4, 3): (84, 87), (4, 5): (137, 141), (5, 4): (197, 204)}


def layout(rng: np.random.Generator, runs: int, seeds: int, images: int, sd: tuple[float, float, float]) -> np.ndarray:
    """values[run, seed, image] with mean 0 and standard deviations of seeds, images and residuals."""
    a, b, r = sd
    return (
        a * rng.standard_normal((runs, seeds, 1))
        + b * rng.standard_normal((runs, 1, images))
        + r * rng.standard_normal((runs, seeds, images))
    )


def test_without_image_effects_the_interval_is_the_paired_t_interval() -> None:
    values = np.array([0.1, 0.13, 0.08, 0.12, 0.11])
    low, high = stats.over_seeds(values).interval(0.05)
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_the_variance_is_unbiased_in_a_crossed_layout() -> None:
    sd, seeds, images = (0.02, 0.3, 0.4), 5, 60
    x = layout(np.random.default_rng(1), 20_000, seeds, images, sd)
    estimate = stats.crossed(x)
    truth = sd[0] ** 2 / seeds + sd[1] ** 2 / images + sd[2] ** 2 / (seeds * images)
    assert np.var(estimate.mean) == pytest.approx(truth, rel=0.04)
    assert np.mean(estimate.error**2) == pytest.approx(truth, rel=0.03)
    over_seeds_alone = stats.over_seeds(x.mean(-1))
    assert np.mean(over_seeds_alone.error**2) < 0.7 * truth  # the reason for the image part


@pytest.mark.parametrize("sd", [(0.02, 0.0, 0.4), (0.02, 0.4, 0.3), (0.0, 0.4, 0.3), (0.05, 0.1, 0.1)])
def test_intervals_cover(sd: tuple[float, float, float]) -> None:
    low, high = stats.crossed(layout(np.random.default_rng(2), 4_000, 5, 80, sd)).interval(0.05)
    assert np.mean((low <= 0) & (high >= 0)) >= 0.93


def test_intervals_cover_all_levels_at_once() -> None:
    rng = np.random.default_rng(3)
    x = np.stack([layout(rng, 4_000, 5, 60, (0.02, 0.3, 0.3)) for _ in range(4)], axis=1)
    low, high = stats.differences(x).interval(0.05, 3)
    assert low.shape == (4_000, 3)
    assert np.mean(((low <= 0) & (high >= 0)).all(-1)) >= 0.93


def test_one_seed_has_no_interval() -> None:
    one = stats.crossed(np.array([[0.0, 1.0, 1.0]]))
    assert one.df == 0
    assert np.isnan(one.interval(0.05)[0])
    assert one.p_above(0) == 1


def test_equal_values_have_a_point_for_an_interval() -> None:
    same = stats.differences(np.ones((2, 5, 40)))
    assert same.interval(0.05) == (0, 0)
    assert same.p_above(0.01) == 1


def test_slope_weights_are_least_squares() -> None:
    eps, accuracy = [0, 0.5, 1, 2], [0.9, 0.85, 0.86, 0.7]
    assert stats.slope_weights(eps) @ accuracy == pytest.approx(np.polyfit(eps, accuracy, 1)[0])


def test_holm_on_a_worked_example() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert stats.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm_levels(p, 0.05) == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])


def test_holm_rejects_where_p_is_at_most_its_level() -> None:
    rng = np.random.default_rng(4)
    for p in rng.random((500, 4)) ** 3:
        assert ((p <= stats.holm_levels(p, 0.05)) == (stats.holm(p) <= 0.05)).all()


@pytest.mark.parametrize(("shape", "critical"), PAGE.items())
def test_pages_law_is_the_published_table(shape: tuple[int, int], critical: tuple[int, int]) -> None:
    levels, seeds = shape
    law: dict[int, float] = {0: 1.0}
    for _ in range(seeds):  # the law of L, by itself
        following: dict[int, float] = {}
        orders = list(itertools.permutations(range(1, levels + 1)))
        for order in orders:
            score = sum(j * rank for j, rank in enumerate(order, 1))
            for total, mass in law.items():
                following[total + score] = following.get(total + score, 0) + mass / len(orders)
        law = following
    tail = {total: sum(mass for other, mass in law.items() if other >= total) for total in law}
    for alpha, value in zip((0.05, 0.01), critical, strict=True):
        assert min(total for total, p in tail.items() if p <= alpha) == value
    rng = np.random.default_rng(5)
    for data in rng.random((20, seeds, levels)) + 0.2 * np.arange(levels):
        trend = stats.page_trend_test(data)
        assert trend.p_increasing == pytest.approx(tail[int(trend.statistic)])


def test_page_agrees_with_scipy_and_mirrors() -> None:
    data = np.random.default_rng(6).random((5, 4)) + 0.1 * np.arange(4)
    trend, mirrored = stats.page_trend_test(data), stats.page_trend_test(-data)
    theirs = scipy_stats.page_trend_test(data, method="exact")
    assert (trend.statistic, trend.p_increasing) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert mirrored.p_decreasing == pytest.approx(trend.p_increasing)


def test_page_under_the_null_with_ties() -> None:
    rng = np.random.default_rng(7)
    p = np.array([stats.page_trend_test(rng.integers(0, 4, (5, 4))).p_decreasing for _ in range(1_000)], dtype=float)
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 1_000)
    assert np.mean(p <= 0.5) > 0.4  # and not merely conservative


def test_page_by_draws_is_near_the_normal_law_and_repeats() -> None:
    data = np.random.default_rng(8).random((4, 10)) + 0.04 * np.arange(10)
    trend = stats.page_trend_test(data)
    assert trend == stats.page_trend_test(data)
    theirs = scipy_stats.page_trend_test(data, method="asymptotic")
    assert trend.p_increasing == pytest.approx(theirs.pvalue, abs=0.01)


def test_one_seed_permutes_its_levels_only_where_there_are_six() -> None:
    assert stats.page_trend_test(np.arange(5.0)[None]).p_increasing is None
    assert stats.page_trend_test(np.arange(6.0)[None]).p_increasing == pytest.approx(1 / 720)


def test_rank_correlations() -> None:
    assert stats.rank_correlations([0, 1, 2], [[0.3, 0.2, 0.1], [0.1, 0.1, 0.1]]) == {"spearman": -1, "kendall": -1}
    assert stats.rank_correlations([0, 1, 2], [[0.1, 0.1, 0.1]])["spearman"] is None


def test_the_detectable_effect_of_a_plan_is_that_of_the_report() -> None:
    estimate = stats.Estimate(np.zeros(3), np.full(3, np.sqrt(0.02**2 / 5 + 0.3**2 / 500)), 4)
    planned = detectable_effect(5, 4, 500, 0.02, 0.3, targets=2)
    assert planned == pytest.approx(stats.detectable(estimate, 0.05 / 2, 0.01))
    assert detectable_effect(1, 4, 500, 0.02, 0.3) is None
    # 0.01 + (2.776445 + 0.940965) * sqrt(0.02**2 / 5 + 0.3**2 / 500): t at 4 degrees of freedom, from a table
    assert detectable_effect(5, 2, 500, 0.02, 0.3) == pytest.approx(0.06994, abs=1e-5)
