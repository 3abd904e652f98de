"""The hash that binds an update to its notice, and the check that lets nothing malformed into a round."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codes import Code
from protocol.errors import RefusedError
from strategies.arrays import added, arrays_sha256, check_update, within_reach
from tests.fakes.rounds import weights


def test_the_hash_is_what_its_docstring_says() -> None:
    by_hand = hashlib.sha256(b"a:(2,):" + struct.pack("<2f", 1, 2) + b"b:():" + struct.pack("<f", 3)).hexdigest()
    assert arrays_sha256({"b": np.float32(3), "a": np.array([1, 2], np.float32)}) == by_hand


def test_the_hash_does_not_see_how_values_lie_in_memory() -> None:
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    wide = np.zeros((3, 8), np.float32)
    wide[:, ::2] = square
    for same in (np.asfortranarray(square), wide[:, ::2], square.astype(">f4")):
        assert arrays_sha256({"w": same}) == arrays_sha256({"w": square})


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 31))
def test_one_changed_bit_changes_the_hash(value: int, bit: int) -> None:
    flat = np.arange(7, dtype=np.float32)
    bits = flat.copy().view(np.uint32)
    bits[value] ^= np.uint32(1 << bit)
    assert arrays_sha256({"w": bits.view(np.float32)}) != arrays_sha256({"w": flat})


@settings(deadline=None)
@given(st.sampled_from(["bias", "kernel"]), st.integers(0, 3), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_one_value_that_is_not_finite_is_found_wherever_it_stands(name: str, at: int, value: float) -> None:
    update = weights(1)
    update[name].flat[at % update[name].size] = value
    with pytest.raises(RefusedError) as caught:
        check_update(update, weights())
    assert caught.value.code is Code.BAD_UPDATE


def test_an_update_that_is_finite_and_makes_the_weights_infinite_is_refused() -> None:
    largest = float(np.finfo(np.float32).max)
    check_update(weights(largest), weights(0))
    with pytest.raises(RefusedError):
        check_update(weights(largest), weights(largest))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.complex64, np.bool_])
def test_another_type_is_refused(dtype: type) -> None:
    with pytest.raises(RefusedError):
        check_update({name: array.astype(dtype) for name, array in weights(1).items()}, weights())


def test_a_shape_that_numpy_would_stretch_is_refused() -> None:
    with pytest.raises(RefusedError):
        check_update(weights() | {"kernel": np.ones((1, 2), np.float32)}, weights())


def test_a_step_leaves_base_and_step_as_they_were() -> None:
    base, step = weights(1), weights(2)
    assert added(base, step)["bias"].tolist() == [3, 3, 3]
    assert (base["bias"].tolist(), step["bias"].tolist()) == ([1, 1, 1], [2, 2, 2])


@pytest.mark.parametrize(
    ("value", "fits"), [(1000.0, True), (-1000.0, True), (1000.1, False), (np.inf, False), (np.nan, False)]
)
def test_weights_are_within_reach_up_to_the_bound(value: float, fits: bool) -> None:
    weights = {"a": np.zeros(3, np.float32), "b": np.array([[0.0, value]], np.float32)}
    assert within_reach(weights) is fits
