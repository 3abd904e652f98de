"""What a strategy is: updates in, one step out. A new one is one file and one line in `STRATEGIES`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.plan import RunPlan, StrategyName
from strategies.arrays import Arrays
from strategies.clipped import clipped_mean
from strategies.fedavg import federated_average
from strategies.krum import krum, multi_krum
from strategies.order import median, trimmed_mean
from strategies.stack import Stack

Step = dict[str, NDArray[np.float32]]
"""What is to be added to the base weights."""


@dataclass(frozen=True, slots=True)
class Averaging:
    """A strategy that takes the updates one by one, as they come, in memory of one model.

    `combine` raises `ValueError` if there is no update at all.
    """

    combine: Callable[[Iterable[Arrays]], Step]


@dataclass(frozen=True, slots=True)
class Comparing:
    """A strategy that needs all updates before it can say anything; it reads them in blocks, with the numbers of the plan.

    `combine` raises `ValueError` if there are too few. It sees arrays only: no sites, no messages, no files.
    """

    combine: Callable[[Stack, RunPlan], Step]


Strategy = Averaging | Comparing

STRATEGIES: dict[StrategyName, Strategy] = {
    StrategyName.FEDAVG: Averaging(federated_average),
    StrategyName.FEDPROX: Averaging(federated_average),  # its term is the sites' (`client/train/private.py`)
    StrategyName.FEDADAM: Averaging(federated_average),  # and its optimizer comes after (`strategies/fedadam.py`)
    StrategyName.TRIMMED_MEAN: Comparing(lambda stack, plan: trimmed_mean(stack, plan.trim)),
    StrategyName.MEDIAN: Comparing(lambda stack, _: median(stack)),
    StrategyName.KRUM: Comparing(lambda stack, plan: krum(stack, plan.krum_byzantine)),
    StrategyName.MULTI_KRUM: Comparing(lambda stack, plan: multi_krum(stack, plan.krum_byzantine)),
    StrategyName.CLIPPED_MEAN: Comparing(lambda stack, _: clipped_mean(stack)),
}
"""Every strategy by the name that a run plan calls it."""
