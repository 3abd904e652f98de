"""Updates to combine: of any number of sites, of a network of three arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.arrays import Arrays

SHAPES = {"bias": (3,), "kernel": (5, 2), "scale": ()}


def update_of(values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The arrays of `SHAPES` filled from 14 values, in the order of their names."""
    flat, start = np.asarray(values, np.float32), 0
    arrays = {}
    for name in sorted(SHAPES):
        size = int(np.prod(SHAPES[name]))
        arrays[name] = flat[start : start + size].reshape(SHAPES[name])
        start += size
    return arrays


def flat_of(arrays: Arrays) -> NDArray[np.float32]:
    """All values, in the order of names."""
    return np.concatenate([np.ravel(arrays[name]) for name in sorted(arrays)])


def around(middle: float, sites: int, *, seed: int = 0, spread: float = 0.1) -> list[dict[str, NDArray[np.float32]]]:
    """Honest updates: all values near `middle`."""
    rng = np.random.default_rng(seed)
    return [update_of(rng.normal(middle, spread, 14).astype(np.float32)) for _ in range(sites)]


def same(one: Arrays, other: Arrays) -> bool:
    """Whether two updates are equal bit for bit."""
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape and one[name].tobytes() == other[name].tobytes() for name in one
    )


def block_of(updates: Sequence[Arrays]) -> NDArray[np.float32]:
    """(sites, values)."""
    return np.stack([flat_of(update) for update in updates])
