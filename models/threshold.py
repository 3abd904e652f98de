"""Lungs by density and shape on the coarse grid: the body's hull, the air in it, without airways, stomach and bowel, closed over disease.

What this finds is exact for lungs full of air and is what the lung network was taught from; disease that lies on the pleura
looks like chest wall to a threshold, so the network has the last word there (`models.lungs`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.airway import find_airway
from models.fields import Field
from models.morphology import IN_PLANE, Region, disc, pick, pieces, sizes_of
from models.volume import Spacing

_AIR_HU = -400.0
_OUTSIDE_HU = -940.0
_ROOM_AIR_SHARE = 0.04
_GAS_HU = -955.0
_LEAST_PIECE_ML = 20.0
_LEAST_SHARE = 0.02
_HOLE_MM2 = 500.0


@dataclass(frozen=True, slots=True)
class Chest:
    """`hull` is the body with all that it holds, `lungs` the air-filled lungs, `airway` trachea and main bronchi; `middle` is the midline's column."""

    hull: Region
    lungs: Region
    airway: Region
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


def close_over(lungs: Region, hull: Region, spacing_mm: Spacing, *, radius_mm: float) -> Region:
    """Close gaps up to twice `radius_mm` wide and fill small holes in every slice, within the hull."""
    steps = max(1, round(radius_mm / spacing_mm[1]))
    padded = np.pad(lungs, ((0, 0), (steps, steps), (steps, steps)))
    round_shape = disc(steps)
    closed = ndimage.binary_erosion(ndimage.binary_dilation(padded, round_shape), round_shape, border_value=1)
    inner = (closed[:, steps:-steps, steps:-steps] & hull) | lungs
    return inner | _small_holes(inner, spacing_mm)


def _small_holes(mask: Region, spacing_mm: Spacing) -> Region:
    """Return holes in slices that are too small for the dome of a diaphragm: vessels, nodules, patches."""
    holes = np.stack([ndimage.binary_fill_holes(plane) for plane in mask]) & ~mask
    labels, count = pieces(holes, IN_PLANE)
    return pick(labels, sizes_of(labels, count) * spacing_mm[1] * spacing_mm[2] < _HOLE_MM2)


def _outside(hu: Field) -> Region:
    """Air around the body: the pieces of a slice that reach the picture's edge, room air and foam alike.

    Where the field of view is cut so close that no room air reaches the edge, what reaches it is lung.
    """
    rim = np.ones(hu.shape[1:], np.bool_)
    rim[1:-1, 1:-1] = False
    if np.mean(hu[:, rim] < _OUTSIDE_HU) < _ROOM_AIR_SHARE:
        return np.zeros(hu.shape, np.bool_)
    labels, count = pieces(hu < _AIR_HU, IN_PLANE)
    return pick(labels, np.isin(np.arange(1, count + 1), labels[:, rim]))


def _body(hu: Field, outside: Region) -> Region:
    """The largest piece of tissue once thin things such as the table top are opened away."""
    tissue = (hu > _AIR_HU) & ~outside
    labels, count = pieces(ndimage.binary_opening(tissue, structure=disc(1)))
    sizes = sizes_of(labels, count)
    return pick(labels, sizes == sizes.max()) if count else tissue


def _hull(body: Region, outside: Region) -> Region:
    """Fill the body in every slice; lung that reaches the picture's edge is inside too.

    Beside a body with room air around it, that lung lies between the body's outermost rows and columns; in a picture that shows
    no room air it may lie anywhere.
    """
    hull = np.empty_like(body)
    close = not outside.any()
    for index, (plane, free) in enumerate(zip(body, outside, strict=True)):
        filled = ndimage.binary_fill_holes(plane)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        hull[index] = filled
        if rows.size:
            span = (
                (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if not close else (slice(None),) * 2
            )
            touching = _touching_edge(~free & ~filled)
            hull[index][span] |= touching[span]
    return hull


def _touching_edge(plane: Region) -> Region:
    """Keep the pieces of a slice that reach its edge."""
    labels, count = pieces(plane)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return pick(labels, np.isin(np.arange(1, count + 1), edge))


def _lung_pieces(air: Region, hu: Field, spacing_mm: Spacing) -> Region:
    """Keep the pieces of air that are lung: large enough and denser inside than gas."""
    opened = ndimage.binary_opening(air, structure=disc(1))
    labels, count = pieces(opened)
    if count == 0:
        return opened
    sizes_ml = sizes_of(labels, count) * float(np.prod(spacing_mm)) / 1000.0
    inner = np.where(ndimage.binary_erosion(opened, structure=disc(1)), labels, 0)
    density = np.asarray(ndimage.median(hu, labels=inner, index=np.arange(1, count + 1)))
    thick_ml = min(_LEAST_PIECE_ML, 2.0 * spacing_mm[0])  # a single slice has little volume: 20 cm2 of it suffice
    large = sizes_ml >= max(thick_ml, _LEAST_SHARE * float(sizes_ml.max()))
    core = pick(labels, large & (np.nan_to_num(density, nan=-1000.0) > _GAS_HU))
    return ndimage.binary_dilation(core, structure=disc(1)) & air
