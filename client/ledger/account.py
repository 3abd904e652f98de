"""How much privacy a history of mechanisms has cost: ε recomputed from facts, never stored.

Each event is a run of the Poisson-subsampled Gaussian mechanism with the patient as the unit (Abadi et al. 2016,
arXiv:1607.00133). ε at δ is computed twice, by Rényi DP (Mironov, Talwar, Zhang 2019, arXiv:1908.10530) and by the privacy
loss random variable (Gopi, Lee, Wutschitz 2021, arXiv:2106.02848), and the larger is the one that counts: PRV's ε is tighter but
rests on numerical error bounds, RDP's is looser but simple. Both come from Opacus.

Whoever writes a plan chooses σ and the steps, so neither may make the price itself expensive. RDP takes the same time for all that is priced
here. PRV works on a grid that grows with ε and with the root of the steps: its grid is bounded, and where the bound would cost the answer its
meaning, or PRV has no answer at all, RDP counts alone. It is an upper bound by itself.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from client.ledger.formulas import prv, rdp

_ORDERS = [1 + x / 10 for x in range(1, 100)] + [*range(11, 64), *range(64, 512, 16), *range(512, 4097, 256)]
"""Rényi orders to try: beyond Opacus's own 64, because much noise and few steps have their best order far out."""


_LEAST_NOISE = 1e-3
"""Below this σ nothing is computed: one use costs more than half a million by RDP, and the formulas come to the end of floating point."""

_MOST_EPSILON = 1000.0
"""Above this RDP counts alone. No policy may allow more (`client.gate.policy`), so how much more it is decides nothing."""

_GRID_ERROR, _GREATEST_GRID_ERROR = 0.01, 1.0
"""What PRV's grid adds to ε: Opacus's default, and up to where its choice of the grid's domain is known to hold (Opacus, `domain.py`)."""

_MOST_POINTS = 2**21
"""Of PRV's grid. Some dozens of bytes each; at the default error an ε of 8 over a million steps needs four times as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One charge: `steps` uses of the mechanism.

    Attributes:
        noise_multiplier: σ, in units of the clipping norm.
        sample_rate: q, the public probability with which each patient enters a step.
        steps: How many steps.
        clipping_norm: C. ε does not depend on it; it stands here so that the mechanism can be run again.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    clipping_norm: float


def epsilon(events: Sequence[Event], delta: float) -> float:
    """Return ε of all `events` together at `delta`, the larger of RDP and PRV; infinity for less noise than can be priced.

    No event costs nothing. The order of events does not matter.

    >>> round(epsilon([Event(noise_multiplier=4.0, sample_rate=0.25, steps=60, clipping_norm=1.0)], 1e-5), 2)
    2.24
    """
    uses = _uses(events)
    if not uses:
        return 0.0
    if min(sigma for sigma, _, _ in uses) < _LEAST_NOISE:
        return math.inf
    by_rdp = _epsilon_rdp(uses, delta)
    error = _grid_error(uses, delta) if by_rdp <= _MOST_EPSILON else math.inf
    return max(by_rdp, _epsilon_prv(uses, delta, error)) if error <= _GREATEST_GRID_ERROR else by_rdp


def course(events: Sequence[Event], delta: float) -> list[float]:
    """Return ε after each of `events` by Rényi DP alone, for drawing: adding up is quick where PRV would start anew each time.

    >>> one = Event(noise_multiplier=4.0, sample_rate=0.25, steps=30, clipping_norm=1.0)
    >>> [round(each, 2) for each in course([one, one], 1e-5)]
    [1.56, 2.24]
    """
    drawn, spent = [], np.zeros(len(_ORDERS))
    for event in events:
        spent = spent + event.steps * _rdp_of_one_use(event.noise_multiplier, event.sample_rate)
        drawn.append(_converted(spent, delta))
    return drawn


_Uses = tuple[tuple[float, float, int], ...]
"""(σ, q, steps), each mechanism once: Opacus's form of a history, short enough to replay quickly."""


def _uses(events: Sequence[Event]) -> _Uses:
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        mechanism = (event.noise_multiplier, event.sample_rate)
        steps[mechanism] = steps.get(mechanism, 0) + event.steps
    return tuple((sigma, q, count) for (sigma, q), count in sorted(steps.items()))


def _epsilon_rdp(uses: _Uses, delta: float) -> float:
    """RDP adds up over uses."""
    curves = [count * _rdp_of_one_use(sigma, q) for sigma, q, count in uses]
    return _converted(np.sum(curves, axis=0), delta)


def _converted(spent: NDArray[np.float64], delta: float) -> float:
    """Return ε of an RDP curve over `_ORDERS` (theorem 21 of Balle et al. 2020, arXiv:1905.09982)."""
    with _orders_may_end():
        found, _ = rdp.get_privacy_spent(orders=_ORDERS, rdp=spent, delta=delta)
    return float(found)


@lru_cache(maxsize=256)
def _rdp_of_one_use(sigma: float, q: float) -> NDArray[np.float64]:
    return np.asarray(rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=_ORDERS))


def _grid_error(uses: _Uses, delta: float) -> float:
    """Return the error in ε at which PRV's grid has at most about `_MOST_POINTS` points (Gopi et al., remark 5.6, as Opacus follows it)."""
    steps, delta_error = sum(count for _, _, count in uses), delta / 1000
    reach = max(
        _epsilon_rdp(uses, delta_error / 4),
        *(_epsilon_rdp(((sigma, q, 1),), delta_error / (8 * steps)) for sigma, q, _ in uses),
    )
    points = 2 * (reach + 3) * math.sqrt(steps * math.log(12 / delta_error) / 2) / _GRID_ERROR
    return _GRID_ERROR * max(1.0, points / _MOST_POINTS)


@lru_cache(maxsize=256)
def _epsilon_prv(uses: _Uses, delta: float, error: float) -> float:
    """Return what PRV says; minus infinity, which RDP's bound is always above, where it says nothing: for a δ below its rounding errors."""
    accountant = prv.PRVAccountant()
    accountant.history = list(uses)
    # For q = 1 its distribution function passes through log 0, which comes out right.
    with np.errstate(divide="ignore", invalid="ignore"), _orders_may_end():
        try:
            return float(accountant.get_epsilon(delta=delta, eps_error=error))
        except (ValueError, RuntimeError):
            return -math.inf


@contextmanager
def _orders_may_end() -> Iterator[None]:
    """An optimum at the first or last order makes a bound looser, never wrong; PRV only chooses its domain by it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield
