"""The mean after clipping to the median norm."""

import numpy as np
import pytest

from strategies.clipped import clipped_mean, clipping_factors, norms
from strategies.stack import stacked
from tests.fakes.updates import around, block_of, flat_of, update_of


def test_norms_are_those_of_numpy() -> None:
    updates = around(1, 5, spread=4)
    assert norms(stacked(updates)) == pytest.approx(np.linalg.norm(block_of(updates).astype(np.float64), axis=1))


def test_only_what_is_longer_than_the_median_is_scaled() -> None:
    assert list(clipping_factors(np.array([0.0, 1.0, 2.0, 4.0, 20.0]))) == [1, 1, 1, 0.5, 0.1]


def test_three_updates_give_their_exact_mean() -> None:
    updates = [update_of(np.full(14, value, np.float32)) for value in (1, 2, -400)]
    assert flat_of(clipped_mean(stacked(updates))) == pytest.approx([(1 + 2 - 2) / 3] * 14)


def test_updates_of_nothing_stay_nothing() -> None:
    assert not flat_of(clipped_mean(stacked(around(0, 3, spread=0)))).any()
