"""Trimmed mean and median, coordinate by coordinate, against numpy."""

import numpy as np
import pytest

from strategies.order import median, trimmed_mean
from strategies.stack import stacked
from tests.fakes.updates import around, block_of, flat_of, update_of


def constant(*values: float) -> list[dict[str, np.ndarray]]:
    return [update_of(np.full(14, value, np.float32)) for value in values]


def test_the_trimmed_mean_of_five_is_that_of_the_middle_three() -> None:
    assert set(flat_of(trimmed_mean(stacked(constant(100, 2, 1, 3, -100)), 1))) == {2.0}


def test_trimming_nothing_is_the_mean() -> None:
    assert set(flat_of(trimmed_mean(stacked(constant(1, 2, 6)), 0))) == {3.0}


@pytest.mark.parametrize("trim", [2, 3, -1])
def test_there_must_be_something_left(trim: int) -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        trimmed_mean(stacked(constant(1, 2, 3, 4)), trim)


@pytest.mark.parametrize("sites", [1, 2, 3, 4, 7, 10])
def test_the_median_is_that_of_numpy(sites: int) -> None:
    updates = around(0.5, sites, spread=3.0)
    expected = np.median(block_of(updates).astype(np.float64), axis=0).astype(np.float32)
    assert np.array_equal(flat_of(median(stacked(updates))), expected)


def test_coordinates_are_sorted_each_by_itself() -> None:
    first, second, third = (np.zeros(14, np.float32) for _ in range(3))
    first[0], second[1], third[2] = 9, 9, 9  # everybody is odd in one place
    assert not flat_of(median(stacked([update_of(one) for one in (first, second, third)]))).any()
