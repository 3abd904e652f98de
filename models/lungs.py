"""The lung mask: every voxel of both lungs, vessels included, trachea and main bronchi left out, right told from left.

A small network of its own finds the lungs on a coarse grid, because disease at the pleura looks like chest wall to any
threshold (tests/unit/models/test_lungs.py shows the failure). It was taught from thresholds on lungs *before* disease was
put in. What it finds is cleaned of fat below the lungs and of islands, checked for being lung at all, and brought to the scan's own voxels.
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.fields import Field
from models.grid import Box, Grid, box_around, coarse_spacing, from_slabs, grid_over, to_slabs, whole
from models.infer import probabilities
from models.morphology import SQUARE, WITHIN_A_SLICE, Region, pick, pieces, sizes_of
from models.net import GgoNet
from models.prepare import prepare, with_neighbours
from models.quantify import LEFT, RIGHT
from models.sides import split_sides
from models.threshold import Chest, close_over, read_chest
from models.volume import Mask, Spacing, Volume
from models.weights import load_lung_net
from protocol.codes import Code
from protocol.errors import InvalidInputError

PIXEL_MM = 2.5
"""Pixel of the coarse grid on which lungs are found."""

CLOSING_MM = 8.0
"""Radius by which the threshold's lungs are closed."""

_LEAST_LUNG_ML = 150.0
_LEAST_AREA_CM2 = 25.0
_ISLAND_SHARE = 0.05
_PATCH_SHARE = 0.25
_FAT_HU, _FAT_SHARE, _AIR_HU, _AIR_SHARE = (-160.0, -30.0), 0.5, -500.0, 0.02
_BODY_HU = -400
_STRIDE = 4


def find_lungs(volume: Volume, *, net: GgoNet | None = None, device: str = "cpu") -> Mask:
    """Return the lungs on the volume's own grid: 1 right, 2 left.

    Args:
        volume: The scan; values must be Hounsfield units (`models.plausible`).
        net: The lung network; the shipped one if left out.
        device: Where the lung network runs.

    Raises:
        InvalidInputError: `no-lung` if nothing in the scan looks like lung.
    """
    grid = grid_over(body_box(volume), volume.spacing_mm, pixel_mm=PIXEL_MM)
    slabs = to_slabs(volume, grid)
    spacing = coarse_spacing(grid, volume.spacing_mm)
    seen = probabilities(net or shipped_lung_net(), with_neighbours(prepare(slabs)), device=device)
    shares = seen[:, 1:, : grid.height, : grid.width]  # (slabs, right and left, height, width)
    coarse = without_islands(without_fat(_labels(shares.numpy()), slabs.numpy()))
    require_lung(coarse > 0, slabs.numpy(), spacing)
    return to_native(_only(shares, coarse), grid, volume)


def threshold_lungs(volume: Volume) -> Mask:
    """Return the lungs by threshold and closing alone: right for lungs without disease at the pleura.

    Raises:
        InvalidInputError: `no-lung`.
    """
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=PIXEL_MM)
    hu, spacing = to_slabs(volume, grid).numpy(), coarse_spacing(grid, volume.spacing_mm)
    chest = read_chest(hu, spacing)
    require_lung(chest.lungs, hu, spacing)
    sides = _closed(split_sides(chest.lungs, chest.middle, spacing), chest, spacing)
    shares = torch.stack([torch.from_numpy((sides == side).astype(np.float32)) for side in (RIGHT, LEFT)], dim=1)
    return to_native(shares, grid, volume)


@functools.cache
def shipped_lung_net() -> GgoNet:
    """Return the lung network of this wheel, read once."""
    return load_lung_net()


def body_box(volume: Volume) -> Box:
    """Return the box around all that is denser than air: what is cut off holds no lung and costs time."""
    dense = volume.hu[:, ::_STRIDE, ::_STRIDE] > _BODY_HU
    spans = []
    for axes, size in (((0, 2), volume.hu.shape[1]), ((0, 1), volume.hu.shape[2])):
        found = np.flatnonzero(dense.mean(axis=axes) > 0.002)  # noqa: PLR2004 - noise and wires are fewer
        first, last = (int(found[0]), int(found[-1])) if found.size else (0, size)
        spans.append(slice(max(0, (first - 1) * _STRIDE), min(size, (last + 2) * _STRIDE)))
    return slice(0, len(volume.hu)), spans[0], spans[1]


def require_lung(lungs: Region, hu: Field, spacing_mm: Spacing) -> None:
    """Refuse scans without lung: too little of it, or not made of air and walls.

    Raises:
        InvalidInputError: `no-lung`.
    """
    area_cm2 = float(lungs.sum(axis=(1, 2)).max(initial=0)) * spacing_mm[1] * spacing_mm[2] / 100.0
    volume_ml = float(lungs.sum()) * float(np.prod(spacing_mm)) / 1000.0
    thickness_mm = len(lungs) * spacing_mm[0]
    enough = area_cm2 >= _LEAST_AREA_CM2 and (volume_ml >= _LEAST_LUNG_ML or thickness_mm < 50)  # noqa: PLR2004 - a short stack
    aerated = np.mean((hu[lungs] > -960) & (hu[lungs] < -500)) if lungs.any() else 0.0  # noqa: PLR2004 - air with walls in it
    if not enough or aerated < 0.15:  # noqa: PLR2004 - the worst lungs that still breathe
        raise InvalidInputError(Code.NO_LUNG, "No lung was found in the scan; send a chest CT that shows the lungs.")


def without_fat(sides: Mask, hu: Field) -> Mask:
    """Drop pieces of a slice that hold no air and are mostly as dense as fat: what lies below the lungs, behind liver and spleen, is taken for consolidation else.

    Args:
        sides: 1 right, 2 left, coarse, (slabs, height, width).
        hu: The same slabs in HU, at least as high and wide.
    """
    labels, count = pieces(sides > 0, structure=WITHIN_A_SLICE)
    if not count:
        return sides
    hu = hu[:, : sides.shape[1], : sides.shape[2]]
    sizes = sizes_of(labels, count)
    fat = sizes_of(np.where((hu > _FAT_HU[0]) & (hu < _FAT_HU[1]), labels, 0), count)
    air = sizes_of(np.where(hu < _AIR_HU, labels, 0), count)
    return np.where(pick(labels, (fat >= _FAT_SHARE * sizes) & (air < _AIR_SHARE * sizes)), 0, sides).astype(np.uint8)


def without_islands(sides: Mask) -> Mask:
    """Drop pieces smaller than a twentieth of the largest, and give patches of the wrong side to the lung around them.

    Args:
        sides: 1 right, 2 left, coarse.
    """
    out = np.zeros_like(sides)
    box = box_around(sides > 0, (1.0, 1.0, 1.0), margin_mm=0.0)  # what lies around holds no piece, and no hole
    within = sides[box]
    labels, count = pieces(within > 0)
    sizes = sizes_of(labels, count)
    kept = np.where(pick(labels, sizes >= _ISLAND_SHARE * sizes.max(initial=0)), within, 0).astype(np.uint8)
    out[box] = _filled(_one_side_each(kept))
    return out


def to_native(shares: Tensor, grid: Grid, volume: Volume) -> Mask:
    """Bring coarse shares of right and left lung, (slabs, 2, height, width), to the scan's own voxels with a smooth outline."""
    out = np.zeros(volume.hu.shape, np.uint8)
    for z, (right, left) in from_slabs(shares, grid, only=shares.flatten(1).amax(dim=1) > 0):
        inside = right + left >= 0.5  # noqa: PLR2004 - more than half a voxel
        out[z, grid.box[1], grid.box[2]] = np.where(left > right, np.uint8(LEFT), np.uint8(RIGHT)) * inside
    return out


def _labels(shares: NDArray[np.float32]) -> Mask:
    inside = shares.sum(axis=1) >= 0.5  # noqa: PLR2004 - likelier lung than not
    return np.where(inside, shares.argmax(axis=1) + 1, 0).astype(np.uint8)


def _only(shares: Tensor, coarse: Mask) -> Tensor:
    """Keep what the cleaned labels say: their side where they are lung, and soft outlines up to one pixel around them."""
    near = ndimage.binary_dilation(coarse > 0, structure=SQUARE)
    side = np.where(coarse > 0, coarse, ndimage.grey_dilation(coarse, size=(1, 3, 3)))
    total = shares.sum(dim=1).numpy() * near
    total = np.where((coarse > 0) & (total < 0.5), 1.0, total)  # noqa: PLR2004 - filled in, against the network
    return torch.from_numpy(np.stack([total * (side == label) for label in (RIGHT, LEFT)], axis=1).astype(np.float32))


def _one_side_each(sides: Mask) -> Mask:
    """Within each side keep the pieces that can stand alone; smaller ones that touch the other lung join it."""
    out = sides.copy()
    for side, other in ((RIGHT, LEFT), (LEFT, RIGHT)):
        labels, count = pieces(sides == side)
        sizes = sizes_of(labels, count)
        beside = np.isin(np.arange(1, count + 1), labels[ndimage.binary_dilation(sides == other)])
        out[pick(labels, beside & (sizes < _PATCH_SHARE * sizes.max(initial=0)))] = other
    return out


def _filled(sides: Mask) -> Mask:
    """Fill what lung encloses on all sides: disease so dense that the network left it out. Domes of the diaphragm are open below."""
    out = sides.copy()
    for side in (RIGHT, LEFT):
        out[ndimage.binary_fill_holes(sides == side) & (sides == 0)] = side
    return out


def _closed(sides: Mask, chest: Chest, spacing_mm: Spacing) -> Mask:
    """Close each lung over vessels and disease; where both would claim a voxel, the right one keeps it."""
    out = np.zeros(sides.shape, np.uint8)
    for side in (LEFT, RIGHT):
        closed = close_over(sides == side, chest.hull, spacing_mm, radius_mm=CLOSING_MM)
        out[closed & ~chest.airway & ((sides == 0) | (sides == side))] = side
    return out
