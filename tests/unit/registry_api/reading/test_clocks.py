"""A slot's clock stands still while the hospital is asked, for so long and no longer."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reading import Priority
from registry_api.reading.clocks import SlaClock, pause_max
from registry_api.reading.lifecycle import ESCALATE_AT

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLOCK = SlaClock(START, START + HOUR, pause_max=2 * HOUR)

minutes = st.integers(0, 600).map(lambda count: timedelta(minutes=count))
clocks = st.builds(
    lambda paused, since: SlaClock(
        START, START + HOUR + paused, 2 * HOUR, paused, None if since is None else START + paused + since
    ),
    st.integers(0, 120).map(lambda count: timedelta(minutes=count)),
    st.none() | minutes,
)


@pytest.mark.parametrize(("after", "share"), [(0, 0.0), (30, 0.5), (48, 0.8), (60, 1.0), (90, 1.5)])
def test_without_a_pause_time_runs_evenly(after: int, share: float) -> None:
    assert CLOCK.spent(START + timedelta(minutes=after)) == pytest.approx(share)


def test_a_pause_stops_the_clock_and_moves_what_is_due() -> None:
    paused = SlaClock(START, START + HOUR, 2 * HOUR, paused_at=START + HOUR / 2)
    assert paused.spent(START + 2 * HOUR) == pytest.approx(0.5)
    assert paused.due_by(START + 2 * HOUR) == START + 2.5 * HOUR


def test_a_stat_read_stands_still_for_two_hours_at_most() -> None:
    assert pause_max(Priority.STAT) == 2 * HOUR
    paused = SlaClock(START, START + HOUR, pause_max(Priority.STAT), paused_at=START)
    assert paused.due_by(START + 9 * HOUR) == START + 3 * HOUR
    assert paused.spent(START + 3 * HOUR) == pytest.approx(1.0)


def test_pauses_add_up_to_the_limit() -> None:
    second = SlaClock(START, START + 2.5 * HOUR, 2 * HOUR, paused=1.5 * HOUR, paused_at=START + 2 * HOUR)
    assert second.due_by(START + 9 * HOUR) == START + 3 * HOUR


@given(clocks, minutes, minutes)
def test_what_is_due_never_moves_by_more_than_the_limit_nor_back(
    clock: SlaClock, now: timedelta, later: timedelta
) -> None:
    first, second = clock.due_by(START + now), clock.due_by(START + now + later)
    assert clock.due_at <= first <= second <= clock.due_at - clock.paused + clock.pause_max


@given(clocks, minutes, minutes)
def test_time_that_is_gone_does_not_come_back(clock: SlaClock, now: timedelta, later: timedelta) -> None:
    since = clock.paused_at or clock.opened_at + clock.paused
    assert clock.spent(since + now) <= clock.spent(since + now + later) + 1e-9


@given(clocks, st.sampled_from(ESCALATE_AT))
def test_the_moment_of_a_share_is_when_that_share_is_gone(clock: SlaClock, share: float) -> None:
    assert clock.spent(clock.moment(share)) == pytest.approx(share)
