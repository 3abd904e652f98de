"""A CT volume in Hounsfield units on a regular grid, in the one orientation that this package knows.

Axes are (Z, Y, X): +z towards the head, +y towards the back, +x towards the patient's left ("LPS"). Whoever reads a file
brings it into this orientation; nothing in this package looks at a header.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
"""A label per voxel, (Z, Y, X)."""

Spacing = tuple[float, float, float]
"""Millimetres between voxel centres along (z, y, x)."""

_AXES = 3


@dataclass(frozen=True, slots=True)
class Volume:
    """Hounsfield units, int16, shape (Z, Y, X), and the distance between voxel centres along (z, y, x) in mm.

    Raises:
        ValueError: If the array is not three-dimensional, is empty, is not int16, or a spacing is not positive.
    """

    hu: NDArray[np.int16]
    spacing_mm: Spacing

    def __post_init__(self) -> None:
        if self.hu.ndim != _AXES or self.hu.size == 0 or self.hu.dtype != np.int16:
            raise ValueError("a volume is a non-empty int16 array (Z, Y, X)")
        if len(self.spacing_mm) != _AXES or not all(0 < mm < float("inf") for mm in self.spacing_mm):
            raise ValueError("a spacing is three positive millimetres (z, y, x)")

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        z, y, x = self.spacing_mm
        return z * y * x / 1000.0

    @property
    def extent_mm(self) -> Spacing:
        """Edge lengths of the imaged box along (z, y, x)."""
        shape = self.hu.shape
        z, y, x = (n * mm for n, mm in zip(shape, self.spacing_mm, strict=True))
        return z, y, x
