"""Trachea and main bronchi on the coarse grid: air columns with soft tissue around them, slice by slice."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.fields import Field
from models.volume import Spacing

_Bool = NDArray[np.bool_]

_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]
_LUMEN_HU = -880.0
_AREA_MM2 = (25.0, 1100.0)
_RING_HU = -480.0
_LEAST_LENGTH_MM = 25.0


def find_airway(hu: Field, hull: _Bool, spacing_mm: Spacing) -> _Bool:
    """Return trachea and main bronchi with their wall, as far as soft tissue surrounds them.

    A piece of air in a slice belongs if it is small, surrounded by tissue rather than lung, and part of a column that is at least
    25 mm long or, in a short stack, reaches through it.

    Args:
        hu: Coarse slabs, (Z, Y, X).
        hull: The body with what it holds.
        spacing_mm: Of the slabs.
    """
    pieces, count = ndimage.label((hu < _LUMEN_HU) & hull, structure=_IN_PLANE)
    if count == 0:
        return np.zeros(hu.shape, np.bool_)
    column = _columns(_airway_like(hu, pieces, count, spacing_mm), spacing_mm)
    return ndimage.binary_dilation(column, structure=_IN_PLANE)


def _airway_like(hu: Field, pieces: NDArray[np.int32], count: int, spacing_mm: Spacing) -> _Bool:
    """Keep pieces of a fitting area whose ring of 3 pixels is tissue."""
    index = np.arange(1, count + 1)
    area = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * spacing_mm[1] * spacing_mm[2]
    small = (area >= _AREA_MM2[0]) & (area <= _AREA_MM2[1])
    kept = np.concatenate([[0], np.where(small, index, 0)]).astype(pieces.dtype)[pieces]
    grown = ndimage.grey_dilation(kept, footprint=_disc(3))
    shell = np.where(ndimage.binary_dilation(kept > 0, structure=_IN_PLANE), 0, grown)
    count_ring = np.bincount(shell.ravel(), minlength=count + 1)[1:]
    ring = np.bincount(shell.ravel(), weights=hu.ravel(), minlength=count + 1)[1:] / np.maximum(count_ring, 1)
    fits = small & (count_ring > 0) & (ring > _RING_HU)
    return np.concatenate([[False], fits])[pieces]


def _columns(candidates: _Bool, spacing_mm: Spacing) -> _Bool:
    """Keep connected columns that are long enough."""
    labels, count = ndimage.label(candidates, structure=np.ones((3, 3, 3)))
    if count == 0:
        return candidates
    needed = min(_LEAST_LENGTH_MM, 0.8 * len(candidates) * spacing_mm[0])
    spans = ndimage.find_objects(labels)
    long = [(span[0].stop - span[0].start) * spacing_mm[0] >= needed for span in spans if span is not None]
    return np.concatenate([[False], long])[labels]


def _disc(radius: int) -> _Bool:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius)[None]
