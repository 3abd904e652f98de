"""From an opened sum of noised gradients to the step that is added to the weights."""

import numpy as np
from numpy.typing import NDArray

from protocol.plan import RoundOrder
from strategies.arrays import Arrays
from strategies.securesum.grid import grid_of
from strategies.securesum.pads import Words


def values_of(base: Arrays) -> int:
    """Return D, how many coordinates a summand over these weights has."""
    return sum(array.size for array in base.values())


def step_of(total: Words, order: RoundOrder, base: Arrays, *, sites: int) -> dict[str, NDArray[np.float32]]:
    """Return the mean of the updates that `sites` sites would have made of their noised gradients: -η Σ / (sites * expected batch).

    Args:
        total: The opened sum, shape (D,), modulo 2^32, parameters in the order of their names.
        order: The plan's public numbers, and the round, which decides the learning rate η.
        base: Gives names and shapes.
        sites: How many summands are in the sum.
    """
    plan = order.plan
    factor = -plan.learning_rate_of(order.round) / (sites * plan.privacy.expected_batch)
    values, start, step = grid_of(plan).value(total) * factor, 0, {}
    for name in sorted(base):
        shape, size = base[name].shape, base[name].size
        step[name] = values[start : start + size].astype(np.float32).reshape(shape)
        start += size
    return step
