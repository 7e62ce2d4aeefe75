"""Draws keep proportions, nest, and depend on their seed alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robxfer_core.science.data.subset import stratified_order, stratified_split


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 2**31 - 1))
def test_every_prefix_is_stratified(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    have = np.cumsum(np.eye(len(counts))[labels[order]], axis=0)
    share = np.outer(np.arange(1, len(labels) + 1), counts) / len(labels)
    assert np.abs(have - share).max() < 1


@given(st.integers(0, 100), st.floats(0, 0.9))
def test_a_split_is_a_stratified_partition(seed: int, fraction: float) -> None:
    labels = np.repeat([3, 5, 9], [40, 10, 25])
    rest, held = stratified_split(labels, fraction, seed)
    assert sorted([*rest, *held]) == list(range(75))
    assert len(held) == round(fraction * 75)
    for label in (3, 5, 9):
        assert abs((labels[held] == label).sum() - len(held) * (labels == label).mean()) < 1


def test_draws_depend_on_the_seed_alone() -> None:
    labels = np.arange(100) % 7
    assert np.array_equal(stratified_order(labels, 1), stratified_order(labels, 1))
    assert not np.array_equal(stratified_order(labels, 1), stratified_order(labels, 2))
    assert len(stratified_order(np.empty(0, np.int64), 0)) == 0
