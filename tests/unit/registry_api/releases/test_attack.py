"""Attacks on published counts. They must gain nothing against our rule, and must succeed against a plain threshold: else they prove nothing."""

import random
from collections import Counter
from functools import cache

import pytest

from registry_api.releases.disclosure import Line, Rule, implied, protect, rounded
from tests.unit.registry_api.releases.tables_of_studies import (
    EXACT,
    RULE,
    Loot,
    Protection,
    Week,
    only_zeros,
    plain_threshold,
    random_week,
    squeeze,
    subtract,
)

MARGIN = 0.02
"""Two points: no attack may do better than guessing by more."""


@cache
def weeks() -> list[Week]:
    return [random_week(seed) for seed in range(14)] + [
        random_week(seed, per_site=[size] * 8) for seed, size in enumerate((4, 8, 16, 60, 150))
    ]


@cache
def squeezed(protection: Protection, *, rule: Rule = RULE) -> Loot:
    """Every masked cell of every week, attacked a few times over."""
    source = random.Random(11)
    parts = [squeeze(week, protection, source=source, rule=rule) for week in weeks()]
    return Loot(sum(part.tries for part in parts), sum(part.hits for part in parts))


@cache
def subtracted(protection: Protection) -> Loot:
    parts = [subtract(week, protection) for week in weeks()]
    return Loot(sum(part.tries for part in parts), sum(part.hits for part in parts))


def test_under_our_rule_there_is_nothing_to_subtract() -> None:
    assert subtracted(protect).tries == 0


def test_under_a_plain_threshold_every_subtraction_hits() -> None:
    taken = subtracted(plain_threshold)
    assert taken.tries > 500
    assert taken.hits == taken.tries


def test_all_lines_together_gain_no_more_than_a_guess() -> None:
    guess, taken = squeezed(only_zeros), squeezed(protect)
    assert taken.tries >= 10_000
    assert taken.rate <= guess.rate + MARGIN


def test_all_lines_together_break_a_plain_threshold() -> None:
    guess, taken = squeezed(only_zeros), squeezed(plain_threshold, rule=EXACT)
    assert taken.rate > guess.rate + 10 * MARGIN


def without_lines(tallies, _, rule):
    return protect(tallies, [], rule)


def test_rounding_alone_without_company_is_not_enough() -> None:
    assert subtracted(without_lines).tries > 500
    assert squeezed(without_lines).rate > squeezed(protect).rate


def test_asking_again_averages_nothing_away() -> None:
    week = weeks()[0]
    first = protect(week.tallies, week.lines, RULE)
    assert all(protect(week.tallies, week.lines, RULE) == first for _ in range(20))


def test_whether_one_known_patient_is_in_a_cell_stays_open() -> None:
    """The attacker knows everybody else in the cell. Where the number would change at this patient it does tell; everywhere else not."""
    telling = sum(rounded(count, RULE) != rounded(count - 1, RULE) for count in range(12, 1012))
    assert telling / 1000 == pytest.approx(1 / RULE.rounding, abs=0.01)


def test_a_withheld_hospital_is_not_known_to_better_than_a_published_number() -> None:
    """A cell of one hospital only, beside others: what the lines imply of it is wider than the rounding."""
    source = random.Random(5)
    total, one, other, third = ("XA", ()), *((f"XA-{n}", ()) for n in "ABC")
    line = Line(total, (one, other, third))
    for _ in range(200):
        lonely = source.randint(11, 300)
        parts = {
            one: {"a": lonely},
            other: {"b": source.randint(6, 90), "c": source.randint(6, 90)},
            third: {"b": source.randint(6, 90), "c": source.randint(6, 90)},
        }
        whole = {site: sum(part.get(site, 0) for part in parts.values()) for site in "abc"}
        cells = protect({total: whole, **parts}, [line], RULE)
        assert cells[one].count is None
        low, high = implied(cells, [line], RULE)[one]
        assert high - low > 2 * RULE.rounding


def test_percentages_of_published_numbers_cannot_be_turned_back() -> None:
    """Every share a reader can form is a quotient of grid numbers, so it stands for at least as many pairs as its parts do."""
    rule = Rule(minimum=10, rounding=5, sites=2, dominance=0.85)
    shares = {(part, whole) for part in range(11, 60) for whole in range(part, 120)}
    shown = Counter(rounded(part, rule) / rounded(whole, rule) for part, whole in shares)
    assert min(shown.values()) > 1
