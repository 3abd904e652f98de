"""Shifts on the wall clock: clock changes, weeks that are the fifty-third, nights over midnight."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.reading.shifts import Declaration, Presence, Shift, checked, current, occurrences, presence, zone_of

HOUR = timedelta(hours=1)
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> datetime:
    """A time of the wall clock in `zone`, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def weekly(start: str, end: str, *, zone: str = BERLIN, rule: str = "FREQ=WEEKLY") -> Shift:
    return checked(Shift(at(start, zone), at(end, zone), zone, rule))


def on(shift: Shift, moment: datetime) -> bool:
    return current([shift], moment) is not None


def test_a_shift_starts_on_time_and_is_over_at_its_end() -> None:
    shift = Shift(at("2026-03-02T08:00"), at("2026-03-02T16:00"), BERLIN)
    assert [on(shift, shift.starts_at - HOUR / 60), on(shift, shift.starts_at), on(shift, shift.ends_at)] == [
        False,
        True,
        False,
    ]
    assert not on(shift, shift.starts_at + timedelta(weeks=1))


@pytest.mark.parametrize("week", range(-1, 60))
def test_a_weekly_shift_keeps_its_hour_of_the_wall_clock_all_year(week: int) -> None:
    shift = weekly("2026-03-02T08:00", "2026-03-02T16:00")
    monday = datetime(2026, 3, 2) + timedelta(weeks=week)  # noqa: DTZ001 - a wall clock
    morning, evening = (at(f"{monday:%Y-%m-%d}T{hour}") for hour in ("08:00", "16:00"))
    assert on(shift, morning) is (week >= 0)
    assert not on(shift, morning - HOUR / 60)
    assert not on(shift, evening)


def test_a_night_shift_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    night = weekly("2026-01-03T22:00", "2026-01-04T06:00")
    spans = {end - start for day in ("2026-03-28", "2026-06-06", "2026-10-24") for start, end in occurrences(night, at(f"{day}T23:00")) if start == at(f"{day}T22:00")}  # fmt: skip
    assert spans == {7 * HOUR, 8 * HOUR, 9 * HOUR}


def test_an_hour_that_the_clock_shows_twice_belongs_to_the_shift_both_times() -> None:
    short = weekly("2026-01-04T01:30", "2026-01-04T02:45")
    first, second = (at("2026-10-25T02:40", fold=fold) for fold in (0, 1))
    assert second - first == HOUR
    assert on(short, first)
    assert on(short, second)
    assert not on(short, at("2026-10-25T02:45", fold=1))


def test_a_start_that_the_clock_skips_is_as_long_after_midnight() -> None:
    early = weekly("2026-01-04T02:30", "2026-01-04T04:00")
    assert not on(early, at("2026-03-29T03:29"))
    assert on(early, at("2026-03-29T03:30"))
    assert not on(early, at("2026-03-29T04:00"))


def test_every_other_week_goes_on_over_the_fifty_third_week() -> None:
    """2026 has an ISO week 53: two odd week numbers follow one another, and a rule by week number would fail."""
    shift = weekly("2026-12-21T08:00", "2026-12-21T16:00", rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=MO")
    mondays = [datetime(2026, 12, 21) + timedelta(weeks=week) for week in range(6)]  # noqa: DTZ001 - a wall clock
    assert [monday.isocalendar().week for monday in mondays] == [52, 53, 1, 2, 3, 4]
    assert [on(shift, at(f"{monday:%Y-%m-%d}T09:00")) for monday in mondays] == [True, False] * 3


def test_every_other_week_is_the_same_years_later() -> None:
    shift = weekly("2020-01-06T08:00", "2020-01-06T16:00", rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH")
    days = [datetime(2026, 3, 2) + timedelta(days=day) for day in range(14)]  # noqa: DTZ001 - a wall clock
    counted = [(day - datetime(2020, 1, 6)).days % 14 in {0, 3} for day in days]  # noqa: DTZ001 - a wall clock
    assert [on(shift, at(f"{day:%Y-%m-%d}T09:00")) for day in days] == counted


def test_a_series_ends() -> None:
    shift = replace(weekly("2026-03-02T08:00", "2026-03-02T16:00"), repeats_until=at("2026-03-10T00:00"))
    assert on(shift, at("2026-03-09T09:00"))
    assert not on(shift, at("2026-03-16T09:00"))


@given(
    zone=st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 6, 1)),  # noqa: DTZ001 - hypothesis asks for naive ones
    hours=st.integers(1, 24),
    later=st.integers(0, 80),
)
def test_who_is_on_shift_today_is_on_shift_in_whole_weeks_of_the_wall_clock(
    zone: str, start: datetime, hours: int, later: int
) -> None:
    shift = Shift(at(start.isoformat(), zone), at((start + hours * HOUR).isoformat(), zone), zone, "FREQ=WEEKLY")
    moment = at((start + timedelta(weeks=later)).isoformat(), zone)
    assert on(shift, moment) or shift.ends_at <= shift.starts_at
    assert len({span for span in occurrences(shift, moment) if span[0] <= moment < span[1]}) <= 1


@pytest.mark.parametrize(
    "shift",
    [
        Shift(at("2026-03-02T08:00"), at("2026-03-02T08:00")),
        Shift(at("2026-03-02T08:00"), at("2026-03-01T08:00")),
        Shift(at("2026-03-02T08:00"), at("2026-03-03T08:01")),
        *(
            Shift(at("2026-03-02T08:00"), at("2026-03-02T16:00"), rule=rule)
            for rule in ("FREQ=DAILY", "FREQ=WEEKLY;COUNT=3", "FREQ=WEEKLY;BYDAY=XX", "FREQ=WEEKLY;INTERVAL=0", "RRULE:FREQ=WEEKLY", "")
        ),
        *(Shift(at("2026-03-02T08:00"), at("2026-03-02T16:00"), zone) for zone in ("Atlantis", "../etc/passwd", "")),
    ],
)  # fmt: skip
def test_what_is_no_shift_is_refused(shift: Shift) -> None:
    with pytest.raises(InvalidInputError) as refused:
        checked(shift)
    assert refused.value.code is Code.BAD_REQUEST


def test_a_zone_has_its_name() -> None:
    assert zone_of("Australia/Lord_Howe").key == "Australia/Lord_Howe"


def test_what_was_declared_goes_before_the_shifts_until_it_is_over() -> None:
    now = at("2026-03-02T09:00")
    working, over = Shift(now - HOUR, now + HOUR), Shift(now - 2 * HOUR, now - HOUR)
    away, there = (Declaration(available=one, until=now + HOUR) for one in (False, True))
    assert presence([working], away, now) is Presence.AWAY
    assert presence([working], away, now + HOUR - timedelta(seconds=1)) is Presence.AWAY
    assert presence([working, over], None, now) is Presence.ON_SHIFT
    assert presence([over], there, now) is Presence.AVAILABLE
    assert presence([over], there, now + HOUR) is Presence.OFF_SHIFT
    assert presence([], None, now) is Presence.ANY_TIME


def test_of_two_shifts_the_one_that_ends_last_counts() -> None:
    now = at("2026-03-02T09:00")
    found = current([Shift(now, now + HOUR, capacity=1), Shift(now, now + 2 * HOUR, capacity=2)], now)
    assert found is not None
    assert (found[0].capacity, found[1]) == (2, now + 2 * HOUR)
