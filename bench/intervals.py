"""How sure a figure of few cases is: 95 % intervals."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
_RESAMPLES = 10_000
_BLOCK = 10
"""Neighbouring slices resemble each other: they are drawn by so many at a time."""

Interval = tuple[float, float]


def of_mean(values: Sequence[float]) -> Interval:
    """Return the interval of a mean over cases (bootstrap, bias-corrected and accelerated: Efron 1987)."""
    if len(set(values)) < 2:
        return float(np.mean(values)), float(np.mean(values))
    found = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=_RESAMPLES, confidence_level=LEVEL, rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def of_share(count: int, total: int) -> Interval:
    """Return the interval of `count` of `total` (Clopper and Pearson 1934)."""
    found = stats.binomtest(count, total).proportion_ci(LEVEL, method="exact")
    return float(found.low), float(found.high)


def auc(shares: NDArray[np.float64], ill: NDArray[np.bool_]) -> float:
    """Return how often an ill slice shows more than one that is not (ties count half); NaN if there are not both."""
    well = shares[~ill]
    ahead = (shares[ill][:, None] > well) + 0.5 * (shares[ill][:, None] == well)
    return float(ahead.mean()) if ahead.size else float("nan")


def of_auc(shares: NDArray[np.float64], ill: NDArray[np.bool_]) -> Interval:
    """Return the interval of `auc` over blocks of neighbouring slices (moving-block bootstrap: Künsch 1989)."""
    rng = np.random.default_rng(0)
    blocks = -(-len(shares) // _BLOCK)
    starts = rng.integers(0, len(shares) - _BLOCK + 1, (_RESAMPLES // 10, blocks))
    drawn = (starts[:, :, None] + np.arange(_BLOCK)).reshape(len(starts), -1)[:, : len(shares)]
    found = [auc(shares[index], ill[index]) for index in drawn]
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
