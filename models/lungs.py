"""The lung mask: every voxel of both lungs, vessels included, trachea and main bronchi left out, right told from left."""

import numpy as np
import torch

from models.fields import Field
from models.grid import Grid, from_slabs, grid_over, to_slabs, whole
from models.quantify import LEFT, RIGHT
from models.sides import split_sides
from models.threshold import Chest, close_over, read_chest
from models.volume import Mask, Spacing, Volume
from protocol.codes import Code
from protocol.errors import InvalidInputError

PIXEL_MM = 2.5
"""Pixel of the coarse grid on which lungs are found."""

CLOSING_MM = 8.0

_LEAST_LUNG_ML = 150.0
_LEAST_AREA_CM2 = 25.0


def find_lungs(volume: Volume) -> Mask:
    """Return the lungs on the volume's own grid: 1 right, 2 left.

    Args:
        volume: The scan; values must be Hounsfield units (`models.plausible`).

    Raises:
        InvalidInputError: `no-lung` if nothing in the scan looks like lung.
    """
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=PIXEL_MM)
    hu = to_slabs(volume, grid).numpy()
    spacing = coarse_spacing(grid, volume)
    coarse = coarse_lungs(hu, spacing)
    return to_native(coarse, grid, volume)


def coarse_spacing(grid: Grid, volume: Volume) -> Spacing:
    """Return the spacing (z, y, x) of the coarse slabs of a whole volume."""
    _, rows, columns = volume.hu.shape
    z_mm, y_mm, x_mm = volume.spacing_mm
    return z_mm * grid.slices_per_slab, y_mm * rows / grid.height, x_mm * columns / grid.width


def coarse_lungs(hu: Field, spacing_mm: Spacing) -> Mask:
    """Return the lungs on the coarse grid.

    Raises:
        InvalidInputError: `no-lung`.
    """
    chest = read_chest(hu, spacing_mm)
    require_lung(chest.lungs, hu, spacing_mm)
    sides = split_sides(chest.lungs, chest.middle, spacing_mm)
    return _closed(sides, chest, spacing_mm)


def require_lung(lungs: np.typing.NDArray[np.bool_], hu: Field, spacing_mm: Spacing) -> None:
    """Refuse scans without lung: too little air, or air that is gas rather than parenchyma.

    Raises:
        InvalidInputError: `no-lung`.
    """
    area_cm2 = float(lungs.sum(axis=(1, 2)).max(initial=0)) * spacing_mm[1] * spacing_mm[2] / 100.0
    volume_ml = float(lungs.sum()) * float(np.prod(spacing_mm)) / 1000.0
    thickness_mm = len(lungs) * spacing_mm[0]
    enough = area_cm2 >= _LEAST_AREA_CM2 and (volume_ml >= _LEAST_LUNG_ML or thickness_mm < 50)  # noqa: PLR2004 - a short stack
    parenchyma = np.mean((hu[lungs] > -950) & (hu[lungs] < -600)) if lungs.any() else 0.0  # noqa: PLR2004 - air with walls in it
    if not enough or parenchyma < 0.3:  # noqa: PLR2004
        raise InvalidInputError(Code.NO_LUNG, "No lung was found in the scan; send a chest CT that shows the lungs.")


def to_native(coarse: Mask, grid: Grid, volume: Volume) -> Mask:
    """Bring the coarse lungs to the scan's own voxels with a smooth outline."""
    shares = torch.stack([torch.from_numpy((coarse == side).astype(np.float32)) for side in (RIGHT, LEFT)], dim=1)
    out = np.zeros(volume.hu.shape, np.uint8)
    for z, share in from_slabs(shares, grid):
        out[z] = np.where(share.sum(axis=0) >= 0.5, share.argmax(axis=0) + 1, 0)  # noqa: PLR2004 - more than half a voxel
    return out


def _closed(sides: Mask, chest: Chest, spacing_mm: Spacing) -> Mask:
    """Close each lung over vessels and disease; where both would claim a voxel, the right one keeps it."""
    out = np.zeros(sides.shape, np.uint8)
    for side in (LEFT, RIGHT):
        closed = close_over(sides == side, chest.hull, spacing_mm, radius_mm=CLOSING_MM)
        out[closed & ~chest.airway & ((sides == 0) | (sides == side))] = side
    return out
