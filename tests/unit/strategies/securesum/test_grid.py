"""The grid: sums never wrap around, rounding is bounded and paid for, and rounded noise stays what the theorem needs."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.ledger.account import Event, epsilon
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.plan import PrivacyPlan
from strategies.securesum.grid import (
    MODULUS,
    NOISE_REACH,
    STEPS_OF_NOISE,
    Grid,
    charged,
    check_range,
    grid_of,
)
from strategies.securesum.terms import terms_of
from tests.fakes.circle import secure_plan

GRID = Grid(step=0.25, data_bound=100, noise_bound=1000)
PLANS = st.builds(
    lambda sites, sigma, norm, batch: secure_plan(
        sites,
        dropouts=1,
        privacy=PrivacyPlan(
            noise_multiplier=sigma, clipping_norm=norm, sample_rate=0.1, expected_batch=batch, steps_per_round=1
        ),
    ),
    st.integers(4, 100),
    st.floats(0.3, 100),
    st.floats(1e-3, 100),
    st.integers(1, 500),
)


@given(PLANS)
def test_the_sum_of_the_largest_summands_does_not_wrap_around(plan: Any) -> None:
    grid, sites = grid_of(plan), len(plan.sites)
    assert sites * grid.bound < MODULUS // 2
    for sign in (1, -1):
        largest = np.full(1, sign * grid.bound, np.int64).astype(np.uint32)
        total = np.zeros(1, np.uint32)
        for _ in range(sites):
            total += largest
        assert grid.value(total)[0] == sign * sites * grid.bound * grid.step


@given(PLANS)
def test_the_grid_is_the_finest_of_its_kind(plan: Any) -> None:
    grid = grid_of(plan)
    assert math.log2(grid.step).is_integer()
    assert 2 * len(plan.sites) * grid.bound * 1.001 + 8 * len(plan.sites) >= MODULUS // 2


@given(PLANS)
def test_every_circle_that_the_terms_allow_has_room_for_its_noise_and_noise_enough(plan: Any) -> None:
    grid, privacy = grid_of(plan), plan.privacy
    for sites in range(4, len(plan.sites) + 1):
        std = terms_of(sites, plan.secure_sum).share_of_noise(privacy.noise_multiplier) * privacy.clipping_norm
        assert NOISE_REACH * std / grid.step <= grid.noise_bound
        assert std >= STEPS_OF_NOISE * grid.step


def test_a_sum_that_could_wrap_is_refused() -> None:
    check_range(2, 2**30 - 1)
    with pytest.raises(InvalidInputError) as refused:
        check_range(2, 2**30)
    assert refused.value.code is Code.BAD_SETTING


def test_noise_too_small_for_any_grid_is_refused() -> None:
    privacy = secure_plan(4).privacy.model_copy(update={"noise_multiplier": 1e-6, "expected_batch": 100_000})
    with pytest.raises(InvalidInputError, match="too small"):
        grid_of(secure_plan(4, privacy=privacy))


def test_a_summand_is_rounded_data_plus_rounded_noise() -> None:
    data, noise = np.array([0.3, -0.4, 1.0]), np.array([0.6, -0.1, -2.0])
    total = GRID.summand(data, noise)
    assert total.view(np.int32).tolist() == [1 + 2, -2 + 0, 4 - 8]
    assert GRID.value(total).tolist() == [0.75, -0.5, -1.0]


def test_a_summand_of_many_pieces_is_that_of_its_values() -> None:
    chance = np.random.default_rng(4)
    data, noise = chance.normal(scale=20, size=50_001).astype(np.float32), chance.normal(scale=9, size=50_001)
    slow = [
        min(max(round(d / 0.25), -100), 100) + round(z / 0.25)
        for d, z in zip(data.tolist(), noise.tolist(), strict=True)
    ]
    assert max(abs(data)) > 25, "some are cut off"
    assert GRID.summand(data, noise).view(np.int32).tolist() == slow


def test_data_out_of_bounds_are_cut_off_at_them() -> None:
    total = GRID.summand(np.array([1e9, -1e9]), np.zeros(2))
    assert total.view(np.int32).tolist() == [100, -100]


@pytest.mark.parametrize(
    ("data", "noise"), [(np.nan, 0.0), (np.inf, 0.0), (0.0, np.nan), (0.0, np.inf), (0.0, 1000 * 0.25 + 0.2)]
)
def test_what_is_not_finite_or_out_of_the_proved_bound_of_noise_is_refused(data: float, noise: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        GRID.summand(np.array([data]), np.array([noise]))


@given(st.lists(st.floats(-30, 30), min_size=6, max_size=6), st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_one_patient_moves_the_rounded_sum_by_no_more_than_what_is_charged(
    others: list[float], patient: list[float]
) -> None:
    without = np.array(others)
    moved = np.array(patient)
    norm = float(np.linalg.norm(moved))
    none = np.zeros(6)
    difference = GRID.value(GRID.summand(without + moved, none) - GRID.summand(without, none))
    plan = PrivacyPlan(
        noise_multiplier=1, clipping_norm=max(norm, 1e-9), sample_rate=0.1, expected_batch=1, steps_per_round=1
    )
    assert np.linalg.norm(difference) <= charged(plan, GRID, values=6).clipping_norm + 1e-9


def test_rounding_can_cost_more_than_the_clipping_norm() -> None:
    """So a charge at C would be too low: a patient of norm 0.06 moves the rounded sum by 0.5."""
    without, moved = np.full(4, 0.11), np.full(4, 0.03)
    none = np.zeros(4)
    difference = GRID.value(GRID.summand(without + moved, none) - GRID.summand(without, none))
    assert np.linalg.norm(difference) == 0.5 > np.linalg.norm(moved)


def test_the_charge_is_larger_than_without_rounding() -> None:
    plan = secure_plan(20, dropouts=2)
    more = charged(plan.privacy, grid_of(plan), values=5_000_000)
    assert more.clipping_norm > plan.privacy.clipping_norm
    assert more.noise_multiplier * more.clipping_norm == pytest.approx(4.0)
    cost = [epsilon([event(one)] * 30, 1e-5) for one in (plan.privacy, more)]
    assert cost[0] < cost[1] < 1.05 * cost[0]


def event(privacy: PrivacyPlan) -> Event:
    return Event(
        noise_multiplier=privacy.noise_multiplier, sample_rate=privacy.sample_rate, steps=privacy.steps_per_round,
        clipping_norm=privacy.clipping_norm,
    )  # fmt: skip


def test_the_sum_of_rounded_noise_is_the_rounded_sum_of_noise_and_uniforms() -> None:
    """The theorem of ADR 0092, computed: two shares of 8 steps each against their ideal, point by point."""
    std = STEPS_OF_NOISE
    places = np.arange(-400, 401)
    one = rounded_normal(places, std)
    both = np.convolve(one, one, mode="same")
    fine = 201
    cells = (np.arange(fine) + 0.5) / fine - 0.5
    ideal = np.mean([rounded_normal(places, std * math.sqrt(2), shift=u) for u in cells], axis=0)
    assert np.abs(both - ideal).max() < 1e-6  # of 201 cells in place of an integral
    coarse = np.mean([rounded_normal(places, std, shift=u) for u in cells], axis=0)
    assert np.abs(both - coarse).max() > 1e-3, "the comparison notices another amount of noise"


def rounded_normal(places: np.ndarray, std: float, *, shift: float = 0.0) -> np.ndarray:
    edges = np.array([math.erf((place - 0.5 - shift) / (std * math.sqrt(2))) for place in [*places, places[-1] + 1]])
    return np.diff(edges) / 2
