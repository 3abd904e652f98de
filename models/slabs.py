"""What the network reads: slabs of lung in prepared HU, three neighbours at a time. One preparation for training and inference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.grid import Grid, box_around, grid_over, labels_to_slabs, pad_to, to_slabs
from models.net import CLASSES, STRIDE
from models.prepare import prepare
from models.volume import Mask, Volume

PIXEL_MM = 1.5
"""Pixel of the working grid."""

MARGIN_MM = 12.0
"""Chest wall kept around the lungs, so that the net sees what disease at the pleura touches."""


@dataclass(frozen=True, slots=True)
class PatientSlices:
    """Slices of one patient.

    `inputs` is float32 (S, 3, Y, X), `target` int64 (S, Y, X), `valid` bool (S, Y, X): True inside the lungs. Y and X are
    multiples of 16 and differ between patients.
    """

    inputs: Tensor
    target: Tensor
    valid: Tensor


@dataclass(frozen=True, slots=True)
class PreparedSlabs:
    """One study, prepared once and drawn from often: `slabs` is floating point (S, Y, X), `target` and `valid` as in `PatientSlices`."""

    slabs: Tensor
    target: Tensor
    valid: Tensor

    def __len__(self) -> int:
        return len(self.slabs)

    def take(self, index: Sequence[int]) -> PatientSlices:
        """Return the slabs at these places, each between its neighbours; at the ends a slab is its own neighbour."""
        at = torch.as_tensor(index, dtype=torch.long)
        around = torch.stack([at - 1, at, at + 1], dim=1).clamp(0, len(self) - 1)  # (n, 3)
        return PatientSlices(self.slabs[around].float(), self.target[at].long(), self.valid[at])


def prepare_slabs(volume: Volume, lungs: Mask, label: Mask) -> PreparedSlabs:
    """Prepare a scan for training: the same steps as inference, no randomness.

    Args:
        volume: The scan.
        lungs: Not zero inside.
        label: 1 ground glass, 2 consolidation, on the same grid. Lung that the label marks counts as lung even where the lung
            mask missed it.

    Raises:
        ValueError: If the grids differ, or there is neither lung nor label.
    """
    if not lungs.shape == label.shape == volume.hu.shape:
        raise ValueError("scan, lungs and label lie on different grids")
    inside = (lungs > 0) | (label > 0)
    grid = lung_grid(inside, volume)
    target = labels_to_slabs(label, grid, classes=CLASSES)
    valid = labels_to_slabs(inside.astype(np.uint8), grid, classes=2) > 0
    return PreparedSlabs(prepare(to_slabs(volume, grid)), pad_to(target, STRIDE), pad_to(valid, STRIDE))


def lung_grid(inside: NDArray[np.bool_], volume: Volume) -> Grid:
    """Return the working grid around the lungs."""
    box = box_around(inside, volume.spacing_mm, margin_mm=MARGIN_MM)
    return grid_over(box, volume.spacing_mm, pixel_mm=PIXEL_MM)
