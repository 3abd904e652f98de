"""How much privacy a history of mechanisms has cost: ε recomputed from facts, never stored.

Each event is a run of the Poisson-subsampled Gaussian mechanism with the patient as the unit (Abadi et al. 2016,
arXiv:1607.00133). ε at δ is computed twice, by Rényi DP (Mironov, Talwar, Zhang 2019, arXiv:1908.10530) and by the privacy
loss random variable (Gopi, Lee, Wutschitz 2021, arXiv:2106.02848), and the larger is the one that counts: PRV's ε is tighter but
rests on numerical error bounds, RDP's is looser but simple. Both come from Opacus.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from opacus.accountants import PRVAccountant, RDPAccountant

_ORDERS = [1 + x / 10 for x in range(1, 100)] + [*range(11, 64), *range(64, 512, 16), *range(512, 4097, 256)]
"""Rényi orders to try: beyond Opacus's own 64, because much noise and few steps have their best order far out."""


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
    """Return ε of all `events` together at `delta`, the larger of RDP and PRV.

    No event costs nothing. The order of events does not matter.

    >>> round(epsilon([Event(noise_multiplier=4.0, sample_rate=0.25, steps=60, clipping_norm=1.0)], 1e-5), 2)
    2.24
    """
    if not events:
        return 0.0
    return max(_epsilon_rdp(events, delta), _epsilon_prv(events, delta))


def _epsilon_rdp(events: Sequence[Event], delta: float) -> float:
    accountant = RDPAccountant()
    accountant.history = _history(events)
    return float(accountant.get_epsilon(delta=delta, alphas=_ORDERS))


def _epsilon_prv(events: Sequence[Event], delta: float) -> float:
    accountant = PRVAccountant()
    accountant.history = _history(events)
    # For q = 1 its distribution function passes through log 0, and its first guess of a domain uses few Rényi orders:
    # the one is right as it is, the other only makes the domain wider.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the largest alpha")
        return float(accountant.get_epsilon(delta=delta))


def _history(events: Sequence[Event]) -> list[tuple[float, float, int]]:
    """Opacus's form: (σ, q, steps), equal mechanisms taken together so that the replay stays short."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        mechanism = (event.noise_multiplier, event.sample_rate)
        steps[mechanism] = steps.get(mechanism, 0) + event.steps
    return [(sigma, q, count) for (sigma, q), count in sorted(steps.items())]
