"""Krum's score, by hand and against its definition."""

import numpy as np
import pytest

from strategies.krum import krum, krum_scores, multi_krum, squared_distances
from strategies.stack import stacked
from tests.fakes.updates import around, block_of, flat_of, same, update_of


def line(*places: float) -> list[dict[str, np.ndarray]]:
    """Updates on a line: the squared distance of two is 14 times that of their places."""
    return [update_of(np.full(14, place, np.float32)) for place in places]


def test_distances_are_those_of_the_definition() -> None:
    updates = around(0, 6, spread=5.0)
    block = block_of(updates).astype(np.float64)
    expected = np.square(block[:, None] - block[None]).sum(axis=2)
    assert np.allclose(squared_distances(stacked(updates)), expected, rtol=1e-12)


def test_an_enormous_update_costs_the_others_no_digit() -> None:
    near, far = line(1.0, 1.0 + 1e-6), line(1e30)
    distance = squared_distances(stacked([*near, *far]))[0, 1]
    apart = float(np.float32(1.0 + 1e-6)) - 1.0
    assert distance == pytest.approx(14 * apart**2, rel=1e-12)


def test_the_score_is_the_sum_over_the_nearest_neighbours() -> None:
    # n = 5, f = 1: two neighbours count.
    scores = krum_scores(squared_distances(stacked(line(0, 1, 2, 3, 100))), 1) / 14
    assert scores.tolist() == [1 + 4, 1 + 1, 1 + 1, 1 + 4, 97**2 + 98**2]


def test_multi_krum_is_the_mean_of_the_best() -> None:
    # n = 7, f = 2: three are averaged, those in the thick of it.
    updates = line(0, 0.1, 0.2, 5, 7, -40, 50)
    assert flat_of(multi_krum(stacked(updates), 2)) == pytest.approx([0.1] * 14)


def test_of_equal_scores_the_content_decides_and_not_who_came_first() -> None:
    updates = line(0, 1, 2, 3, 4)  # 1, 2 and 3 have one score
    assert same(krum(stacked(updates), 1), krum(stacked(updates[::-1]), 1))


@pytest.mark.parametrize(("sites", "byzantine"), [(4, 1), (6, 2), (8, 3), (2, 0), (5, -1)])
def test_too_many_hostile_ones_are_refused(sites: int, byzantine: int) -> None:
    with pytest.raises(ValueError, match="needs"):
        krum(stacked(around(0, sites)), byzantine)
