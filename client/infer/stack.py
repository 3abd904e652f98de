"""From loose slices to one regular stack: sorted along the normal, checked for tilt, gaps and strangers. Pure geometry."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.infer.orientation import Affine
from client.infer.slices import MOST_VOXELS, Slice
from protocol.case import QualityFlag
from protocol.codes import Code
from protocol.errors import InvalidInputError

_SAME_MM = 0.01
_SAME_COSINE, _SAME_PIXEL_MM = 0.01, 0.001
_SAME_GEOMETRY = np.array([_SAME_COSINE] * 6 + [_SAME_PIXEL_MM] * 2)
_TILT_DEGREES = 1.0
_STRAY_MM = 1.0
_GAP = 1.5
_IRREGULAR = 0.1
_MISPLACED = 0.05
"""Of a stack's height: so far from its even place a slice may lie. Within it the share of a part is off by as much at most."""

_OVERLAID = 0.5
"""Of its height: an acquisition of which as much lies beside fuller ones is another look at the same."""

_AXIAL_COSINE = 0.7071
_MOST_SLOTS = 8192


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices from one end to the other. `slots[i]` is where slice i stands in a regular stack of `depth`; without gaps that is i.

    `affine` maps an index (slot, row, column) to patient coordinates in mm.
    """

    slices: tuple[Slice, ...]
    slots: tuple[int, ...]
    depth: int
    affine: Affine
    flags: tuple[QualityFlag, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slots, rows, columns)."""
        return self.depth, self.slices[0].rows, self.slices[0].columns

    @property
    def height_mm(self) -> float:
        """From the lower face of the first slice to the upper face of the last."""
        return float(np.linalg.norm(self.affine[:3, 0])) * self.depth


def assemble(slices: list[Slice], *, allow_gaps: bool = False) -> Stack:
    """Return the stack that `slices` make.

    Args:
        slices: Of one matrix, orientation and pixel spacing, one at each position (`without_repeats`).
        allow_gaps: Leave empty slots where slices are missing, and say so by a flag, instead of refusing.

    Raises:
        InvalidInputError: `not-axial`, `gantry-tilt`, `mixed-geometry`, `missing-slices`, `unreadable` for more voxels than any CT has.
    """
    first = slices[0]
    normal = np.cross(first.across, first.down)
    _require_axial(normal)
    ordered = sorted(slices, key=lambda one: float(np.dot(one.position_mm, normal)))
    positions = np.array([one.position_mm for one in ordered])
    along = (positions - positions[0]) @ normal
    _require_straight(positions - positions[0], along, normal)
    if len(ordered) == 1:
        return Stack((first,), (0,), 1, _affine(first, normal * (first.thickness_mm or 1.0)), ())
    slots, step_mm, flags = _slots(along, allow_gaps=allow_gaps)
    stack = Stack(tuple(ordered), slots, slots[-1] + 1, _affine(ordered[0], normal * step_mm), flags)
    _require_bounds(stack)
    return stack


def groups_of(slices: list[Slice]) -> list[list[Slice]]:
    """Return the slices that could form one stack each: same series, matrix, orientation, pixel spacing; largest first."""
    families: dict[tuple[object, ...], list[Slice]] = {}
    for one in slices:
        families.setdefault((one.study_uid, one.series_uid, one.rows, one.columns), []).append(one)
    return sorted((group for family in families.values() for group in _alike(family)), key=len, reverse=True)


def _alike(family: list[Slice]) -> list[list[Slice]]:
    """Part slices by orientation and pixel spacing, the same but for rounding; rounding them first would part neighbours at its edges.

    Each group is what is like its first slice. All the others are compared with it at once: a hostile series may have as many
    geometries as slices.
    """
    geometry = np.array([(*one.across, *one.down, one.row_mm, one.column_mm) for one in family])
    left, groups = np.arange(len(family)), []
    while left.size:
        same = (np.abs(geometry[left] - geometry[left[0]]) < _SAME_GEOMETRY).all(axis=1)
        groups.append([family[index] for index in left[same]])
        left = left[~same]
    return groups


def without_repeats(slices: list[Slice]) -> tuple[list[Slice], list[list[Slice]]]:
    """Leave out slices that came twice; where acquisitions lie over one another, as phases do, keep the fullest one.

    Acquisitions that stand one above the other are one scan, in pieces (scanners number every turn of a stepped scan): of two that meet
    at a position one slice stays.

    Returns:
        The slices, and the sets that still share a position: only their pixels can tell whether they are copies.
    """
    unique = list({(one.instance_uid, one.frame): one for one in slices}.values())
    if not _crowded(unique):
        return unique, []
    kept = _one_above_the_other(unique)
    return kept, _crowded(kept)


def _one_above_the_other(slices: list[Slice]) -> list[Slice]:
    """Return the acquisitions that do not lie over a fuller one, without what repeats a position of theirs."""
    normal = np.cross(slices[0].across, slices[0].down)
    acquisitions: dict[int, list[tuple[float, Slice]]] = {}
    for one in slices:
        acquisitions.setdefault(one.acquisition, []).append((float(np.dot(one.position_mm, normal)), one))
    held, spans = np.full(len(slices), np.inf), np.full((len(acquisitions), 2), np.inf)
    chosen: set[int] = set()
    for place, number in enumerate(sorted(acquisitions, key=lambda number: (-len(acquisitions[number]), number))):
        low, high = min(at for at, _ in acquisitions[number]), max(at for at, _ in acquisitions[number])
        beside = np.minimum(high, spans[:, 1]) - np.maximum(low, spans[:, 0])
        covered = float(np.maximum(beside, 0.0).sum())
        if float(beside.max()) >= -_SAME_MM and covered >= _OVERLAID * (high - low):
            continue
        fresh = [(at, one) for at, one in acquisitions[number] if not (np.abs(held - at) < _SAME_MM).any()]
        held[len(chosen) : len(chosen) + len(fresh)] = [at for at, _ in fresh]
        chosen |= {id(one) for _, one in fresh}
        spans[place] = low, high
    return [one for one in slices if id(one) in chosen]


def _crowded(slices: list[Slice]) -> list[list[Slice]]:
    """Return the sets of slices that lie at one position."""
    normal = np.cross(slices[0].across, slices[0].down)
    ordered = sorted(slices, key=lambda one: (float(np.dot(one.position_mm, normal)), one.number))
    sets: list[list[Slice]] = [[ordered[0]]]
    for one in ordered[1:]:
        apart = float(np.dot(np.subtract(one.position_mm, sets[-1][0].position_mm), normal))
        if apart < _SAME_MM:
            sets[-1].append(one)
        else:
            sets.append([one])
    return [same for same in sets if len(same) > 1]


def _require_bounds(stack: Stack) -> None:
    """Refuse a stack before one of its slices is decoded: each may be within the bounds of one, and all of them exhaust the memory."""
    if math.prod(stack.shape) > MOST_VOXELS:
        raise InvalidInputError(
            Code.UNREADABLE, "The series has more voxels than any chest CT. Send a reconstruction with fewer."
        )


def _require_axial(normal: NDArray[np.float64]) -> None:
    if abs(float(normal[2])) < _AXIAL_COSINE:
        raise InvalidInputError(
            Code.NOT_AXIAL, "The slices are coronal or sagittal reformats. Send the axial series of the same study."
        )


def _require_straight(offsets: NDArray[np.float64], along: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Slices must lie straight above one another: a steady drift is gantry tilt, a jump is another field of view."""
    if along[-1] < _SAME_MM:
        return
    sideways = offsets - np.outer(along, normal)
    drift = sideways[-1] / along[-1]
    if np.degrees(np.arctan(np.linalg.norm(drift))) > _TILT_DEGREES:
        raise InvalidInputError(
            Code.GANTRY_TILT,
            "The gantry was tilted: the slices do not stack along their normal. Send a series without tilt.",
        )
    if float(np.linalg.norm(sideways - np.outer(along, drift), axis=1).max()) > _STRAY_MM:
        raise InvalidInputError(
            Code.MIXED_GEOMETRY, "The slices have different fields of view. Send the slices of one reconstruction."
        )


def _slots(along: NDArray[np.float64], *, allow_gaps: bool) -> tuple[tuple[int, ...], float, tuple[QualityFlag, ...]]:
    """Give each slice its slot; return the slots, the step in mm and flags.

    Raises:
        InvalidInputError: `missing-slices`; `mixed-geometry` if no even step brings every slice near its place.
    """
    steps = np.diff(along)
    usual = float(np.median(steps))
    if float(steps.max()) <= _GAP * usual:
        even = float(along[-1]) / (len(along) - 1)
        irregular = bool(np.abs(steps - usual).max() > _IRREGULAR * usual)
        _require_even(along, np.arange(len(along)), even)
        return tuple(range(len(along))), even, (QualityFlag.IRREGULAR_SPACING,) if irregular else ()
    if not allow_gaps:
        raise InvalidInputError(
            Code.MISSING_SLICES,
            "The stack of slices has a gap. Send the missing slices, or allow gaps (`--allow-gaps`); the answer then says so.",
        )
    steps_of_slot = np.maximum(1, np.rint(steps / usual)).astype(int)
    slots = (0, *np.cumsum(steps_of_slot).tolist())
    if slots[-1] >= _MOST_SLOTS:
        raise InvalidInputError(Code.MIXED_GEOMETRY, "The slices lie too far apart to be one stack.")
    _require_even(along, np.array(slots), float(along[-1]) / slots[-1])
    return slots, float(along[-1]) / slots[-1], (QualityFlag.GAP_ALLOWED,)


def _require_even(along: NDArray[np.float64], slots: NDArray[np.int64], step_mm: float) -> None:
    """Refuse a stack that is dense in one part and sparse in another: as every slice counts alike, the dense part would count too much."""
    if float(np.abs(along - step_mm * slots).max()) > max(step_mm, _MISPLACED * float(along[-1])):
        raise InvalidInputError(
            Code.MIXED_GEOMETRY,
            "The slices lie dense in one part and far apart in another. Send a series with one distance between slices.",
        )


def _affine(first: Slice, step: NDArray[np.float64]) -> Affine:
    """Return the affine of a stack that begins with `first` (PS3.3 equation C.7.6.2.1-1, columns in the order slot, row, column)."""
    out = np.eye(4)
    out[:3, 0] = step
    out[:3, 1] = np.asarray(first.down) * first.row_mm  # (0028,0030) names the distance between rows first
    out[:3, 2] = np.asarray(first.across) * first.column_mm
    out[:3, 3] = first.position_mm
    return out
