"""What the network reads: slabs of lung in prepared HU, three neighbours at a time. One preparation for training and inference."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.grid import Grid, box_around, grid_over, labels_to_slabs, pad_to, to_slabs
from models.lungs import find_lungs
from models.net import CLASSES, STRIDE
from models.prepare import prepare, with_neighbours
from models.volume import Mask, Volume

PIXEL_MM = 1.5
"""Pixel of the working grid."""

MARGIN_MM = 12.0
"""Chest wall kept around the lungs, so that the net sees what disease at the pleura touches."""


@dataclass(frozen=True, slots=True)
class PatientSlices:
    """All slices of one patient that show lung.

    `inputs` is float32 (S, 3, Y, X), `target` int64 (S, Y, X), `valid` bool (S, Y, X): True inside the lungs. Y and X are
    multiples of 16 and differ between patients.
    """

    inputs: Tensor
    target: Tensor
    valid: Tensor


def patient_slices(volume: Volume, label: Mask) -> PatientSlices:
    """Prepare one patient for training: the same steps as inference, no randomness.

    Args:
        volume: The scan.
        label: 1 ground glass, 2 consolidation, on the scan's grid. Lung that the label marks counts as lung even where the lung
            mask missed it.

    Raises:
        InvalidInputError: `not-hu` or `no-lung`.
        ValueError: If the grids differ.
    """
    if label.shape != volume.hu.shape:
        raise ValueError("the label lies on another grid than the scan")
    return slices_within(volume, find_lungs(volume), label)


def slices_within(volume: Volume, lungs: Mask, label: Mask) -> PatientSlices:
    """Prepare slices for lungs that are known already: as `patient_slices`, without looking for them.

    Args:
        volume: The scan.
        lungs: Not zero inside.
        label: 1 ground glass, 2 consolidation, on the same grid.
    """
    inside = (lungs > 0) | (label > 0)
    grid = lung_grid(inside, volume)
    target = labels_to_slabs(label, grid, classes=CLASSES)
    valid = labels_to_slabs(inside.astype(np.uint8), grid, classes=2) > 0
    return PatientSlices(
        inputs=with_neighbours(prepare(to_slabs(volume, grid))),
        target=pad_to(target, STRIDE),
        valid=pad_to(valid, STRIDE),
    )


def lung_grid(inside: NDArray[np.bool_], volume: Volume) -> Grid:
    """Return the working grid around the lungs."""
    box = box_around(inside, volume.spacing_mm, margin_mm=MARGIN_MM)
    return grid_over(box, volume.spacing_mm, pixel_mm=PIXEL_MM)
