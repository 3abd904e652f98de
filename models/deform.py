"""One body made into many: each half of the diaphragm raised or lowered on its own. There are few free scans, and lungs come in many shapes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from models.quantify import LEFT, RIGHT
from models.volume import Mask, Volume

_BLEND_MM = 25.0
"""Half the width over which the right half of the diaphragm passes into the left."""


def move_diaphragm(volume: Volume, lungs: Mask, *, right_mm: float, left_mm: float) -> tuple[Volume, Mask]:
    """Return the scan with the base of each lung moved up (positive) or down; the apices stay where they are.

    Lung above the base is compressed or stretched evenly, what lies below moves along.

    Args:
        volume: The scan.
        lungs: 1 right, 2 left.
        right_mm: How far the right base moves towards the head.
        left_mm: The same of the left base.
    """
    z_mm, _, x_mm = volume.spacing_mm
    _, rows, columns = lungs.shape
    sources = [_source_of(lungs == side, move / z_mm) for side, move in ((RIGHT, right_mm), (LEFT, left_mm))]
    middle = _middle(lungs)
    leftness = np.clip(0.5 + (np.arange(columns) - middle) * x_mm / (2 * _BLEND_MM), 0, 1)
    source = np.outer(sources[0], 1 - leftness) + np.outer(
        sources[1], leftness
    )  # (Z, X): where each output voxel comes from
    hu = _sample(volume.hu.astype(np.float32), source, rows, "bilinear")
    labels = _sample(lungs.astype(np.float32), source, rows, "nearest")
    return Volume(np.rint(hu).astype(np.int16), volume.spacing_mm), labels.astype(np.uint8)


def _source_of(lung: NDArray[np.bool_], move: float) -> NDArray[np.float64]:
    """Return for each output slice the slice that it comes from, when the base of `lung` moves up by `move` slices."""
    count = len(lung)
    present = np.flatnonzero(lung.any(axis=(1, 2)))
    if present.size < 4:  # noqa: PLR2004 - too little of it to have a base and an apex
        return np.arange(count, dtype=np.float64)
    base, apex = float(present[0] + 0.25 * present.size), float(present[-1])
    move = float(np.clip(move, -0.6 * (apex - base), 0.6 * (apex - base)))
    return np.interp(
        np.arange(count),
        [base + move - count, base + move, apex, apex + count],
        [base - count, base, apex, apex + count],
    )


def _middle(lungs: Mask) -> float:
    """Return the column halfway between the lungs' centres, or that of the one lung there is."""
    columns = [np.flatnonzero((lungs == side).any(axis=(0, 1))) for side in (RIGHT, LEFT)]
    return float(np.mean([found.mean() for found in columns if found.size] or [lungs.shape[2] / 2]))


def _sample(values: NDArray[np.float32], source: NDArray[np.float64], rows: int, mode: str) -> NDArray[np.float32]:
    """Sample (Z, Y, X) at slice `source[z, x]`; beyond the ends the last slice repeats."""
    depth, columns = source.shape
    across = np.broadcast_to(np.linspace(-1, 1, columns), source.shape)
    along = 2.0 * source / max(1, len(values) - 1) - 1.0
    grid = torch.from_numpy(np.stack([across, along], axis=-1).astype(np.float32))  # (Z, X, 2)
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(1, 0, 2)))[None]  # (1, Y, Z, X)
    moved = F.grid_sample(planes, grid[None], mode=mode, padding_mode="border", align_corners=True)
    return np.ascontiguousarray(moved[0].numpy().transpose(1, 0, 2)).reshape(depth, rows, columns)
