"""Series, comparisons and distributions: published numbers only, and what is hidden or absent stays so."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from registry_api.releases.comparison import change_between, compare, mean_of
from registry_api.releases.disclosure import rounded
from registry_api.releases.distribution import distributions, share_of
from registry_api.releases.query import QuestionError, Table, answers, ask
from registry_api.releases.series import last_weeks, series
from registry_api.releases.steady import steady
from registry_api.releases.weeks import monday_of, week_of, weeks_until
from tests.unit.registry_api.releases.published import DOCUMENT, MASKED, WITHHELD, number
from tests.unit.registry_api.releases.tables_of_studies import RULE

ALL = ("XA", ())
BY_REGION, BY_COUNTRY = ask(["region"], {}), ask(["country"], {})


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(1, 200))
def test_weeks_follow_the_calendar_without_a_gap(day: date, count: int) -> None:
    weeks = weeks_until(week_of(day), count=count)
    mondays = [monday_of(week) for week in weeks]
    assert {(b - a).days for a, b in pairwise(mondays)} <= {7}
    assert (len(weeks), weeks[-1]) == (count, week_of(day))
    assert 0 <= (day - mondays[-1]).days < 7


def test_a_series_has_a_cell_for_every_week_of_the_calendar_and_none_where_the_release_holds_nothing() -> None:
    weeks = last_weeks(DOCUMENT, count=4)
    assert weeks == ["2025-W52", "2026-W01", "2026-W02", "2026-W03"]
    north, south = series(DOCUMENT, BY_REGION, weeks, region="XA")
    assert (north.place, north.cells) == ("XA-N", (number(20), None, number(30), number(35)))
    assert (south.place, south.cells) == ("XA-S", (MASKED, None, number(30), WITHHELD))


def test_a_series_ends_where_it_is_asked_to_and_shows_the_callers_places_only() -> None:
    assert last_weeks(DOCUMENT, count=2, until="2026-W02") == ["2026-W01", "2026-W02"]
    assert [one.place for one in series(DOCUMENT, BY_REGION, ["2026-W03"], region="XA-S")] == ["XA-S"]
    assert last_weeks(replace(DOCUMENT, weeks={}), count=3) == []


def test_the_newest_week_is_held_against_the_one_before_and_the_mean() -> None:
    window, [country] = compare(DOCUMENT, BY_COUNTRY, weeks=1, week=None, region="XA")
    assert window == ["2026-W02", "2026-W03"]
    assert (country.cell, country.before, country.mean, country.percent_of_mean) == (
        number(100),
        number(60),
        60.0,
        166.7,
    )
    assert country.change is not None
    assert (country.change.count, country.change.percent) == (40, 66.7)


def test_with_a_hidden_or_absent_week_there_is_no_mean_and_no_change() -> None:
    _, [north, south] = compare(DOCUMENT, BY_REGION, weeks=3, week=None, region="XA")
    assert (north.mean, north.percent_of_mean) == (None, None)
    assert north.change is not None
    assert (south.change, south.mean) == (None, None)
    _, [first, _] = compare(DOCUMENT, BY_REGION, weeks=1, week="2026-W02", region="XA")
    assert (first.before, first.change) == (None, None)
    assert mean_of([number(15), MASKED]) is None
    assert mean_of([]) is None


def test_a_release_without_weeks_compares_nothing() -> None:
    assert compare(replace(DOCUMENT, weeks={}), BY_REGION, weeks=4, week=None, region=None) == ([], [])


@given(st.integers(11, 5000), st.integers(11, 5000), st.integers(-4, 5))
def test_the_true_change_lies_between_the_bounds_whether_or_not_the_later_number_was_kept(
    before: int, after: int, more: int
) -> None:
    first, last = (number(rounded(count, RULE)) for count in (before, after))
    change = change_between(first, last, (RULE, RULE))
    assert change is not None
    assert change.least <= after - before <= change.most
    assert change.count == 0 or (after > before) == (change.count > 0)
    now = max(after + more, RULE.minimum + 1)
    [kept] = steady({ALL: number(rounded(now, RULE))}, {ALL: last}, RULE).values()
    change = change_between(first, kept, (RULE, RULE))
    assert change is not None
    assert change.least <= now - before <= change.most


def test_a_change_from_nothing_has_no_percentage() -> None:
    change = change_between(number(0), number(15), (RULE, RULE))
    assert change is not None
    assert (change.percent, change.least, change.most) == (None, 11, 22)


def test_studies_spread_over_the_bands_of_ground_glass() -> None:
    found = distributions(DOCUMENT, ask(["country", "ggo"], {"week": ["2026-W03"]}), region="XA")
    [one] = found
    assert (one.place, one.total) == ("XA", number(100))
    assert [(part.value, part.percent) for part in one.parts] == [
        ("0", 35.0), ("1-4", 0.0), ("5-25", 65.0), ("26-50", 0.0), ("51-75", None), ("76-100", 0.0)
    ]  # fmt: skip


def test_a_share_is_of_published_numbers_and_never_above_all() -> None:
    assert share_of(number(20), number(15)) == 100.0
    assert share_of(number(15), WITHHELD) is None
    assert share_of(MASKED, number(50)) is None
    assert share_of(number(0), number(0)) is None


def test_a_distribution_is_over_one_dimension() -> None:
    with pytest.raises(ValueError, match="one dimension"):
        distributions(DOCUMENT, ask(["age", "sex"], {}), region=None)


def test_a_part_of_a_table_is_that_part_of_the_whole() -> None:
    question = ask(["week", "region", "severity"], {})
    whole = answers(DOCUMENT, question, region="XA")
    table = Table(DOCUMENT, question, region="XA")
    assert (len(table), list(table), table[-1]) == (len(whole), whole, whole[-1])
    assert table[5:9] == whole[5:9]
    assert table[len(whole) : len(whole) + 5] == []


def test_a_release_from_before_a_dimension_does_not_answer_with_zeros() -> None:
    old = replace(DOCUMENT, dimensions={"severity": ("none",)})
    for look in (lambda q: answers(old, q, region=None), lambda q: series(old, q, ["2026-W03"], region=None)):
        with pytest.raises(QuestionError, match="no table by ggo") as raised:
            look(ask(["ggo"], {}))
        assert (raised.value.code, raised.value.members) == (Code.NOT_FOUND, {"allowed": ["severity"]})
