"""Looking often at first and then ever less: nothing is noticed much later than it came, and waiting long costs few looks."""

from hypothesis import given
from hypothesis import strategies as st

from strategies.cadence import SHARE, Cadence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def looks_until(cadence: Cadence, clock: Clock, moment: float) -> list[float]:
    """The times of all looks up to the first one after `moment`."""
    looks = []
    while True:
        clock.now += cadence.pause()
        looks.append(clock.now)
        if clock.now >= moment:
            return looks


def test_the_first_pause_is_the_shortest_and_the_last_the_longest() -> None:
    clock = Clock()
    cadence = Cadence(0.1, 3.0, clock)
    assert cadence.pause() == 0.1
    clock.now = 1000.0
    assert cadence.pause() == 3.0


def test_after_a_restart_the_pauses_are_short_again() -> None:
    clock = Clock()
    cadence = Cadence(0.1, 3.0, clock)
    clock.now = 1000.0
    cadence.restart()
    assert cadence.pause() == 0.1


@given(moment=st.floats(0.0, 10_000.0), shortest=st.floats(0.01, 1.0))
def test_nothing_is_noticed_later_than_a_share_of_the_time_that_it_took(moment: float, shortest: float) -> None:
    clock = Clock()
    looks = looks_until(Cadence(shortest, 3.0, clock), clock, moment)
    assert looks[-1] - moment <= max(shortest, min(3.0, SHARE * moment)) + 1e-6


def test_a_wait_of_ten_minutes_costs_few_looks() -> None:
    clock = Clock()
    looks = looks_until(Cadence(0.1, 3.0, clock), clock, 600.0)
    assert len(looks) < 240, "a steady pace of 0.1 s would take 6,000"
