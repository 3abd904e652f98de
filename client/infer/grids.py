"""When do two volumes lie on one grid? Labels belong to a study only if every voxel has its own counterpart. Pure.

Only where a person asked for it is a mask brought to another grid, and then it is said what that cost.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from client.infer.orientation import Affine, canonical_affine, orientation_of, to_canonical
from client.store.records import Loss

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


def resampled(mask: NDArray[np.uint8], affine: Affine, shape: Shape, target: Affine) -> tuple[NDArray[np.uint8], Loss]:
    """Return `mask` on a target grid, each voxel with the label of the nearest voxel of the mask, and what was lost.

    Args:
        mask: Labels in any axis order.
        affine: From its index to LPS in mm.
        shape: Of the target, (Z, Y, X).
        target: Affine of the target.
    """
    there = _nearest(mask, np.linalg.inv(affine) @ target, shape)
    back = _nearest(there, np.linalg.inv(target) @ affine, mask.shape)
    labels = [label for label in np.unique(mask) if label]
    before = np.count_nonzero(mask) * abs(np.linalg.det(affine[:3, :3]))
    after = np.count_nonzero(there) * abs(np.linalg.det(target[:3, :3]))
    loss = Loss(
        dice=min((_dice(mask == label, back == label) for label in labels), default=1.0),
        volume_ratio=float(after / before) if before else 1.0,
        outside_fraction=_outside(mask, np.linalg.inv(target) @ affine, shape),
    )
    return there, loss


def _nearest(mask: NDArray[np.uint8], to_mask: Affine, shape: Shape) -> NDArray[np.uint8]:
    """Return an array of `shape` that reads each of its voxels from the nearest one of `mask`; 0 outside of it.

    Plane by plane: the coordinates of a whole CT would take ten times its memory.
    """
    out = np.zeros(shape, np.uint8)
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])[None, :]
    for plane in range(shape[0]):
        index = []
        inside = np.ones(shape[1:], bool)
        for axis in range(3):
            step = to_mask[axis]
            at = np.floor(step[0] * plane + step[1] * rows + step[2] * columns + step[3] + 0.5).astype(np.int64)
            inside &= (at >= 0) & (at < mask.shape[axis])
            index.append(at)
        z, y, x = (at[inside] for at in index)
        out[plane][inside] = mask[z, y, x]
    return out


def _outside(mask: NDArray[np.uint8], to_target: Affine, shape: Shape) -> float:
    """Return the share of labelled voxels whose centres lie outside a grid of `shape`."""
    labelled = np.argwhere(mask)
    if not len(labelled):
        return 0.0
    there = labelled @ to_target[:3, :3].T + to_target[:3, 3]
    inside = ((there > -0.5) & (there < np.array(shape) - 0.5)).all(axis=1)  # noqa: PLR2004 - half a voxel
    return float(1 - inside.mean())


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum; the first is never empty."""
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


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
