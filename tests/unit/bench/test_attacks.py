"""The attacks are what their papers say, against those papers' own conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks import ATTACKS, LABEL_FLIP, REPLACEMENT, SPREADS, TAUGHT, little_is_enough, min_max, min_sum
from tests.fakes.updates import around, block_of, flat_of


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def some(seed: int, sites: int = 8, values: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(rng.normal(0, 3, values), rng.uniform(0.1, 2, values), (sites, values))


def test_scaled_flipped_and_noisy_updates_are_made_of_the_sites_own() -> None:
    rng, own = np.random.default_rng(0), {"w": np.full(10_000, 0.5, np.float32)}
    assert set(ATTACKS["sign flip"](own, [], rng)["w"]) == {-0.5}
    assert set(ATTACKS["scaling"](own, [], rng)["w"]) == {-5.0}
    assert np.linalg.norm(ATTACKS["noise"](own, [], rng)["w"]) == pytest.approx(20 * np.linalg.norm(own["w"]), rel=0.05)
    assert set(ATTACKS[LABEL_FLIP](own, [], rng)["w"]) == {0.5}
    assert set(TAUGHT[REPLACEMENT](own, [], rng)["w"]) == {5.0}


def test_alie_stays_within_so_many_spreads_of_each_value() -> None:
    honest = some(1)
    away = (little_is_enough(honest) - honest.mean(axis=0)) / honest.std(axis=0)
    assert away == pytest.approx(-SPREADS)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), sites=st.integers(3, 12))
def test_min_max_is_as_far_from_one_honest_update_as_two_of_them_are_at_most_and_no_further(
    seed: int, sites: int
) -> None:
    honest = some(seed, sites)
    forged = min_max(honest)
    most = max(apart(one, other) for one in honest for other in honest)
    assert max(apart(forged, one) for one in honest) == pytest.approx(most)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), sites=st.integers(3, 12))
def test_min_sum_has_the_sum_of_squares_of_the_most_remote_honest_update(seed: int, sites: int) -> None:
    honest = some(seed, sites)
    sums = [sum(apart(one, other) ** 2 for other in honest) for one in honest]
    assert sum(apart(min_sum(honest), other) ** 2 for other in honest) == pytest.approx(max(sums))


@pytest.mark.parametrize("forged", [little_is_enough, min_max, min_sum])
def test_where_all_honest_sites_say_the_same_there_is_nowhere_to_hide(forged) -> None:  # type: ignore[no-untyped-def]
    assert np.array_equal(forged(np.ones((5, 3))), np.ones(3))


@pytest.mark.parametrize("name", ["a little is enough", "min-max", "min-sum"])
def test_what_is_sent_has_the_layout_of_an_update_and_is_what_was_forged(name: str) -> None:
    honest = around(1.0, 8, spread=0.5)
    sent = ATTACKS[name](honest[0], honest, np.random.default_rng(0))
    expected = {"a little is enough": little_is_enough, "min-max": min_max, "min-sum": min_sum}[name]
    assert {key: (array.shape, array.dtype) for key, array in sent.items()} == {
        key: (array.shape, array.dtype) for key, array in honest[0].items()
    }
    assert flat_of(sent) == pytest.approx(expected(block_of(honest).astype(np.float64)), rel=1e-5)
