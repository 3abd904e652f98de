"""Gaussian noise for differential privacy, from the operating system's random numbers.

A pseudo-random generator with a short seed would let whoever guesses the seed subtract the noise, so every value is drawn from
the kernel. Four values are added into one, so that the gaps between floating-point numbers of a single draw cannot be used to tell
neighbouring sums apart (Holohan and Braghin 2021, arXiv:2107.10138, the construction that Opacus calls secure mode).
"""

import os
import random
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

_DRAWS = 4
_BITS = 52
"""With one more, the midpoint of the last cell would round to 1, whose quantile is infinite."""

RandomBytes = Callable[[int], bytes]
"""Returns so many random bytes. `os.urandom` everywhere but in tests."""


class Randomness:
    """What a private step draws: who takes part, which slices, and the noise."""

    def __init__(self, random_bytes: RandomBytes = os.urandom) -> None:
        self._bytes = random_bytes

    def normal(self, shape: tuple[int, ...], *, std: float) -> Tensor:
        """Return independent values of N(0, std²), float32, of `shape`."""
        count = int(np.prod(shape, dtype=np.int64))
        total = np.zeros(count)
        for _ in range(_DRAWS):
            total += ndtri(self._uniform(count))
        return torch.from_numpy((total * (std / np.sqrt(_DRAWS))).astype(np.float32)).reshape(shape)

    def chosen(self, items: int, *, rate: float) -> list[int]:
        """Return the indices that a Poisson sample at `rate` takes: each of `items` by itself, with probability `rate`."""
        return [index for index, value in enumerate(self._uniform(items)) if value < rate]

    def some(self, items: int, count: int) -> list[int]:
        """Return `count` different indices below `items`, or all of them if there are fewer, in ascending order."""
        seed = int.from_bytes(self._bytes(32), "big")
        return sorted(random.Random(seed).sample(range(items), min(items, count)))  # noqa: S311 - which slices is no secret

    def _uniform(self, count: int) -> np.ndarray:
        """Values in the open interval (0, 1), in the middles of 2^52 equal cells."""
        words = np.frombuffer(self._bytes(8 * count), dtype=np.uint64) >> np.uint64(64 - _BITS)
        return (words.astype(np.float64) + 0.5) * 2.0**-_BITS
