"""The mean after every update was scaled down to the median norm: nobody pulls harder than half of the sites do."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.stack import Stack, coordinatewise, mean_of


def clipped_mean(stack: Stack) -> dict[str, NDArray[np.float32]]:
    """Return the mean of the updates, each scaled to a norm of at most the median of all norms.

    The threshold is that of centred clipping (Karimireddy et al. 2021, arXiv:2012.10333) around zero, found anew in each round.

    Raises:
        ValueError: If there is no update at all.
    """
    factors = clipping_factors(norms(stack))
    return coordinatewise(stack, lambda block: mean_of(block, factors))


def clipping_factors(lengths: NDArray[np.float64]) -> Sequence[float]:
    """Return by what each update is multiplied, given their norms, (n,).

    >>> import numpy as np
    >>> clipping_factors(np.array([1.0, 2.0, 8.0]))
    [1.0, 1.0, 0.25]
    """
    bound = float(np.median(lengths)) if len(lengths) else 0.0
    return [min(1.0, bound / length) if length else 1.0 for length in lengths.tolist()]


def norms(stack: Stack) -> NDArray[np.float64]:
    """Return the Euclidean norm of each update, (n,), read block by block."""
    squares = np.zeros(len(stack))
    for _, block in stack.blocks():
        values = block.astype(np.float64)
        squares += np.einsum("ij,ij->i", values, values)
    return np.asarray(np.sqrt(squares))
