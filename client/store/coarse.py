"""A smaller copy of a volume, so that a reader far away can begin: every slice, a few voxels of a plane made one. Pure.

A chest CT of 300 slices is 80 MB on the line; its copy is four. What one sees in it is a preview: the full volume follows behind it.
"""

import gzip
import struct

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 352
"""A NIfTI-1 header and the four bytes that say that no extension follows."""

PLANE_MOST, SLICES_MOST = 128, 320
"""Voxels of the copy along a side of a plane, and along the stack."""

_DIM, _PIXDIM, _QOFFSET, _SROW = 40, 76, 268, 280
"""Offsets in the header (nifti1.h)."""

_GZIP_LEVEL = 1

Volume = NDArray[np.int16] | NDArray[np.uint8]


def factors(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return how many voxels become one along slices, rows and columns.

    >>> factors((300, 512, 512))
    (1, 4, 4)
    """
    slices, rows, columns = shape
    plane = max(-(-rows // PLANE_MOST), -(-columns // PLANE_MOST))
    return -(-slices // SLICES_MOST), plane, plane


def coarse_copy(header: bytes, values: Volume) -> bytes:
    """Return the copy of a volume as a gzipped NIfTI-1 file that covers the same space.

    Args:
        header: The first 352 bytes of the volume's own file, which holds geometry only.
        values: (slices, rows, columns). Hounsfield units are averaged; of labels (bytes) the greatest counts: nothing vanishes.
    """
    step = factors(values.shape)
    small = _reduced(values, step)
    return gzip.compress(_header_of(header, small.shape, step) + small.tobytes(), _GZIP_LEVEL, mtime=0)


def _reduced(values: Volume, step: tuple[int, int, int]) -> Volume:
    """Make blocks of `step` one voxel; blocks over the edge repeat the last voxel. Slab by slab: the whole need not be in memory."""
    deep, high, wide = step
    shape = tuple(-(-n // by) for n, by in zip(values.shape, step, strict=True))
    out = np.empty(shape, values.dtype)
    rim = [(0, n * by - old) for n, by, old in zip(shape[1:], step[1:], values.shape[1:], strict=True)]
    for index in range(shape[0]):
        slab = np.pad(values[index * deep : (index + 1) * deep], [(0, 0), *rim], mode="edge")
        blocks = slab.reshape(len(slab), shape[1], high, shape[2], wide)
        if values.dtype == np.uint8:
            out[index] = blocks.max(axis=(0, 2, 4))
        else:
            out[index] = np.rint(blocks.mean(axis=(0, 2, 4), dtype=np.float32))
    return out


def _header_of(header: bytes, shape: tuple[int, ...], step: tuple[int, int, int]) -> bytes:
    """Return the header of the copy: voxel (i, j, k) of it lies in the middle of the block that it stands for."""
    out = bytearray(header[:HEADER_BYTES])
    struct.pack_into("<3h", out, _DIM + 2, *reversed(shape))
    by = np.array(step[::-1], np.float64)  # NIfTI counts columns, rows, slices
    spacing = struct.unpack_from("<3f", header, _PIXDIM + 4)
    struct.pack_into("<3f", out, _PIXDIM + 4, *(float(mm * n) for mm, n in zip(spacing, by, strict=True)))
    affine = np.array(struct.unpack_from("<12f", header, _SROW), np.float64).reshape(3, 4)
    affine[:, 3] += affine[:, :3] @ ((by - 1) / 2)
    affine[:, :3] *= by
    struct.pack_into("<12f", out, _SROW, *affine.ravel())
    struct.pack_into("<3f", out, _QOFFSET, *affine[:, 3])
    return bytes(out)
