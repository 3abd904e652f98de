"""What hostile sites send in the place of their updates: the attacks of `bench.hostile`, and of the tests of robust rules. Pure.

The last three know what every honest site sends in the round and hide among it. Hostile sites that use them all send the same.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from strategies.arrays import Arrays, cut, layout_of

Vectors = NDArray[np.float64]
"""(sites, values)."""

Attack = Callable[[Arrays, Sequence[Arrays], np.random.Generator], Arrays]
"""From the update that a site would have sent, and those that the honest sites do send, to the one that it sends."""

LABEL_FLIP, REPLACEMENT = "label flip", "model replacement"

SPREADS = 1.5
"""How many standard deviations ALIE goes: what its authors used. Their formula gives 0 for ten sites of which two are hostile."""


def little_is_enough(honest: Vectors) -> NDArray[np.float64]:
    """Return the honest mean moved by `SPREADS` standard deviations of each value (Baruch et al. 2019, arXiv:1902.06156: ALIE)."""
    return np.asarray(honest.mean(axis=0) - SPREADS * honest.std(axis=0))


def min_max(honest: Vectors) -> NDArray[np.float64]:
    """Return what is as far off as it can be without being further from any honest update than two of those are from each other.

    (Shejwalkar and Houmansadr 2021, NDSS, with the standard deviation for a direction; γ by solving for it, not by halving.)
    """
    away, direction = _mean_less_each(honest), -honest.std(axis=0)
    room = _distances(honest).max() - np.einsum("ij,ij->i", away, away)
    along, square = away @ direction, float(direction @ direction)
    if not square:
        return np.asarray(honest.mean(axis=0))
    furthest = (np.sqrt(np.square(along) + square * room) - along) / square
    return np.asarray(honest.mean(axis=0) + furthest.min() * direction)


def min_sum(honest: Vectors) -> NDArray[np.float64]:
    """Return the same where no sum of squared distances to the honest updates may be larger than that of one of those."""
    away, direction = _mean_less_each(honest), -honest.std(axis=0)
    room = float(_distances(honest).sum(axis=1).max() - np.square(away).sum())
    square = float(direction @ direction)
    furthest = np.sqrt(room / (len(honest) * square)) if square else 0.0
    return np.asarray(honest.mean(axis=0) + furthest * direction)


def _mean_less_each(honest: Vectors) -> Vectors:
    return np.asarray(honest.mean(axis=0) - honest)


def _distances(honest: Vectors) -> Vectors:
    """Squared, (sites, sites)."""
    return np.stack([np.square(honest - one).sum(axis=1) for one in honest])


def _times(factor: float) -> Attack:
    return lambda own, _, __: {name: np.float32(factor) * array for name, array in own.items()}


def _noise(own: Arrays, _: Sequence[Arrays], rng: np.random.Generator) -> Arrays:
    length = np.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in own.values()))
    values = sum(array.size for array in own.values())
    spread = 20.0 * length / np.sqrt(values)
    return {name: rng.normal(0.0, spread, array.shape).astype(np.float32) for name, array in own.items()}


def _hidden(forged: Callable[[Vectors], NDArray[np.float64]]) -> Attack:
    def attack(own: Arrays, honest: Sequence[Arrays], _: np.random.Generator) -> Arrays:
        known = np.stack([np.concatenate([one[name].ravel() for name in sorted(one)]) for one in honest])
        return cut(forged(known.astype(np.float64)).astype(np.float32), layout_of(own))

    return attack


ATTACKS: dict[str, Attack] = {
    "sign flip": _times(-1.0),
    "scaling": _times(-10.0),
    "noise": _noise,
    LABEL_FLIP: _times(1.0),
    "a little is enough": _hidden(little_is_enough),
    "min-max": _hidden(min_max),
    "min-sum": _hidden(min_sum),
}

TAUGHT: dict[str, Attack] = {LABEL_FLIP: ATTACKS[LABEL_FLIP], REPLACEMENT: _times(10.0)}
"""Attacks by a site that trains on other labels. The second makes its word count for ten, as many as there are sites (Bagdasaryan et al. 2020, arXiv:1807.00459)."""
