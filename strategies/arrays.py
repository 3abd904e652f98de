"""Weights and updates as named arrays: their one hash, and the checks that nothing malformed passes."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from protocol.codes import Code
from protocol.errors import RefusedError

Arrays = Mapping[str, NDArray[np.float32]]
"""Parameters by name, float32."""

LARGEST_WEIGHT = 1000.0
"""In size. Those of `ggo@0` stay below 2; far larger ones serve to make a network overflow for chosen images."""

Layout = Sequence[tuple[str, tuple[int, ...]]]
"""Names and shapes of arrays that lie one behind the other."""


def layout_of(arrays: Arrays) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the layout of `arrays` in the order of their names."""
    return tuple((name, arrays[name].shape) for name in sorted(arrays))


def size_of(layout: Layout) -> int:
    """Return how many values a layout holds."""
    return sum(math.prod(shape) for _, shape in layout)


def cut(flat: NDArray[np.float32], layout: Layout) -> dict[str, NDArray[np.float32]]:
    """Return the arrays that lie one behind the other in `flat`, (size_of(layout),), without copying them."""
    arrays, start = {}, 0
    for name, shape in layout:
        size = math.prod(shape)
        arrays[name] = flat[start : start + size].reshape(shape)
        start += size
    return arrays


def arrays_sha256(arrays: Arrays) -> str:
    """Return the SHA-256 over names, shapes and little-endian float32 values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], dtype="<f4")  # keeps () apart from (1,)
        digest.update(f"{name}:{array.shape}:".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_update(update: Arrays, base: Arrays) -> None:
    """Accept an update that has exactly the parameters of `base`, all finite, also when added to it.

    Raises:
        RefusedError: `bad-update` if a name, a shape or a type differs, or a value is not finite.
    """
    if update.keys() != base.keys():
        raise RefusedError(Code.BAD_UPDATE, "The update has other parameters than the base weights.")
    for name, array in update.items():
        if array.shape != base[name].shape or array.dtype != np.float32:
            raise RefusedError(Code.BAD_UPDATE, f"The update's {name} has another shape or type than the base weights.")
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(base[name] + array).all()
        if not finite:
            raise RefusedError(Code.BAD_UPDATE, f"The update's {name} holds values that are not finite.")


def within_reach(weights: Arrays) -> bool:
    """Say whether no value is larger than `LARGEST_WEIGHT` in size or not a number."""
    return all(bool((np.abs(array) <= LARGEST_WEIGHT).all()) for array in weights.values())


def added(base: Arrays, step: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return `base + step`, parameter by parameter."""
    return {name: base[name] + step[name] for name in base}
