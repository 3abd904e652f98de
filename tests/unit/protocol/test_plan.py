"""The plan's schedule: where it starts, where it ends, that it never rises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.plan import Schedule
from tests.fakes.rounds import a_plan


@given(schedule=st.sampled_from(list(Schedule)), rounds=st.integers(1, 200))
def test_a_learning_rate_never_rises_and_stays_between_all_and_a_tenth(schedule: Schedule, rounds: int) -> None:
    plan = a_plan(schedule=schedule, rounds=rounds, learning_rate=0.5)
    rates = [plan.learning_rate_of(number) for number in range(1, rounds + 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.5)
    assert rates[-1] >= 0.05 - 1e-12


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [(Schedule.CONSTANT, 1.0, 1.0), (Schedule.LINEAR, 0.55, 0.1), (Schedule.COSINE, 0.55, 0.1)],
)
def test_the_middle_and_the_end(schedule: Schedule, middle: float, last: float) -> None:
    plan = a_plan(schedule=schedule, rounds=5, learning_rate=1.0)
    assert plan.learning_rate_of(3) == pytest.approx(middle)
    assert plan.learning_rate_of(5) == pytest.approx(last)


def test_momentum_of_one_would_never_forget_and_is_no_plan() -> None:
    with pytest.raises(ValueError):
        a_plan(server_momentum=1.0)
