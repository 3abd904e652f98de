"""Lungs by density and shape on the coarse grid: the body's hull, the air in it, without airways, stomach and bowel, closed over disease.

What this finds is exact for lungs full of air and is what the lung network was taught from; disease that lies on the pleura
looks like chest wall to a threshold, so the network has the last word there (`models.lungs`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.airway import find_airway
from models.fields import Field
from models.volume import Spacing

_Bool = NDArray[np.bool_]

_AIR_HU = -400.0
_OUTSIDE_HU = -940.0
_ROOM_AIR_SHARE = 0.04
_GAS_HU = -955.0
_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]
_LEAST_PIECE_ML = 20.0
_LEAST_SHARE = 0.02
_HOLE_MM2 = 500.0


@dataclass(frozen=True, slots=True)
class Chest:
    """`hull` is the body with all that it holds, `lungs` the air-filled lungs, `airway` trachea and main bronchi; `middle` is the midline's column."""

    hull: _Bool
    lungs: _Bool
    airway: _Bool
    middle: float


def read_chest(hu: Field, spacing_mm: Spacing) -> Chest:
    """Find body, airway and air-filled lungs.

    Args:
        hu: Coarse slabs, (Z, Y, X).
        spacing_mm: Of the slabs.
    """
    outside = _outside(hu)
    body = _body(hu, outside)
    hull = _hull(body, outside)
    columns = body.sum(axis=(0, 1)).astype(np.float64)
    middle = float((columns * np.arange(len(columns))).sum() / max(1.0, columns.sum()))
    airway = find_airway(hu, hull, spacing_mm)
    air = (hu < _AIR_HU) & hull & ~airway
    return Chest(hull, _lung_pieces(air, hu, spacing_mm), airway, middle)


def close_over(lungs: _Bool, hull: _Bool, spacing_mm: Spacing, *, radius_mm: float) -> _Bool:
    """Close gaps up to twice `radius_mm` wide and fill small holes in every slice, within the hull."""
    steps = max(1, round(radius_mm / spacing_mm[1]))
    padded = np.pad(lungs, ((0, 0), (steps, steps), (steps, steps)))
    disc = _disc(steps)
    closed = ndimage.binary_erosion(ndimage.binary_dilation(padded, disc), disc, border_value=1)
    inner = (closed[:, steps:-steps, steps:-steps] & hull) | lungs
    return inner | _small_holes(inner, spacing_mm)


def _small_holes(mask: _Bool, spacing_mm: Spacing) -> _Bool:
    """Return holes in slices that are too small for the dome of a diaphragm: vessels, nodules, patches."""
    holes = np.stack([ndimage.binary_fill_holes(plane) for plane in mask]) & ~mask
    labels, count = ndimage.label(holes, structure=_IN_PLANE)
    areas = np.bincount(labels.ravel(), minlength=count + 1) * spacing_mm[1] * spacing_mm[2]
    small = areas < _HOLE_MM2
    small[0] = False
    return small[labels]


def _outside(hu: Field) -> _Bool:
    """Air around the body: the pieces of a slice that reach the picture's edge, room air and foam alike.

    Where the field of view is cut so close that no room air reaches the edge, what reaches it is lung.
    """
    rim = np.ones(hu.shape[1:], np.bool_)
    rim[1:-1, 1:-1] = False
    if np.mean(hu[:, rim] < _OUTSIDE_HU) < _ROOM_AIR_SHARE:
        return np.zeros(hu.shape, np.bool_)
    labels, count = ndimage.label(hu < _AIR_HU, structure=_IN_PLANE)
    outer = np.zeros(count + 1, np.bool_)
    outer[np.unique(labels[:, rim])] = True
    outer[0] = False
    return outer[labels]


def _body(hu: Field, outside: _Bool) -> _Bool:
    """The largest piece of tissue once thin things such as the table top are opened away."""
    tissue = (hu > _AIR_HU) & ~outside
    opened = ndimage.binary_opening(tissue, structure=_disc(1))
    labels, count = ndimage.label(opened)
    if count == 0:
        return tissue
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def _hull(body: _Bool, outside: _Bool) -> _Bool:
    """Fill the body in every slice; lung that reaches the picture's edge is inside too."""
    hull = np.empty_like(body)
    for index, (plane, free) in enumerate(zip(body, outside, strict=True)):
        filled = ndimage.binary_fill_holes(plane)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        hull[index] = filled
        if rows.size:
            span = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            touching = _touching_edge(~free & ~filled)
            hull[index][span] |= touching[span]
    return hull


def _touching_edge(plane: _Bool) -> _Bool:
    """Keep the pieces of a slice that reach its edge."""
    labels, count = ndimage.label(plane)
    if count == 0:
        return plane
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    keep = np.zeros(count + 1, np.bool_)
    keep[edge] = True
    keep[0] = False
    return keep[labels]


def _lung_pieces(air: _Bool, hu: Field, spacing_mm: Spacing) -> _Bool:
    """Keep the pieces of air that are lung: large enough and denser inside than gas."""
    opened = ndimage.binary_opening(air, structure=_disc(1))
    labels, count = ndimage.label(opened)
    if count == 0:
        return opened
    index = np.arange(1, count + 1)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_ml
    inner = np.where(ndimage.binary_erosion(opened, structure=_disc(1)), labels, 0)
    density = np.nan_to_num(np.asarray(ndimage.median(hu, labels=inner, index=index)), nan=-1000.0)
    thick_ml = min(_LEAST_PIECE_ML, 2.0 * spacing_mm[0])  # a single slice has little volume: 20 cm2 of it suffice
    keep = (sizes >= max(thick_ml, _LEAST_SHARE * sizes.max())) & (density > _GAS_HU)
    core = np.concatenate([[False], keep])[labels]
    return ndimage.binary_dilation(core, structure=_disc(1)) & air


def _disc(radius: int) -> _Bool:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius + 0.5)[None]
