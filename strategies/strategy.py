"""What a strategy is: updates in, one step out. A new one is one file and one line in `STRATEGIES`."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from protocol.plan import StrategyName
from strategies.arrays import Arrays
from strategies.fedavg import federated_average


class Strategy(Protocol):
    """Combines the updates of one round.

    A strategy sees arrays only: no sites, no messages, no files. It may consume `updates` one by one.
    """

    def __call__(self, updates: Iterable[Arrays], /) -> dict[str, NDArray[np.float32]]:
        """Return the step to add to the base weights.

        Raises:
            ValueError: If there is no update at all.
        """
        ...


STRATEGIES: dict[StrategyName, Strategy] = {
    StrategyName.FEDAVG: federated_average,
}
"""Every strategy by the name that a run plan calls it."""
