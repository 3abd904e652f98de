"""Intervals hold what they are of as often as they say."""

import numpy as np
import pytest

from bench import intervals


def test_a_means_interval_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    draws = [intervals.of_mean(list(rng.normal(3.0, 1.0, 30))) for _ in range(60)]
    assert sum(low <= 3.0 <= high for low, high in draws) >= 52
    assert all(high - low < 1.2 for low, high in draws)


def test_cases_that_are_all_alike_leave_nothing_open() -> None:
    assert intervals.of_mean([2.0, 2.0]) == (2.0, 2.0)


def test_a_shares_interval_is_the_exact_one() -> None:
    """3 of 3: the low end is the p for which 0.975 is left, p³ = 0.025."""
    low, high = intervals.of_share(3, 3)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 3)), 1.0)


def test_auc_counts_pairs_and_halves_ties() -> None:
    ill = np.array([True, True, False, False])
    assert intervals.auc(np.array([3.0, 1.0, 1.0, 0.0]), ill) == (1 + 1 + 0.5 + 1) / 4
    assert np.isnan(intervals.auc(np.array([1.0]), np.array([True])))


def test_an_aucs_interval_is_wide_where_slices_come_in_runs() -> None:
    rng = np.random.default_rng(2)
    ill = np.repeat([False, True, False, True], 25)
    clear = ill + rng.normal(0, 0.1, 100)
    vague = ill + rng.normal(0, 1.0, 100)
    (low, high), (low_vague, high_vague) = intervals.of_auc(clear, ill), intervals.of_auc(vague, ill)
    assert low == high == 1.0
    assert low_vague < intervals.auc(vague, ill) < high_vague
    assert high_vague - low_vague > 0.1
