"""NIfTI volumes and masks, in and out. NIfTI's world is right-anterior-superior; DICOM's and the models' is left-posterior-superior."""

import gzip
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.infer.orientation import Affine
from client.infer.pixels import to_hu
from client.infer.slices import MOST_VOXELS
from client.store.files import write_durably
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError

if TYPE_CHECKING:  # a measurement of DICOM never needs it, and it takes a third of a second to import
    from nibabel.nifti1 import Nifti1Image

RAS_TO_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])

_CLAIM_FLOOR, _CLAIM_RATIO = 640 << 20, 20
"""Bytes of voxels that may come out of a file in any case (a mask packs a thousandfold), and so many times its size."""

_UNIT_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_GZIP_LEVEL = 1
_NOTHING = -4096.0


def read_volume(path: Path) -> tuple[NDArray[np.int16], Affine]:
    """Return the values as HU in the file's own axis order, and the affine from index to LPS in mm.

    Raises:
        InvalidInputError: `unreadable`, `not-hu`, `mixed-geometry` (a time series).
    """
    with _coded():
        image = _opened(path)
        values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
        if values.dtype.kind not in "iuf":
            raise InvalidInputError(Code.NOT_HU, "The voxels are colours or complex numbers, not Hounsfield units.")
        return _as_hu(values), _lps(image)


def read_mask(path: Path, *, most: int) -> tuple[NDArray[np.uint8], Affine]:
    """Return the labels of a mask in the file's own axis order, and the affine from index to LPS in mm.

    Args:
        path: A NIfTI file.
        most: The greatest label allowed.

    Raises:
        InvalidInputError: `unreadable`, or `bad-request` if a voxel is not a whole label from 0 to `most`.
    """
    with _coded():
        image = _opened(path)
        values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
        if not np.isin(values, np.arange(most + 1)).all():
            raise InvalidInputError(Code.BAD_REQUEST, f"The mask holds values other than the labels 0 to {most}.")
        return values.astype(np.uint8), _lps(image)


def read_shape(path: Path) -> tuple[tuple[int, int, int], Affine]:
    """Return shape and affine (index to LPS in mm) of a file without reading its voxels.

    Raises:
        InvalidInputError: `unreadable`, `mixed-geometry`.
    """
    with _coded():
        image = _opened(path)
        x, y, z = image.shape[:3]
        return (int(x), int(y), int(z)), _lps(image)


def write_nifti(path: Path, values: NDArray[Any], affine_lps: Affine, *, durable: bool = False) -> None:
    """Write an array in its own axis order, with the affine from index to LPS.

    Args:
        path: Ends in .nii.gz.
        values: int16 or uint8.
        affine_lps: (4, 4).
        durable: Force it to the disk.

    Raises:
        UnavailableError: `disk-full`.
    """
    packed = pack(nifti_bytes(values, affine_lps))
    if durable:
        write_durably(path, packed)
    else:
        path.write_bytes(packed)


def nifti_bytes(values: NDArray[Any], affine_lps: Affine) -> bytes:
    """Return an int16 or uint8 array in its own axis order as a NIfTI file, with the affine (4, 4) from index to LPS; not packed yet."""
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(values, RAS_TO_LPS @ affine_lps)  # type: ignore[no-untyped-call] # nibabel
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call] # nibabel
    image.header["descrip"] = b""
    return image.to_bytes()


def pack(content: bytes) -> bytes:
    """Return a NIfTI file as .nii.gz: the same bytes for the same content."""
    return gzip.compress(content, compresslevel=_GZIP_LEVEL, mtime=0)


def zyx_to_nifti(values: NDArray[Any], affine: Affine) -> tuple[NDArray[Any], Affine]:
    """Return an array and its affine with the three axes in reverse order: NIfTI stores the fastest axis first."""
    turned = affine.copy()
    turned[:, :3] = affine[:, 2::-1]
    return np.asfortranarray(values.transpose(2, 1, 0)), turned


def _as_hu(values: NDArray[Any]) -> NDArray[np.int16]:
    """Convert plane by plane: a volume of floats would take the memory four times."""
    out = np.empty(values.shape, np.int16)
    for index in range(values.shape[2]):
        plane = np.nan_to_num(values[..., index].astype(np.float32), nan=_NOTHING, posinf=_NOTHING, neginf=_NOTHING)
        whole = np.rint(np.clip(plane, _NOTHING, 32_767)).astype(np.int32)
        out[..., index] = to_hu(whole, slope=1.0, intercept=0.0, padding=None)
    return out


@contextmanager
def _coded() -> Iterator[None]:
    """Turn whatever nibabel raises on damaged files into `unreadable`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except FederationError:
            raise
        except Exception as error:  # the rim towards nibabel
            raise InvalidInputError(
                Code.UNREADABLE, "The NIfTI file is damaged or truncated. Convert the series again."
            ) from error


def _opened(path: Path) -> "Nifti1Image":
    """Open a file and check its claims before any voxel is read.

    Raises:
        InvalidInputError: `unreadable`, `mixed-geometry`.
    """
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image.from_filename(os.fspath(path))
    shape = image.shape
    if len(shape) < 3 or min(shape) < 1 or int(np.prod(shape[:3], dtype=np.float64)) > MOST_VOXELS:  # noqa: PLR2004
        raise InvalidInputError(Code.UNREADABLE, "The header claims no volume, or one larger than any CT.")
    claimed = int(np.prod(shape, dtype=np.float64)) * image.get_data_dtype().itemsize  # type: ignore[no-untyped-call] # nibabel
    if claimed > _CLAIM_FLOOR + _CLAIM_RATIO * path.stat().st_size:
        raise InvalidInputError(Code.UNREADABLE, "The header claims far more voxels than the file can hold.")
    if any(n != 1 for n in shape[3:]):
        raise InvalidInputError(Code.MIXED_GEOMETRY, "The file holds a series of volumes. Name one volume.")
    return image


def _lps(image: "Nifti1Image") -> Affine:
    """Return the affine in LPS and mm.

    Raises:
        InvalidInputError: `unreadable` if it maps the volume onto nothing.
    """
    unit, _ = image.header.get_xyzt_units()  # type: ignore[no-untyped-call] # nibabel
    scale = _UNIT_MM.get(str(unit), 1.0)
    affine: Affine = RAS_TO_LPS @ np.diag([scale, scale, scale, 1.0]) @ np.asarray(image.affine, np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or spacing.min() < 0.01 or spacing.max() > 100:  # noqa: PLR2004 - mm
        raise InvalidInputError(Code.UNREADABLE, "The spacing or orientation in the NIfTI header is damaged.")
    return affine
