"""Grids: from a scan's own voxels to slabs of fixed size, and back. Training and inference share every line of this.

Along z, thin slices are averaged into slabs of at most 3 mm, which also takes noise away; thick slices stay as they are.
In plane, slices are brought to a fixed pixel size with antialiasing. Coordinates stay centred: pixel (i + 0.5) * size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.volume import Mask, Spacing, Volume

SLAB_MM = 3.0
"""No slab is thicker than this unless a single slice is."""

Box = tuple[slice, slice, slice]
"""A piece of a volume along (z, y, x)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A working grid over a box of a volume: `slices_per_slab` slices each, `height` x `width` pixels of `pixel_mm`."""

    box: Box
    slices_per_slab: int
    height: int
    width: int

    @property
    def slabs(self) -> int:
        """How many slabs the box holds; the last may be thinner."""
        slices: int = self.box[0].stop - self.box[0].start
        return -(-slices // self.slices_per_slab)


def grid_over(box: Box, spacing_mm: Spacing, *, pixel_mm: float, slab_mm: float = SLAB_MM) -> Grid:
    """Lay a grid with pixels of `pixel_mm` and slabs up to `slab_mm` over `box` of a volume with `spacing_mm` (z, y, x)."""
    z_mm, y_mm, x_mm = spacing_mm
    slices, rows, columns = (axis.stop - axis.start for axis in box)
    return Grid(
        box=box,
        slices_per_slab=max(1, min(slices, int(slab_mm / z_mm + 1e-3))),
        height=max(1, round(rows * y_mm / pixel_mm)),
        width=max(1, round(columns * x_mm / pixel_mm)),
    )


def coarse_spacing(grid: Grid, spacing_mm: Spacing) -> Spacing:
    """Return the spacing (z, y, x) of the grid's slabs and pixels, from that of the volume under it."""
    z_mm, y_mm, x_mm = spacing_mm
    rows, columns = (axis.stop - axis.start for axis in grid.box[1:])
    return z_mm * grid.slices_per_slab, y_mm * rows / grid.height, x_mm * columns / grid.width


def whole(shape: tuple[int, ...]) -> Box:
    """Return the box that holds everything."""
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def box_around(mask: NDArray[np.bool_], spacing_mm: Spacing, *, margin_mm: float) -> Box:
    """Return the smallest box around True, widened in plane by `margin_mm`, cut at the volume's edges; everything if nothing is True."""
    if not mask.any():
        return whole(mask.shape)
    planes = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    margins = (0, round(margin_mm / spacing_mm[1]), round(margin_mm / spacing_mm[2]))
    z, y, x = (
        slice(max(0, int(found[0]) - margin), min(n, int(found[-1]) + 1 + margin))
        for found, margin, n in zip(planes, margins, mask.shape, strict=True)
    )
    return z, y, x


def to_slabs(volume: Volume, grid: Grid) -> Tensor:
    """Return mean HU per slab and pixel, float32, (slabs, height, width)."""
    out = torch.empty((grid.slabs, grid.height, grid.width))
    for index, start in enumerate(range(grid.box[0].start, grid.box[0].stop, grid.slices_per_slab)):
        stop = min(start + grid.slices_per_slab, grid.box[0].stop)
        part = volume.hu[start:stop, grid.box[1], grid.box[2]]
        mean = part[0].astype(np.float32) if len(part) == 1 else part.mean(axis=0, dtype=np.float32)
        out[index] = _resize(torch.from_numpy(np.maximum(mean, -1024.0))[None], (grid.height, grid.width))[0]
    return out


def labels_to_slabs(labels: Mask, grid: Grid, *, classes: int) -> Tensor:
    """Return the commonest class per slab and pixel, int64, (slabs, height, width); class 0 wins no tie against the others together.

    Args:
        labels: 0 to `classes` - 1, (Z, Y, X) of the whole volume.
        grid: The working grid.
        classes: How many classes there are, 0 included.
    """
    out = torch.empty((grid.slabs, grid.height, grid.width), dtype=torch.int64)
    for index, start in enumerate(range(grid.box[0].start, grid.box[0].stop, grid.slices_per_slab)):
        stop = min(start + grid.slices_per_slab, grid.box[0].stop)
        part = labels[start:stop, grid.box[1], grid.box[2]]
        shares = np.stack([(part == label).mean(axis=0, dtype=np.float32) for label in range(1, classes)])
        shares_here = _resize(torch.from_numpy(shares), (grid.height, grid.width))  # (classes - 1, height, width)
        best = shares_here.argmax(dim=0) + 1
        out[index] = torch.where(shares_here.sum(dim=0) >= 0.5, best, torch.zeros_like(best))  # noqa: PLR2004 - at least half
    return out


def from_slabs(
    values: Tensor, grid: Grid, *, only: Tensor | None = None
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield (slices of the volume, values in the box on them), slab by slab: memory stays small on large scans.

    Args:
        values: (slabs, C, height, width).
        grid: The working grid.
        only: True for the slabs that are wanted, (slabs,); all of them if left out.

    Yields:
        A range of slices and the values that they share, (C, rows, columns).
    """
    size = (grid.box[1].stop - grid.box[1].start, grid.box[2].stop - grid.box[2].start)
    wanted = [True] * len(values) if only is None else only.tolist()
    starts = range(grid.box[0].start, grid.box[0].stop, grid.slices_per_slab)
    for slab, start, wants in zip(values, starts, wanted, strict=True):
        if wants:
            stop = min(start + grid.slices_per_slab, grid.box[0].stop)
            yield slice(start, stop), _resize(slab, size).numpy()


def pad_to(values: Tensor, multiple: int, *, fill: float = 0.0) -> Tensor:
    """Pad the last two axes of `values` at their ends up to a multiple of `multiple`."""
    height, width = values.shape[-2:]
    return F.pad(values, (0, -width % multiple, 0, -height % multiple), value=fill)


def _resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (C, Y, X) by bilinear interpolation, antialiased where it makes coarser."""
    if planes.shape[-2:] == size:
        return planes
    coarser = planes.shape[-2] > size[0] or planes.shape[-1] > size[1]
    return F.interpolate(planes[None], size=size, mode="bilinear", antialias=coarser)[0]
