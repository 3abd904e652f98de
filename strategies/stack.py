"""The updates of one round, one above the other, read in blocks of some coordinates: memory is block times sites, however large the model.

Where the values lie is the caller's: a `Row` reads a stretch of one update from a file (`server/spool.py`) or from memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from strategies.arrays import Arrays, Layout, cut, layout_of, size_of
from strategies.weighting import uniform

BLOCK = 16_384
"""Coordinates that are looked at together. Fixed, so that sums over blocks come out the same wherever the updates lie."""

Block = NDArray[np.float32]
"""(sites, coordinates), at most `BLOCK` of them."""

Row = Callable[[int, int], NDArray[np.float32]]
"""Returns the values of one update from a coordinate up to, and without, another."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Updates of one layout. `rows` reads them, one function for each."""

    layout: Layout
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, index: Sequence[int]) -> "Stack":
        """Return the stack of the updates at these places."""
        return Stack(self.layout, tuple(self.rows[i] for i in index))

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Yield the first coordinate of each block, and the block."""
        size = size_of(self.layout)
        for first in range(0, size, BLOCK):
            last = min(first + BLOCK, size)
            yield first, np.stack([row(first, last) for row in self.rows])

    def updates(self) -> Iterator[Arrays]:
        """Yield the updates whole, one after the other."""
        for row in self.rows:
            yield cut(row(0, size_of(self.layout)), self.layout)

    def digest(self, at: int) -> bytes:
        """Return the SHA-256 of one update's values."""
        digest, size = hashlib.sha256(), size_of(self.layout)
        for first in range(0, size, BLOCK):
            digest.update(self.rows[at](first, min(first + BLOCK, size)).astype("<f4").tobytes())
        return digest.digest()


def stacked(updates: Sequence[Arrays]) -> Stack:
    """Return updates that are in memory as a stack.

    Raises:
        ValueError: If there is no update at all.
    """
    if not updates:
        raise ValueError("there is no stack of no updates")
    flat = [np.concatenate([update[name].ravel() for name in sorted(update)]) for update in updates]
    return Stack(layout_of(updates[0]), tuple(partial(_stretch, values) for values in flat))


def _stretch(values: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    return values[first:last]


def coordinatewise(stack: Stack, rule: Callable[[Block], NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return what `rule` makes of each block, (sites, n) to (n,), as arrays of the stack's layout.

    Raises:
        ValueError: If there is no update at all.
    """
    if not len(stack):
        raise ValueError("there is nothing to combine for no sites")
    flat = np.empty(size_of(stack.layout), np.float32)
    for first, block in stack.blocks():
        flat[first : first + block.shape[1]] = rule(block)
    return cut(flat, stack.layout)


def mean_of(block: Block, factors: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Return the mean over the sites, each first multiplied by its factor; summed in float64 row by row, as `federated_average` does."""
    total = np.zeros(block.shape[1], np.float64)
    for row, factor in zip(block, factors if factors is not None else [1.0] * len(block), strict=True):
        total += row * np.float64(factor)
    return (total * uniform(len(block))).astype(np.float32)
