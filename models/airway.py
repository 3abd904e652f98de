"""Trachea and main bronchi on the coarse grid: air columns with soft tissue around them, slice by slice."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.fields import Field
from models.morphology import IN_PLANE, Region, disc, pick, pieces, sizes_of
from models.volume import Spacing

_LUMEN_HU = -880.0
_AREA_MM2 = (25.0, 1100.0)
_RING_HU = -480.0
_LEAST_LENGTH_MM = 25.0


def find_airway(hu: Field, hull: Region, spacing_mm: Spacing) -> Region:
    """Return trachea and main bronchi with their wall, as far as soft tissue surrounds them.

    A piece of air in a slice belongs if it is small, surrounded by tissue rather than lung, and part of a column that is at least
    25 mm long or, in a short stack, reaches through it.

    Args:
        hu: Coarse slabs, (Z, Y, X).
        hull: The body with what it holds.
        spacing_mm: Of the slabs.
    """
    labels, count = pieces((hu < _LUMEN_HU) & hull, IN_PLANE)
    if count == 0:
        return np.zeros(hu.shape, np.bool_)
    column = _columns(_airway_like(hu, labels, count, spacing_mm), spacing_mm)
    return ndimage.binary_dilation(column, structure=IN_PLANE)


def _airway_like(hu: Field, labels: NDArray[np.int_], count: int, spacing_mm: Spacing) -> Region:
    """Keep pieces of a fitting area whose ring of 3 pixels is tissue."""
    area = sizes_of(labels, count) * spacing_mm[1] * spacing_mm[2]
    small = (area >= _AREA_MM2[0]) & (area <= _AREA_MM2[1])
    kept = np.where(pick(labels, small), labels, 0)
    grown = ndimage.grey_dilation(kept, footprint=disc(3))
    shell = np.where(ndimage.binary_dilation(kept > 0, structure=IN_PLANE), 0, grown)
    around = sizes_of(shell, count)
    ring = np.bincount(shell.ravel(), weights=hu.ravel(), minlength=count + 1)[1:] / np.maximum(around, 1)
    return pick(labels, small & (around > 0) & (ring > _RING_HU))


def _columns(candidates: Region, spacing_mm: Spacing) -> Region:
    """Keep connected columns that are long enough."""
    labels, _ = pieces(candidates, np.ones((3, 3, 3), np.bool_))
    needed = min(_LEAST_LENGTH_MM, 0.8 * len(candidates) * spacing_mm[0])
    spans = ndimage.find_objects(labels)
    return pick(labels, [(span[0].stop - span[0].start) * spacing_mm[0] >= needed for span in spans])
