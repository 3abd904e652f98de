"""A mask from a reader's zone scores: what the network finds, made to agree with what the reader saw. Pure.

A read gives points for six zones (`models.severity`), far less than a mask and far more often. Within each zone the network's own order of
pixels, from the likeliest opacity down, is cut where the share of the zone meets the reader's band: where the network's own cut-off of one
half lies within the band it stays, otherwise it moves to the nearer edge. So the reader decides how much and the network where. It is the size
constraint of Kervadec et al. 2019 (Medical Image Analysis 54, 10.1016/j.media.2019.02.009) as a label instead of a loss: the private step
needs no second kind of loss, and the label depends on this patient and on public weights alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.fields import Field
from models.quantify import CONSOLIDATION, GROUND_GLASS, LEFT, RIGHT, third_of_slices
from models.severity import share_of_points
from models.volume import Mask

CUT_OFF = 0.5
"""From this probability on the network itself says opacity."""


def mask_from_zone_points(
    ground_glass: Field, consolidation: Field, lungs: Mask, points: Sequence[tuple[int, int]]
) -> Mask:
    """Return 1 ground glass, 2 consolidation, as much of each zone as the reader's points say.

    Args:
        ground_glass: Probability, (Z, Y, X).
        consolidation: Probability, (Z, Y, X).
        lungs: 1 right, 2 left, (Z, Y, X).
        points: (right, left) for the lower, middle and upper third, each 0 to 4.

    Raises:
        ValueError: If the grids differ or the points are no zone scores.
    """
    if not ground_glass.shape == consolidation.shape == lungs.shape:
        raise ValueError("probabilities and lungs lie on different grids")
    opacity = ground_glass + consolidation
    thirds = third_of_slices(lungs)
    called = np.zeros(lungs.shape, np.bool_)
    for third, pair in enumerate(points):
        for side, zone_points in zip((RIGHT, LEFT), pair, strict=True):
            zone = (lungs == side) & (thirds == third)[:, None, None]
            called[zone] = _likeliest(opacity[zone], share_of_points(zone_points))
    kind = np.where(consolidation > ground_glass, CONSOLIDATION, GROUND_GLASS)
    return np.where(called, kind, 0).astype(np.uint8)


def _likeliest(opacity: NDArray[np.float32], band: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which pixels of a zone are called opacity; equally likely ones are taken in no order, or a share would be overrun."""
    low, high = band
    called = opacity >= CUT_OFF
    if opacity.size == 0 or low <= called.mean() <= high:
        return called if low > 0 else np.zeros_like(called)
    wanted = int(np.ceil(low * opacity.size)) if called.mean() < low else int(high * opacity.size)
    called = np.zeros_like(called)
    called[np.argpartition(-opacity, max(0, wanted - 1))[:wanted]] = low > 0
    return called
