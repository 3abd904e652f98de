"""What the voxels themselves say about how far a number can be trusted. Flags from a DICOM header are the node's to add."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.morphology import SQUARE, Region
from models.quantify import Quantification
from models.volume import Mask, Volume
from protocol.case import QualityFlag

_THICK_MM = 6.0
_SMALL_ML = 2000.0
_ASYMMETRY = 3.0
_LOW_DOSE_HU = 45.0
_DENSE_HU = -750
"""Breathed in, half of a lung's voxels are darker: the medians of eight scans at hand are -803 to -918 HU, that of one in free breathing is -718."""
_CUT_CM2 = 6.0
_EDGE_MM = 2.0
_CUT_SHARE = 0.03
_PADDING_HU = -1500
_LOOKS = 40


def voxel_flags(volume: Volume, lungs: Mask, numbers: Quantification) -> tuple[QualityFlag, ...]:
    """Return what is to be known of this scan, in the order of `QualityFlag`.

    Args:
        volume: The scan.
        lungs: 1 right, 2 left, same grid.
        numbers: Measured within these lungs.
    """
    short = len(volume.hu) == 1
    complete = not short and not _cut_in_z(volume, lungs)
    right, left = (numbers.per_lung[side].lung_volume_ml for side in ("right", "left"))
    raised = {
        QualityFlag.TRUNCATED_FIELD_OF_VIEW: _cut_in_plane(volume, lungs),
        QualityFlag.INCOMPLETE_COVERAGE: not complete,
        QualityFlag.SINGLE_SLICE: short,
        QualityFlag.THICK_SLICES: volume.spacing_mm[0] > _THICK_MM,
        QualityFlag.LOW_DOSE: noise_hu(volume, lungs) > _LOW_DOSE_HU,
        QualityFlag.SMALL_LUNGS: complete and right + left < _SMALL_ML,
        QualityFlag.DENSE_LUNGS: median_hu(volume, lungs) > _DENSE_HU,
        QualityFlag.LARGE_LUNG_ASYMMETRY: max(right, left) > _ASYMMETRY * max(1e-9, min(right, left)),
    }
    return tuple(flag for flag in QualityFlag if raised.get(flag, False))


def median_hu(volume: Volume, lungs: Mask) -> float:
    """Return the median of the lungs' voxels, from at most some 40 slices.

    Lungs that are dense all over were breathed out, or are ill all over: haze can then be counted that is none, or overlooked, and no
    measurement of this scan alone can tell which.
    """
    step = max(1, len(lungs) // _LOOKS)
    inside = volume.hu[::step][lungs[::step] > 0]
    return float(np.median(inside)) if inside.size else float(_DENSE_HU)


def noise_hu(volume: Volume, lungs: Mask) -> float:
    """Return the standard deviation of noise in soft tissue, from differences of neighbouring pixels near the lungs.

    The median of absolute differences leaves edges out; grain longer than a pixel makes this an underestimate.
    """
    z = int(np.argmax([np.count_nonzero(plane) for plane in lungs]))
    plane = volume.hu[z].astype(np.float32)
    step = plane[:, 2:] - plane[:, :-2]
    tissue = (np.abs(plane[:, 2:] - 40) < 150) & (np.abs(plane[:, :-2] - 40) < 150)  # noqa: PLR2004 - soft tissue
    if np.count_nonzero(tissue) < 100:  # noqa: PLR2004 - too little to judge
        return 0.0
    return float(1.4826 * np.median(np.abs(step[tissue])) / np.sqrt(2.0))


def _cut_in_z(volume: Volume, lungs: Mask) -> bool:
    """Does the first or the last slice still show more lung than the tip of an apex or the last of a recess?"""
    pixel_cm2 = volume.spacing_mm[1] * volume.spacing_mm[2] / 100.0
    ends = [float(np.count_nonzero(lungs[index])) * pixel_cm2 for index in (0, -1)]
    return max(ends) > _CUT_CM2


def _cut_in_plane(volume: Volume, lungs: Mask) -> bool:
    """Does lung reach the picture's edge, or the edge of a round field of view, along a fair part of its outline?"""
    rows, columns = (max(1, round(_EDGE_MM / mm)) for mm in volume.spacing_mm[1:])
    step = max(1, len(lungs) // _LOOKS)
    inside, unseen = lungs[::step] > 0, _padding(volume.hu[::step])
    unseen[:, :rows], unseen[:, -rows:], unseen[:, :, :columns], unseen[:, :, -columns:] = True, True, True, True
    outline = inside & ~_shrunk(inside)
    near = unseen | ~_shrunk(~unseen)
    cut, length = int(np.count_nonzero(outline & near)), int(np.count_nonzero(outline))
    return cut > _CUT_SHARE * max(1, length)


def _padding(hu: NDArray[np.int16]) -> Region:
    """Return where the scanner saw nothing: patches of a value that no tissue has."""
    lowest = int(hu.min())
    if lowest > _PADDING_HU:
        return np.zeros(hu.shape, np.bool_)
    return ndimage.binary_opening(hu == lowest, structure=SQUARE)


def _shrunk(region: Region) -> Region:
    """Return what keeps its four neighbours within the slice; beyond the picture's edge lies nothing."""
    padded = np.pad(region, ((0, 0), (1, 1), (1, 1)))
    inner: Region = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:] & region
    return inner
