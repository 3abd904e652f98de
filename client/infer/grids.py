"""When do two volumes lie on one grid? Labels belong to a study only if every voxel has its own counterpart. Pure."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from client.infer.orientation import Affine, canonical_affine, orientation_of, to_canonical

_TOLERANCE_VOXELS = 0.02
"""How far a voxel centre may be from its counterpart anywhere in the volume: what rounding in headers explains."""

Shape = tuple[int, ...]


def grid_name(shape: Shape, affine: Affine) -> str:
    """Return a name for a grid that changes whenever a voxel would move: a hash of its shape and affine (to 0.1 µm)."""
    content = f"{tuple(int(n) for n in shape)}{np.round(affine, 4).tolist()}"
    return hashlib.sha256(content.encode()).hexdigest()


def brought_to(
    mask: NDArray[np.uint8], affine: Affine, shape: Shape, target: Affine, *, partial: bool = False
) -> NDArray[np.uint8] | None:
    """Return `mask` in the axis order of a target grid, or `None` if it lies on another grid. Nothing is ever resampled.

    Args:
        mask: Labels in any axis order.
        affine: From its index to LPS in mm.
        shape: Of the target, (Z, Y, X).
        target: Affine of the target.
        partial: Let the mask cover a part of the target; the rest is zero.
    """
    orientation = orientation_of(affine)
    turned = to_canonical(mask, orientation)
    own = canonical_affine(affine, mask.shape, orientation)
    offset = _offset(own, turned.shape, target)
    if offset is None:
        return None
    end = tuple(start + n for start, n in zip(offset, turned.shape, strict=True))
    if turned.shape == tuple(shape) and offset == (0, 0, 0):
        return turned
    if not partial or min(offset) < 0 or any(stop > n for stop, n in zip(end, shape, strict=True)):
        return None
    out = np.zeros(shape, np.uint8)
    out[offset[0] : end[0], offset[1] : end[1], offset[2] : end[2]] = turned
    return out


def _offset(own: Affine, shape: Shape, target: Affine) -> tuple[int, int, int] | None:
    """Return where voxel (0, 0, 0) of `own` lies in `target`; `None` unless all eight corners fall onto voxel centres."""
    to_target = np.linalg.inv(target) @ own
    corners = np.array([[*index, 1.0] for index in np.ndindex(2, 2, 2)])
    corners[:, :3] *= np.array(shape) - 1
    there = corners @ to_target.T
    steps = there[:, :3] - corners[:, :3]
    start = np.rint(steps[0])
    if np.abs(steps - start).max() > _TOLERANCE_VOXELS:
        return None
    z, y, x = (int(n) for n in start)
    return z, y, x
