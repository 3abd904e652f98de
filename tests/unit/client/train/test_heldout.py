"""What leaves of an evaluation: how far one patient moves it, that noise lies over all of it, who is in which group."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.store.records import HeldOutCase
from client.train.groups import groups_of
from client.train.heldout import noised_sums
from client.train.noise import Randomness
from protocol.evaluation import COUNT_WEIGHT, KINDS, SENSITIVITY, Group, GroupSum
from protocol.plan import EvaluationPlan
from tests.fakes.random_bytes import CountedBytes

PLAN = EvaluationPlan(noise_multiplier=2.0, minimum_group=1)
EVERYBODY = frozenset({Group.ALL})


class Silent(Randomness):
    """No noise: what is added up shows."""

    def normal64(self, shape: tuple[int, ...], *, std: float) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64)


class Loud(Randomness):
    """Remembers how much noise was asked for."""

    std = 0.0
    shape: tuple[int, ...] = ()

    def normal64(self, shape: tuple[int, ...], *, std: float) -> torch.Tensor:
        self.std, self.shape = std, shape
        return torch.zeros(shape, dtype=torch.float64)


def case(sex: str = "", age_band: str = "", maker: str = "") -> HeldOutCase:
    return HeldOutCase(None, sex, age_band, maker)  # type: ignore[arg-type] # the groups look at the words only


def by_group(sums: tuple[GroupSum, ...]) -> dict[Group, tuple[int, int]]:
    return {one.group: (one.gain, one.cases) for one in sums}


def test_differences_are_added_up_in_units_of_the_clip() -> None:
    found = [(0.05, EVERYBODY), (0.05, EVERYBODY), (-0.05, EVERYBODY)]
    assert by_group(noised_sums(found, PLAN, Silent())) == {Group.ALL: (1, 3)}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_no_number_counts_for_no_more_than_the_clip_either(odd: float) -> None:
    gain, cases = by_group(noised_sums([(odd, EVERYBODY), (0.05, EVERYBODY)], PLAN, Silent()))[Group.ALL]
    assert (abs(gain - 1), cases) == (1, 2)


def test_one_patient_counts_for_no_more_than_the_clip() -> None:
    assert by_group(noised_sums([(-1.0, EVERYBODY), (1.0, EVERYBODY), (1.0, EVERYBODY)], PLAN, Silent())) == {
        Group.ALL: (1, 3)
    }


def test_each_group_has_its_own_sum() -> None:
    women, men = frozenset({Group.ALL, Group.FEMALE}), frozenset({Group.ALL, Group.MALE})
    found = [(0.05, women), (0.05, women), (-0.05, men)]
    assert by_group(noised_sums(found, PLAN, Silent())) == {
        Group.ALL: (1, 3),
        Group.FEMALE: (2, 2),
        Group.MALE: (-1, 1),
    }


def test_a_group_of_few_is_absent_and_all_patients_never_are() -> None:
    plan = PLAN.model_copy(update={"minimum_group": 3})
    women = frozenset({Group.ALL, Group.FEMALE})
    assert set(by_group(noised_sums([(0.0, women)] * 2, plan, Silent()))) == {Group.ALL}
    assert set(by_group(noised_sums([(0.0, women)] * 3, plan, Silent()))) == {Group.ALL, Group.FEMALE}


def test_noise_lies_over_every_group_and_count_whoever_is_there() -> None:
    loud = Loud()
    noised_sums([], PLAN, loud)
    assert loud.std == pytest.approx(2.0 * SENSITIVITY)
    assert loud.shape == (2, len(Group))


def test_the_noise_is_as_wide_as_the_plan_says() -> None:
    randomness = Randomness(CountedBytes(7))
    drawn = [by_group(noised_sums([], PLAN, randomness))[Group.ALL] for _ in range(2000)]
    gains, cases = np.array(drawn).T
    assert np.std(gains) == pytest.approx(2.0 * SENSITIVITY, rel=0.1)
    assert np.std(cases) == pytest.approx(2.0 * SENSITIVITY / COUNT_WEIGHT, rel=0.1)


def test_a_patient_in_more_groups_than_the_noise_is_made_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="more groups"):
        noised_sums([(0.0, frozenset(list(Group)[: KINDS + 1]))], PLAN, Silent())


_SEXES = ("", "female", "male", "other", "unknown")
_BANDS = ("", "0-19", "20-39", "40-49", "50-59", "60-69", "70-79", "80+", "unknown")
_MAKERS = ("", "SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "TOSHIBA", "Canon Medical Systems", "Neusoft", "  ")


@pytest.mark.parametrize("words", list(product(_SEXES, _BANDS[::3], _MAKERS[::2])), ids=str)
def test_nobody_is_in_more_groups_than_there_are_kinds(words: tuple[str, str, str]) -> None:
    found = groups_of(case(*words))
    assert Group.ALL in found
    assert len(found) <= KINDS


@given(st.floats(-1, 1), st.sampled_from(_SEXES), st.sampled_from(_BANDS), st.sampled_from(_MAKERS))
def test_one_patient_moves_the_vector_by_the_sensitivity_at_most(
    difference: float, sex: str, band: str, maker: str
) -> None:
    groups = groups_of(case(sex, band, maker))
    gain = max(-1.0, min(1.0, difference / 0.05))
    moved = math.sqrt(len(groups) * (gain**2 + COUNT_WEIGHT**2))
    assert moved <= SENSITIVITY + 1e-12


@pytest.mark.parametrize(
    ("maker", "group"),
    [
        ("SIEMENS", Group.SIEMENS),
        ("Siemens Healthineers", Group.SIEMENS),
        ("GE MEDICAL SYSTEMS", Group.GE),
        ("TOSHIBA", Group.CANON),
        ("Philips", Group.PHILIPS),
        ("Neusoft", Group.OTHER_MAKER),
    ],
)
def test_makers_are_known_by_their_first_word(maker: str, group: Group) -> None:
    assert groups_of(case(maker=maker)) == {Group.ALL, group}


def test_what_is_unknown_is_in_no_group() -> None:
    assert groups_of(case("unknown", "unknown", "")) == {Group.ALL}
