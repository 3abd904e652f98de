"""How much of the lungs is ground glass or consolidation: counting voxels, nothing else.

Denominator: every voxel of both lungs. Thirds are equal heights of the lungs present. Pure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RIGHT, LEFT = 1, 2
GROUND_GLASS, CONSOLIDATION = 1, 2
LUNGS = {"right": RIGHT, "left": LEFT}
THIRDS = ("lower", "middle", "upper")
"""From the feet up, as z grows."""


@dataclass(frozen=True, slots=True)
class Share:
    """Fractions (0 to 1) of a piece of lung and its volume. A piece without voxels has volume and fractions 0."""

    lung_volume_ml: float
    ggo_fraction: float
    consolidation_fraction: float
    opacity_fraction: float


@dataclass(frozen=True, slots=True)
class Quantification:
    """The whole and its parts: `per_lung` has right and left, `per_third` upper, middle and lower, `per_zone` the thirds of each lung."""

    whole: Share
    per_lung: dict[str, Share]
    per_third: dict[str, Share]
    per_zone: dict[str, dict[str, Share]]


def third_of_slices(lungs: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return for each slice its third: 0 lower, 1 middle, 2 upper; -1 above and below the lungs.

    Args:
        lungs: 1 right, 2 left, (Z, Y, X), z towards the head.

    Returns:
        Shape (Z,). A slice belongs to the third that holds its centre.
    """
    present = np.flatnonzero(lungs.any(axis=(1, 2)))
    thirds = np.full(len(lungs), -1, dtype=np.int64)
    if present.size:
        first, count = int(present[0]), int(present[-1] - present[0]) + 1
        thirds[first : first + count] = (2 * np.arange(count) + 1) * 3 // (2 * count)
    return thirds


def count_zones(lungs: NDArray[np.uint8], opacity: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count voxels by third, lung and kind.

    Args:
        lungs: 1 right, 2 left, (Z, Y, X).
        opacity: 0 neither, 1 ground glass, 2 consolidation, same grid; outside the lungs it is ignored.

    Returns:
        Shape (3 thirds, 2 lungs, 3 kinds); thirds from the feet up, right before left.

    Raises:
        ValueError: If the grids differ or a label is unknown.
    """
    if lungs.shape != opacity.shape:
        raise ValueError("lungs and opacity lie on different grids")
    if lungs.max(initial=0) > LEFT or opacity.max(initial=0) > CONSOLIDATION:
        raise ValueError("labels above 2 are unknown")
    counts = np.zeros((3, 2, 3), dtype=np.int64)
    for slice_lungs, slice_opacity, third in zip(lungs, opacity, third_of_slices(lungs), strict=True):
        if third >= 0:
            joint = slice_lungs * np.uint8(3) + slice_opacity
            found = [
                np.count_nonzero(joint == one) for one in range(3, 9)
            ]  # bytes all the way: a tenth of bincount's time
            counts[third] += np.reshape(found, (2, 3))
    return counts


def quantify(
    lungs: NDArray[np.uint8], opacity: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> Quantification:
    """Return the shares of the whole, of each lung and of each third.

    Args:
        lungs: 1 right, 2 left, (Z, Y, X).
        opacity: 1 ground glass, 2 consolidation, same grid; outside the lungs it is ignored.
        spacing_mm: Along (z, y, x).

    Raises:
        ValueError: If the grids differ or a label is unknown.
    """
    return shares_of(count_zones(lungs, opacity), spacing_mm)


def shares_of(counts: NDArray[np.int64], spacing_mm: tuple[float, float, float]) -> Quantification:
    """Turn counted voxels into shares: `quantify` for those who hold the counts already.

    Args:
        counts: As `count_zones` returns them.
        spacing_mm: Along (z, y, x).
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    by_lung, by_third = counts.sum(axis=0), counts.sum(axis=1)
    return Quantification(
        whole=_share(counts.sum(axis=(0, 1)), voxel_ml),
        per_lung={name: _share(by_lung[label - 1], voxel_ml) for name, label in LUNGS.items()},
        per_third={name: _share(by_third[index], voxel_ml) for index, name in enumerate(THIRDS)},
        per_zone={
            lung: {name: _share(counts[index, label - 1], voxel_ml) for index, name in enumerate(THIRDS)}
            for lung, label in LUNGS.items()
        },
    )


def _share(counts: NDArray[np.int64], voxel_ml: float) -> Share:
    """Turn counts of (neither, ground glass, consolidation) into a share."""
    total = int(counts.sum())
    ggo, dense = (float(n) / total if total else 0.0 for n in counts[1:])
    return Share(total * voxel_ml, ggo, dense, ggo + dense)
