"""The sentence that says what a plan leaves open."""

import pytest

from protocol.plan import Screening, StrategyName
from strategies.threat import threat_left_open
from tests.fakes.circle import secure_plan
from tests.fakes.rounds import a_plan
from tests.unit.strategies.test_rules import KEYS


@pytest.mark.parametrize("name", sorted(StrategyName))
def test_every_strategy_says_something_of_hostile_sites(name: StrategyName) -> None:
    said = threat_left_open(a_plan(strategy=name, quorum=7, **KEYS.get(name, {})))
    assert "hostile" in said or "half of the sites" in said


def test_the_plain_mean_says_that_it_withstands_nobody_and_that_the_centre_sees_updates() -> None:
    assert threat_left_open(a_plan()) == (
        "Withstands no hostile site: one update can move the mean anywhere. The centre sees each site's own noised update."
    )


def test_numbers_of_the_plan_are_named() -> None:
    said = threat_left_open(a_plan(strategy=StrategyName.TRIMMED_MEAN, trim=2, quorum=5))
    assert "Withstands 2 hostile sites" in said
    assert "3 that act together" in said
    screened = threat_left_open(a_plan(quorum=3, screening=Screening(norm_factor=2.5, min_cosine=0.1)))
    assert "2.5 times the median norm or whose cosine" in screened
    assert "below 0.1" in screened
    assert "not hindered" in screened


def test_a_sum_says_that_nothing_can_be_screened() -> None:
    said = threat_left_open(secure_plan(3))
    assert said.endswith("no single one, so it can screen out none.")
    assert "sees each site's own" not in said


def test_whatever_compares_updates_says_that_the_centre_sees_them() -> None:
    assert "sees each site's own" in threat_left_open(a_plan(strategy=StrategyName.MEDIAN, quorum=3))
    assert "sees each site's own" in threat_left_open(a_plan(quorum=3, screening=Screening(norm_factor=3)))
