"""Right and left: two lungs that touch at the front or the back are told apart."""

import numpy as np
from scipy import ndimage

from models.morphology import Region
from models.quantify import LEFT, RIGHT
from models.volume import Mask, Spacing

_LEAST_SHARE = 0.15
_MOST_EROSION_MM = 16.0


def split_sides(lungs: Region, middle: float, spacing_mm: Spacing) -> Mask:
    """Return 1 right, 2 left.

    Large connected pieces go to the side of the body on which they lie. A piece that holds both lungs is worn away until it
    falls apart, and each voxel goes to the nearer core.

    Args:
        lungs: Coarse mask, (Z, Y, X), x towards the patient's left.
        middle: Column of the body's midline.
        spacing_mm: Of the mask.
    """
    out = np.zeros(lungs.shape, np.uint8)
    labels, count = ndimage.label(lungs)
    for label in range(1, count + 1):
        piece = labels == label
        cores = _two_cores(piece, middle, spacing_mm) if _spans_middle(piece, middle) else None
        out[piece] = _side_of(piece, middle) if cores is None else _nearer(piece, cores, spacing_mm)
    return out


def _spans_middle(piece: Region, middle: float) -> bool:
    """Does a fair part of the piece lie on either side of the midline?"""
    columns = piece.sum(axis=(0, 1))
    right = columns[: round(middle)].sum() / max(1, columns.sum())
    return bool(_LEAST_SHARE / 2 < right < 1 - _LEAST_SHARE / 2)


def _side_of(piece: Region, middle: float) -> int:
    columns = piece.sum(axis=(0, 1))
    centre = float((columns * np.arange(len(columns))).sum() / max(1, columns.sum()))
    return RIGHT if centre < middle else LEFT


def _two_cores(piece: Region, middle: float, spacing_mm: Spacing) -> Mask | None:
    """Wear the piece away until its two largest remains lie on opposite sides; nothing if it never falls apart."""
    depth = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    total = int(piece.sum())
    for worn in np.arange(spacing_mm[1] / 2, _MOST_EROSION_MM, spacing_mm[1] / 2):
        labels, count = ndimage.label(depth > worn)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        large = np.flatnonzero(sizes >= _LEAST_SHARE * sizes.sum()) + 1
        sides = {int(label): _side_of(labels == label, middle) for label in large}
        if set(sides.values()) == {RIGHT, LEFT}:
            return sum(np.where(labels == label, np.uint8(side), np.uint8(0)) for label, side in sides.items())  # type: ignore[return-value]
        if sizes.sum() < 0.1 * total:
            return None
    return None


def _nearer(piece: Region, cores: Mask, spacing_mm: Spacing) -> Mask:
    """Give each voxel of the piece the side of the nearest core."""
    nearest = ndimage.distance_transform_edt(
        cores == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    sides: Mask = cores[tuple(nearest)]
    return sides[piece]
