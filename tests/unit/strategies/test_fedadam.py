"""FedAdam against the paper's formulas in float64, and its state."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.fedadam import Adam, adam_step

ADAM = Adam(rate=0.1, beta1=0.9, beta2=0.99, tau=1e-3)


def test_three_rounds_are_those_of_the_paper() -> None:
    m, v, state = np.zeros(4), np.full(4, ADAM.tau**2), None
    for number in range(1, 4):
        delta = np.array([0.01, -0.02, 0.0, 3.0]) * number
        m = ADAM.beta1 * m + (1 - ADAM.beta1) * delta
        v = ADAM.beta2 * v + (1 - ADAM.beta2) * delta**2
        step, state = adam_step({"w": delta.astype(np.float32)}, state, ADAM)
        assert step["w"] == pytest.approx(ADAM.rate * m / (np.sqrt(v) + ADAM.tau), rel=1e-5)


@given(st.floats(-float(np.float32(3e38)), float(np.float32(3e38)), width=32))
def test_whatever_comes_the_step_and_the_state_are_finite(value: float) -> None:
    state = None
    for _ in range(3):
        step, state = adam_step({"w": np.full(2, value, np.float32)}, state, ADAM)
        assert np.isfinite(step["w"]).all()
        assert all(np.isfinite(array).all() for array in state.values())


def test_the_state_is_new_arrays_and_the_old_one_stays() -> None:
    _, first = adam_step({"w": np.ones(2, np.float32)}, None, ADAM)
    before = {name: array.copy() for name, array in first.items()}
    adam_step({"w": np.ones(2, np.float32)}, first, ADAM)
    assert all(np.array_equal(first[name], before[name]) for name in before)
    assert {array.dtype for array in first.values()} == {np.dtype(np.float32)}
