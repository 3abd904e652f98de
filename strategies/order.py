"""Order statistics, coordinate by coordinate: trimmed mean and median (Yin et al. 2018, arXiv:1803.01498)."""

import numpy as np
from numpy.typing import NDArray

from strategies.stack import Block, Stack, coordinatewise, mean_of


def trimmed_mean(stack: Stack, trim: int) -> dict[str, NDArray[np.float32]]:
    """Return, of each coordinate, the mean of what is left without its `trim` smallest and its `trim` largest values.

    With at most `trim` hostile updates it lies between the smallest and the largest honest value.

    Raises:
        ValueError: If nothing would be left.
    """
    if not 0 <= 2 * trim < len(stack):
        raise ValueError(f"of {len(stack)} updates nothing is left after trimming {trim} on either side")

    return coordinatewise(stack, lambda block: trimmed(block, trim))


def median(stack: Stack) -> dict[str, NDArray[np.float32]]:
    """Return the median of each coordinate; of an even number of values, the mean of the two in the middle.

    Raises:
        ValueError: If there is no update at all.
    """
    return coordinatewise(stack, middle)


def trimmed(block: Block, trim: int) -> NDArray[np.float32]:
    """Return the trimmed mean of each column of a block."""
    return mean_of(np.sort(block, axis=0)[trim : len(block) - trim])


def middle(block: Block) -> NDArray[np.float32]:
    """Return the median of each column of a block."""
    return trimmed(block, (len(block) - 1) // 2)
