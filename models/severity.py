"""The zone score: six zones of 0 to 4 points each, 0 to 24 in all. Pure.

After Ooi et al., "Severe acute respiratory syndrome: temporal lung changes at thin-section CT in 30 patients", Radiology
2004;230:836-844: each lung has an upper, a middle and a lower zone, and each zone scores by the share of it that is
abnormal. Ooi's zones are bounded by carina and inferior pulmonary vein; ours are equal heights of the lungs. It is *not*
the lobar CT severity score (five lobes, 0 to 25), and the two must not be compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocol.case import SeverityBand

SCALE = "zone-score-0-24"
"""What the number means, for reports: six zones, Ooi et al. 2004, equal heights."""

LEAST_FRACTION = 0.01
"""Less of a zone than this is not called abnormal: it is within the error of the measurement."""

_QUARTERS = (0.25, 0.50, 0.75)
_MILD, _MODERATE = 6, 12


@dataclass(frozen=True, slots=True)
class Severity:
    """`zones` holds the points (thirds from the feet up; right, left)."""

    score: int
    scale: str
    band: SeverityBand
    zones: tuple[tuple[int, int], ...]


def zone_points(fraction: float) -> int:
    """Return 0 for a zone without opacity, 1 below a quarter, 2 below a half, 3 up to three quarters, 4 above."""
    if fraction < LEAST_FRACTION:
        return 0
    return 1 + sum(fraction >= quarter for quarter in _QUARTERS)


def share_of_points(points: int) -> tuple[float, float]:
    """Return between which shares of a zone its points lie: the inverse of `zone_points`.

    >>> [share_of_points(points) for points in range(5)]
    [(0.0, 0.01), (0.01, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]

    Raises:
        ValueError: For other than 0 to 4 points.
    """
    edges = (0.0, LEAST_FRACTION, *_QUARTERS, 1.0)
    if not 0 <= points < len(edges) - 1:
        raise ValueError("a zone has 0 to 4 points")
    return edges[points], edges[points + 1]


def band_of(score: int) -> SeverityBand:
    """Return the band of a zone score: none 0, mild 1 to 6, moderate 7 to 12, severe 13 to 24.

    The bands are ours: six zones with a little disease each are still mild; twelve points mean half of every zone.
    """
    if score == 0:
        return SeverityBand.NONE
    if score <= _MILD:
        return SeverityBand.MILD
    return SeverityBand.MODERATE if score <= _MODERATE else SeverityBand.SEVERE


def zone_score(counts: NDArray[np.int64]) -> Severity:
    """Score a volume.

    Args:
        counts: Voxels, (3 thirds, 2 lungs, 3 kinds), as `models.quantify.count_zones` returns them.
    """
    total = counts.sum(axis=2)  # (3, 2)
    fractions = counts[:, :, 1:].sum(axis=2) / np.maximum(total, 1)
    zones = tuple((zone_points(float(right)), zone_points(float(left))) for right, left in fractions)
    score = sum(right + left for right, left in zones)
    return Severity(score, SCALE, band_of(score), zones)
