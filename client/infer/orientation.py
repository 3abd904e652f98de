"""Turns arrays of any axis order into the models' orientation and back, exactly: axes are swapped and reversed, never resampled. Pure.

World coordinates are DICOM's patient system in mm: +L towards the left, +P towards the back, +S towards the head (PS3.3 C.7.6.2.1.1).
An affine maps an index (a0, a1, a2, 1) of an array to them. The models want (Z, Y, X) = (S, P, L).
"""

import itertools
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)

Affine = NDArray[np.float64]
"""Shape (4, 4)."""

_WORLD_OF_ZYX = (2, 1, 0)
"""World axes (L, P, S) in the order of the models' array axes."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """`axes[i]` is the input axis that becomes axis i of (Z, Y, X); `reversed_[i]` says that it runs the other way."""

    axes: tuple[int, int, int]
    reversed_: tuple[bool, bool, bool]


def orientation_of(affine: Affine) -> Orientation:
    """Return the orientation nearest to `affine`: the one whose axes point most nearly along head, back and left."""
    cosines = affine[:3, :3] / spacing_of(affine)  # (L P S, input axis)
    axes = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(cosines[world, axis]) for world, axis in zip(_WORLD_OF_ZYX, order, strict=True)),
    )
    signs = tuple(bool(cosines[world, axis] < 0) for world, axis in zip(_WORLD_OF_ZYX, axes, strict=True))
    return Orientation((axes[0], axes[1], axes[2]), (signs[0], signs[1], signs[2]))


def spacing_of(affine: Affine) -> NDArray[np.float64]:
    """Return the distances in mm between voxel centres along the three array axes."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def shear_degrees(affine: Affine) -> float:
    """Return by how much the worst pair of axes is off the right angle."""
    columns = affine[:3, :3] / spacing_of(affine)
    worst = max(abs(float(columns[:, a] @ columns[:, b])) for a, b in itertools.combinations(range(3), 2))
    return float(np.degrees(np.arcsin(min(1.0, worst))))


def to_canonical(array: NDArray[_T], orientation: Orientation) -> NDArray[_T]:
    """Return `array` as (Z, Y, X), contiguous."""
    return np.ascontiguousarray(array.transpose(orientation.axes)[_steps(orientation)])


def from_canonical(array: NDArray[_T], orientation: Orientation) -> NDArray[_T]:
    """Undo `to_canonical`."""
    return np.ascontiguousarray(array[_steps(orientation)].transpose(np.argsort(orientation.axes)))


def canonical_affine(affine: Affine, shape: tuple[int, ...], orientation: Orientation) -> Affine:
    """Return the affine of `to_canonical(array)` from the affine and the shape of `array`."""
    out = np.eye(4)
    origin = affine[:3, 3].copy()
    for target, (axis, reverse) in enumerate(zip(orientation.axes, orientation.reversed_, strict=True)):
        step = affine[:3, axis]
        out[:3, target] = -step if reverse else step
        if reverse:
            origin += step * (shape[axis] - 1)
    out[:3, 3] = origin
    return out


def _steps(orientation: Orientation) -> tuple[slice, slice, slice]:
    z, y, x = (slice(None, None, -1) if reverse else slice(None) for reverse in orientation.reversed_)
    return z, y, x
