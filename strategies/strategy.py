"""What a strategy is: updates in, one step out. A new one is one file and one line in `STRATEGIES`."""

from collections.abc import Callable, Iterable
from typing import Protocol

from protocol.plan import StrategyName
from strategies.arrays import Arrays
from strategies.fedavg import federated_average


class Strategy(Protocol):
    """Combines the updates of one round.

    A strategy sees arrays only: no sites, no messages, no files. It may consume `updates` one by one.
    """

    def __call__(self, updates: Iterable[Arrays]) -> Arrays:
        """Return the step to add to the base weights.

        Raises:
            ValueError: If there is no update at all.
        """
        ...


STRATEGIES: dict[StrategyName, Callable[[Iterable[Arrays]], Arrays]] = {
    StrategyName.FEDAVG: federated_average,
}
"""Every strategy by the name that a run plan calls it."""
