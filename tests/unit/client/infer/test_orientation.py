"""Orientation against a slow, obvious twin: every voxel is carried by its world coordinates, one at a time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.infer.orientation import (
    Affine,
    canonical_affine,
    from_canonical,
    orientation_of,
    shear_degrees,
    spacing_of,
    to_canonical,
)

PERMUTATIONS = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1, -1), repeat=3))


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...], tilt: float = 0.0) -> Affine:
    out = np.eye(4)
    out[:3, :3] = 0
    for axis, (world, sign, mm) in enumerate(zip(order, signs, spacing, strict=True)):
        out[world, axis] = sign * mm
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    out[:3, 3] = (11.0, -7.0, 100.0)
    return turn @ out


def slow_twin(values: np.ndarray, affine: Affine) -> np.ndarray:
    """Sort the voxels by where they lie: S upwards, then P, then L. Only right for axes along the world's."""
    places = [
        ((affine @ [*index, 1.0])[[2, 1, 0]].round(6).tolist(), int(value)) for index, value in np.ndenumerate(values)
    ]
    axes = [sorted({place[k] for place, _ in places}) for k in range(3)]
    out = np.zeros([len(axis) for axis in axes], values.dtype)
    for place, value in places:
        out[tuple(axis.index(coordinate) for axis, coordinate in zip(axes, place, strict=True))] = value
    return out


@pytest.mark.parametrize("order", PERMUTATIONS)
@pytest.mark.parametrize("signs", SIGNS)
def test_every_axis_order_as_the_slow_twin(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    affine = affine_of(order, signs, (5.0, 0.7, 0.8))
    orientation = orientation_of(affine)
    turned = to_canonical(values, orientation)
    assert np.array_equal(turned, slow_twin(values, affine))
    assert np.array_equal(from_canonical(turned, orientation), values)


@settings(max_examples=60)
@given(
    order=st.sampled_from(PERMUTATIONS),
    signs=st.sampled_from(SIGNS),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    tilt=st.floats(-0.6, 0.6),
)
def test_no_voxel_moves(
    order: tuple[int, ...], signs: tuple[int, ...], shape: tuple[int, int, int], tilt: float
) -> None:
    affine = affine_of(order, signs, (2.0, 0.7, 0.8), tilt)
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    orientation = orientation_of(affine)
    turned, there = to_canonical(values, orientation), canonical_affine(affine, shape, orientation)
    for index, value in np.ndenumerate(turned):
        (home,) = np.argwhere(values == value)
        assert np.allclose(there @ [*index, 1.0], affine @ [*home, 1.0], atol=1e-9)
    cosines = there[:3, :3] / spacing_of(there)
    assert cosines[2, 0] > 0.7
    assert cosines[1, 1] > 0.7
    assert cosines[0, 2] > 0.7


def test_shear_is_measured() -> None:
    affine = affine_of((2, 1, 0), (1, 1, 1), (5.0, 1.0, 1.0))
    assert shear_degrees(affine) == pytest.approx(0)
    affine[1, 0] = 5.0 * np.tan(np.radians(10))
    assert shear_degrees(affine) == pytest.approx(10)
