"""Averaging gives the mean, whatever the order, and refuses what is malformed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import RefusedError
from strategies.arrays import added, arrays_sha256, check_update
from strategies.fedavg import federated_average
from strategies.stack import mean_of
from strategies.weighting import uniform


def update(*values: float) -> dict[str, np.ndarray]:
    return {"a": np.array(values, np.float32), "b": np.full((2, 2), values[0], np.float32)}


def test_three_updates_give_their_exact_mean() -> None:
    mean = federated_average(iter([update(1, 2), update(2, 4), update(6, 0)]))
    assert mean["a"].tolist() == [3.0, 2.0]
    assert mean["b"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert mean["a"].dtype == np.float32


def test_no_update_gives_no_mean() -> None:
    with pytest.raises(ValueError, match="no sites"):
        federated_average([])


@given(st.permutations([0.1, 1e6, -1e6, 3.3, 7e-5]))
def test_the_order_of_arrival_does_not_show(values: list[float]) -> None:
    one = federated_average([update(v) for v in values])
    other = federated_average([update(v) for v in sorted(values)])
    assert np.allclose(one["a"], other["a"], rtol=0, atol=1e-9)


def test_update_by_update_gives_the_same_bits_as_all_of_them_in_memory() -> None:
    rng = np.random.default_rng(3)
    block = rng.normal(size=(9, 5000)).astype(np.float32)
    streamed = federated_average({"w": row} for row in block)["w"]
    total = np.zeros(5000)
    for row in block:
        total += row
    assert streamed.tobytes() == (total * uniform(9)).astype(np.float32).tobytes()
    assert streamed.tobytes() == mean_of(block).tobytes()


def test_weights_are_public_constants_that_sum_to_one() -> None:
    assert sum(uniform(7) for _ in range(7)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no sites"):
        uniform(0)


@pytest.mark.parametrize(
    "broken",
    [
        {"a": np.zeros(2, np.float32)},
        {**update(1, 2), "c": np.zeros(1, np.float32)},
        {**update(1, 2), "a": np.zeros(3, np.float32)},
        {**update(1, 2), "a": np.zeros(2, np.float64)},
        {**update(1, 2), "a": np.array([1, np.nan], np.float32)},
        {**update(1, 2), "a": np.array([np.inf, 0], np.float32)},
    ],
)
def test_a_malformed_update_is_refused(broken: dict[str, np.ndarray]) -> None:
    check_update(update(3, 4), update(1, 2))
    with pytest.raises(RefusedError) as refused:
        check_update(broken, update(1, 2))
    assert refused.value.code is Code.BAD_UPDATE


def test_the_hash_depends_on_names_shapes_and_values_and_not_on_order() -> None:
    one = update(1, 2)
    assert arrays_sha256(one) == arrays_sha256(dict(reversed(one.items())))
    assert arrays_sha256(one) != arrays_sha256(update(1, 3))
    assert arrays_sha256(one) != arrays_sha256({"a": one["a"], "c": one["b"]})
    assert arrays_sha256(one) != arrays_sha256({**one, "b": one["b"].reshape(4)})


def test_a_step_is_added_parameter_by_parameter() -> None:
    assert added(update(1, 2), update(3, 5))["a"].tolist() == [4.0, 7.0]
