"""One scan, read: a volume in the models' orientation, and the way back to the grid that it came on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.infer.flags import THICK_MM, header_flags, merged
from client.infer.nifti import read_volume, write_nifti, zyx_to_nifti
from client.infer.orientation import (
    Affine,
    Orientation,
    canonical_affine,
    from_canonical,
    orientation_of,
    shear_degrees,
    spacing_of,
    to_canonical,
)
from client.infer.pixels import fill
from client.infer.series import Choice, choose, described
from client.infer.source import Kind, dicom_files, kind_of
from client.infer.stack import Stack
from client.store.part10 import Content
from models.volume import Volume
from protocol.case import QualityFlag
from protocol.codes import Code
from protocol.errors import InvalidInputError

_MOST_SHEAR_DEGREES = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """`volume` is what is measured; `affine` maps its index (z, y, x) to LPS in mm. `own_affine` is that of the input's array."""

    volume: Volume
    affine: Affine
    orientation: Orientation
    own_affine: Affine
    flags: tuple[QualityFlag, ...]
    choice: Choice | None = None
    series: dict[str, Any] = field(default_factory=dict)
    """What a person may want to know of the series that was taken; no identifier."""

    @property
    def stack(self) -> Stack | None:
        """The DICOM slices behind the volume."""
        return self.choice.stack if self.choice is not None else None

    def on_own_grid(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a mask of the volume in the axis order of the input: (slot, row, column) for DICOM, the file's own for NIfTI."""
        return from_canonical(mask, self.orientation)

    def write_on_own_grid(self, path: Path, mask: NDArray[np.uint8]) -> None:
        """Write a mask as NIfTI on the grid of the input.

        Raises:
            OSError: If it cannot be written.
        """
        values, affine = self.on_own_grid(mask), self.own_affine
        if self.choice is not None:
            values, affine = zyx_to_nifti(values, affine)
        write_nifti(path, values, affine)


def read_scan(path: Path, *, allow_gaps: bool = False) -> Scan:
    """Read whatever a person names.

    Args:
        path: A DICOM file, folder or zip, or a NIfTI volume.
        allow_gaps: Bridge missing slices and flag it, instead of refusing.

    Raises:
        InvalidInputError: With the codes of `docs/reference/quantify.md`.
    """
    kind = kind_of(path)
    if kind is Kind.NIFTI:
        return _nifti_scan(path)
    if kind is Kind.PICTURE:
        raise InvalidInputError(
            Code.NOT_CT, "A picture holds no Hounsfield units. Send the CT series as DICOM or NIfTI."
        )
    if kind is Kind.UNKNOWN:
        raise InvalidInputError(
            Code.UNREADABLE, f"{path.name} is of no known format. Name a DICOM file, folder or zip, or a NIfTI volume."
        )
    return dicom_scan(dicom_files(path), allow_gaps=allow_gaps)


def dicom_scan(contents: Iterable[Content], *, allow_gaps: bool = False) -> Scan:
    """Read the best series among DICOM files.

    Raises:
        InvalidInputError: With the codes of `docs/reference/quantify.md`.
    """
    choice = choose(contents, allow_gaps=allow_gaps)
    stack = choice.stack
    values = fill(stack)
    step_mm = float(spacing_of(stack.affine)[0])
    flags = merged(stack.flags, header_flags(stack.slices[0], spacing_mm=step_mm))
    series = {
        **described(stack), "chosen_because": choice.why, "passed_over": choice.passed_over, "rivals": list(choice.rivals),
    }  # fmt: skip
    return _scan(values, stack.affine, flags, choice=choice, series=series)


def _nifti_scan(path: Path) -> Scan:
    values, affine = read_volume(path)
    if shear_degrees(affine) > _MOST_SHEAR_DEGREES:
        raise InvalidInputError(Code.GANTRY_TILT, "The axes of the volume are not at right angles. Resample it first.")
    thick = float(spacing_of(affine)[orientation_of(affine).axes[0]]) > THICK_MM
    flags = (*((QualityFlag.THICK_SLICES,) if thick else ()), QualityFlag.UNKNOWN_ACQUISITION)
    return _scan(values, affine, flags)


def _scan(
    values: NDArray[np.int16],
    affine: Affine,
    flags: tuple[QualityFlag, ...],
    *,
    choice: Choice | None = None,
    series: dict[str, Any] | None = None,
) -> Scan:
    orientation = orientation_of(affine)
    volume_affine = canonical_affine(affine, values.shape, orientation)
    z_mm, y_mm, x_mm = (float(mm) for mm in spacing_of(volume_affine))
    return Scan(
        volume=Volume(to_canonical(values, orientation), (z_mm, y_mm, x_mm)), affine=volume_affine, orientation=orientation,
        own_affine=affine, flags=merged(flags), choice=choice, series=series or {},
    )  # fmt: skip
