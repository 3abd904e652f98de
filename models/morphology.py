"""Shapes for morphology on stacks of slices, and picking labelled pieces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Region = NDArray[np.bool_]
"""True inside, (Z, Y, X) or a piece of it."""

IN_PLANE: Region = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]
"""Neighbours above, below, left and right within a slice."""

SQUARE: Region = np.ones((1, 3, 3), np.bool_)
"""The eight neighbours within a slice."""

WITHIN_A_SLICE: Region = np.pad(SQUARE, ((1, 1), (0, 0), (0, 0)))
"""The same, as `pieces` wants it: what touches across slices only is apart."""


def disc(radius: int) -> Region:
    """Return a disc of `radius` pixels within a slice, (1, 2r + 1, 2r + 1)."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    inside: Region = (x * x + y * y <= radius * radius + 0.5)[None]
    return inside


def pick(labels: NDArray[np.int_], wanted: Sequence[bool] | Region) -> Region:
    """Return the pieces whose entry in `wanted` is true; entry 0 belongs to label 1, and label 0 is never picked."""
    table = np.concatenate([[False], np.asarray(wanted, dtype=np.bool_)])
    picked: Region = table[labels]
    return picked


def pieces(region: Region, structure: Region | None = None) -> tuple[NDArray[np.int_], int]:
    """Label the connected pieces of a region from 1 on and return the labels and how many there are."""
    labels, count = ndimage.label(region, structure=structure)
    return np.asarray(labels), int(count)


def sizes_of(labels: NDArray[np.int_], count: int) -> NDArray[np.int64]:
    """Return the voxels of each piece, (count,), piece 1 first."""
    return np.bincount(labels.ravel(), minlength=count + 1)[1:]
