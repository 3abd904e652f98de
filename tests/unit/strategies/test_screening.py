"""Screening: by length against the median norm, by direction against the coordinate-wise median."""

import numpy as np
import pytest

from protocol.plan import Screening
from strategies.screening import Standing, left_out, standing
from strategies.stack import stacked
from tests.fakes.updates import around, block_of, update_of

ALL = Screening(norm_factor=3.0, min_cosine=0.0)


def test_norms_and_cosines_are_those_of_the_definition() -> None:
    updates = around(0.2, 6, spread=1.0)
    block = block_of(updates).astype(np.float64)
    middle = np.median(block, axis=0)
    found = standing(stacked(updates))
    lengths = np.linalg.norm(block, axis=1)
    assert found.norms == pytest.approx(lengths)
    assert found.cosines == pytest.approx(block @ middle / lengths / np.linalg.norm(middle), rel=1e-5)


@pytest.mark.parametrize("factor", [-1.0, -0.01, 10.0, -50.0, 1e20])
def test_a_flipped_or_a_loud_update_is_left_out_and_nobody_else(factor: float) -> None:
    updates = around(1.0, 7)
    updates[4] = update_of(np.full(14, factor, np.float32))
    assert left_out(standing(stacked(updates)), ALL) == [4]


def test_each_rule_sees_its_own_kind_only() -> None:
    found = Standing(norms=np.array([1.0, 1.0, 1.0, 9.0]), cosines=np.array([0.9, 0.8, -0.5, 0.9]))
    assert left_out(found, Screening(norm_factor=3.0)) == [3]
    assert left_out(found, Screening(min_cosine=0.0)) == [2]
    assert left_out(found, ALL) == [2, 3]
    assert left_out(found, Screening()) == []


def test_honest_updates_that_are_noise_and_nothing_else_all_pass() -> None:
    rng = np.random.default_rng(1)
    updates = [{"w": rng.normal(size=20_000).astype(np.float32)} for _ in range(10)]
    assert left_out(standing(stacked(updates)), ALL) == []


def test_an_update_of_zeros_has_no_direction_to_object_to() -> None:
    updates = [*around(1.0, 4), update_of(np.zeros(14, np.float32))]
    assert left_out(standing(stacked(updates)), ALL) == []
    assert left_out(standing(stacked(around(0, 4, spread=0))), ALL) == []


def test_where_most_say_nothing_whoever_says_something_is_too_loud() -> None:
    updates = [*around(0, 4, spread=0), *around(1.0, 1)]
    assert left_out(standing(stacked(updates)), Screening(norm_factor=3.0)) == [4]
