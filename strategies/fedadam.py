"""FedAdam: the centre takes the mean update for a gradient and steps by Adam (Reddi et al. 2021, arXiv:2003.00295, algorithm 2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.arrays import Arrays

_FIRST, _SECOND = "first.", "second."


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """The optimizer's numbers: η, β₁, β₂ and the floor τ under the square root."""

    rate: float
    beta1: float
    beta2: float
    tau: float


def adam_step(
    mean: Arrays, state: Arrays | None, adam: Adam
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return the step of one round, and the optimizer's state after it.

    m = β₁m + (1 - β₁)Δ and v = β₂v + (1 - β₂)Δ²; the step is η m / (√v + τ). As in the paper v begins at τ², m at zero, and neither is
    corrected for its beginning.

    Args:
        mean: Δ, the mean of the updates.
        state: What this function returned in the round before; `None` in the first.
        adam: The optimizer's numbers.
    """
    step, after = {}, {}
    for name, delta in mean.items():
        first = np.zeros_like(delta) if state is None else state[_FIRST + name]
        second = np.full_like(delta, adam.tau**2) if state is None else state[_SECOND + name]
        wide = delta.astype(np.float64)  # a float32 square of a large update would be infinite
        m = adam.beta1 * first + (1.0 - adam.beta1) * wide
        v = adam.beta2 * second + (1.0 - adam.beta2) * wide**2
        step[name] = (adam.rate * m / (np.sqrt(v) + adam.tau)).astype(np.float32)
        after[_FIRST + name] = m.astype(np.float32)
        after[_SECOND + name] = np.minimum(v, np.finfo(np.float32).max).astype(np.float32)
    return step, after
