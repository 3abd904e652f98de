"""Conditions: one published number against a threshold; what is hidden, absent or in doubt sets nothing off."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from registry_api.alerts.rules import Condition, Measure, judge, question_for, read_values, written_values
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.document import WeekTable
from registry_api.releases.query import QuestionError
from tests.unit.registry_api.releases.published import DOCUMENT, MASKED, number


def condition(place: str, measure: Measure, threshold: float, *, above: bool = True, of: str = "") -> Condition:
    return Condition(place=place, values=read_values(of), measure=measure, threshold=threshold, above=above)


@pytest.mark.parametrize(
    ("place", "measure", "threshold", "above", "goes_off"),
    [
        ("XA", Measure.COUNT, 100, True, True),
        ("XA", Measure.COUNT, 105, True, False),
        ("XA-N", Measure.COUNT, 35, False, True),
        ("XA-S", Measure.COUNT, 0, True, False),  # withheld
        ("XA-S", Measure.COUNT, 1000, False, False),
        ("XA", Measure.CHANGE_PERCENT, 60, True, True),
        ("XA-N", Measure.CHANGE_PERCENT, 10, True, True),
        ("XA-S", Measure.CHANGE_PERCENT, -100, True, False),
        ("XA", Measure.PERCENT_OF_MEAN, 1, True, False),  # of the weeks before, two are absent
    ],
)
def test_what_sets_an_alert_off(place: str, measure: Measure, threshold: float, *, above: bool, goes_off: bool) -> None:
    alarm = judge(condition(place, measure, threshold, above=above), DOCUMENT)
    assert (alarm is not None) is goes_off
    if alarm:
        assert (alarm.week, alarm.release) == ("2026-W03", 3)


def weeks(*counts: int | None):
    tables = {
        f"2026-W{week:02d}": WeekTable(f"2026-W{week:02d}", 1, {("XA", ()): MASKED if count is None else number(count)})
        for week, count in enumerate(counts, start=1)
    }
    return replace(DOCUMENT, weeks=tables)


def test_a_change_is_of_published_numbers() -> None:
    rising = condition("XA", Measure.CHANGE_PERCENT, 30)
    alarm = judge(rising, weeks(15, 20))
    assert alarm is not None
    assert alarm.measured == 33.3
    assert judge(rising, weeks(20, 20)) is None
    assert judge(rising, weeks(None, 200)) is None
    falling = condition("XA", Measure.CHANGE_PERCENT, -20, above=False)
    assert judge(falling, weeks(25, 20)) is not None


def test_the_mean_needs_every_week_before() -> None:
    rising = condition("XA", Measure.PERCENT_OF_MEAN, 150)
    alarm = judge(rising, weeks(20, 20, 20, 20, 30))
    assert alarm is not None
    assert (alarm.measured, alarm.count) == (150.0, 30)
    assert judge(rising, weeks(20, None, 20, 20, 300)) is None


def test_a_release_without_weeks_or_without_the_dimension_sets_nothing_off() -> None:
    assert judge(condition("XA", Measure.COUNT, 0), replace(DOCUMENT, weeks={})) is None
    old = replace(DOCUMENT, dimensions={"severity": ("none",)})
    assert judge(condition("XA", Measure.COUNT, 0, of="ggo:0"), old) is None
    assert judge(condition("XA", Measure.COUNT, 30, of="ggo:0"), DOCUMENT) is not None


def test_a_cell_that_no_table_has_cannot_be_a_condition() -> None:
    with pytest.raises(QuestionError) as raised:
        question_for(condition("XA", Measure.COUNT, 1, of="ggo:0;sex:female"))
    assert raised.value.code is Code.TOO_FINE
    with pytest.raises(QuestionError):
        question_for(condition("XA", Measure.COUNT, 1, of="sex:both"))


@given(st.dictionaries(st.sampled_from(sorted(DIMENSIONS)), st.sampled_from(["mild", "0-19", "80+"]), max_size=2))
def test_values_are_read_as_they_were_written(values: dict[str, str]) -> None:
    ordered = tuple((name, values[name]) for name in DIMENSIONS if name in values)
    assert read_values(written_values(ordered)) == ordered
