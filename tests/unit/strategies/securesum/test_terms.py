"""Thresholds: what they promise, tried out on every way in which sites can be split."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.plan import SecureSumPlan
from strategies.securesum.terms import Terms, check_plan, fewest_sites, terms_of
from tests.fakes.circle import secure_plan

SMALL = st.integers(0, 6)


@given(SMALL, SMALL)
def test_one_site_fewer_than_needed_is_refused(dropouts: int, colluders: int) -> None:
    secure = SecureSumPlan(dropouts=dropouts, colluders=colluders)
    needed = fewest_sites(secure)
    assert terms_of(needed, secure).sites == needed
    with pytest.raises(RefusedError) as refused:
        terms_of(needed - 1, secure)
    assert refused.value.code is Code.TOO_FEW_SITES


@given(SMALL, SMALL, st.integers(0, 5))
def test_no_two_views_of_a_lying_centre_reach_the_threshold(dropouts: int, colluders: int, more: int) -> None:
    """Each honest site signs one view or the other; every colluder signs both."""
    secure = SecureSumPlan(dropouts=dropouts, colluders=colluders)
    terms = terms_of(fewest_sites(secure) + more, secure)
    honest = terms.sites - colluders
    for one in range(honest + 1):
        assert min(one + colluders, honest - one + colluders) < terms.threshold


@given(SMALL, SMALL, st.integers(0, 5))
def test_a_sum_that_opens_hides_two_honest_summands_and_all_of_the_noise(
    dropouts: int, colluders: int, more: int
) -> None:
    secure = SecureSumPlan(dropouts=dropouts, colluders=colluders)
    terms = terms_of(fewest_sites(secure) + more, secure)
    share = terms.share_of_noise(4.0)
    for left, bad in product(range(terms.threshold, terms.sites + 1), range(colluders + 1)):
        assert left - bad >= 2
        assert (left - bad) * share**2 >= 16.0 - 1e-9


def test_three_sites_bear_one_dropout_or_one_colluder_and_not_both() -> None:
    assert terms_of(3, SecureSumPlan(dropouts=1, colluders=0)).threshold == 2
    assert terms_of(3, SecureSumPlan(dropouts=0, colluders=1)).threshold == 3
    with pytest.raises(RefusedError):
        terms_of(3, SecureSumPlan(dropouts=1, colluders=1))


def test_two_sites_have_no_secrets_from_each_other() -> None:
    with pytest.raises(RefusedError):
        terms_of(2, SecureSumPlan(dropouts=0, colluders=0))


def test_more_colluders_leave_less_noise_down_to_the_own_share() -> None:
    terms = Terms(sites=6, dropouts=1, colluders=1)
    left = [terms.noise_against(bad, 4.0) for bad in range(6)]
    assert left[1] == pytest.approx(4.0)
    assert left == sorted(left, reverse=True)
    assert left[-1] == terms.share_of_noise(4.0)


def test_a_plan_without_secure_summation_has_none() -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_plan(secure_plan(4).model_copy(update={"secure_sum": None}))
    assert refused.value.code is Code.BAD_SETTING


def test_more_than_one_step_a_round_is_refused() -> None:
    privacy = secure_plan(4).privacy.model_copy(update={"steps_per_round": 2})
    with pytest.raises(InvalidInputError, match="steps_per_round"):
        check_plan(secure_plan(4, privacy=privacy))


def test_a_plan_with_too_few_sites_is_refused() -> None:
    with pytest.raises(RefusedError):
        check_plan(secure_plan(4, dropouts=2))
