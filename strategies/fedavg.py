"""Federated averaging (McMahan et al. 2017), with uniform weights: the mean of the updates, in memory of one model."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from strategies.arrays import Arrays
from strategies.weighting import uniform


def federated_average(updates: Iterable[Arrays]) -> dict[str, NDArray[np.float32]]:
    """Return the mean of `updates`, parameter by parameter.

    The sum is kept in float64, so that the order of arrival does not show in the result.

    Raises:
        ValueError: If there is no update at all.
    """
    total: dict[str, NDArray[np.float64]] = {}
    count = 0
    for update in updates:
        count += 1
        for name, array in update.items():
            if name in total:
                total[name] += array
            else:
                total[name] = np.array(array, np.float64)
    weight = uniform(count)
    return {name: np.multiply(array, weight, out=array).astype(np.float32) for name, array in total.items()}
