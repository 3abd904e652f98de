"""Freely licensed chest CT without opacity, as anatomy to put disease into. A manifest says what each file is and under which licence.

`manifest.json` in a folder of NIfTI files:

    {"volumes": [{"file": "x.nii.gz", "sha256": "…", "licence": "CC BY 4.0", "source": "…", "lungs": "x_lungs.nii.gz", "lungs_sha256": "…"}]}

`lungs` (1 or any label inside) may be left out with its hash; then the lungs are found by threshold.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import ndimage

from models.grid import box_around, coarse_spacing, grid_over, labels_to_slabs, to_slabs, whole
from models.lungs import threshold_lungs
from models.volume import Mask, Spacing, Volume
from protocol.codes import Code
from protocol.errors import InvalidInputError

FREE_LICENCES = ("CC0", "CC BY", "Apache-2.0", "BSD", "MIT")
"""Licences start with one of these; share-alike, non-commercial and no-derivatives ones are refused by name."""

_RESTRICTED = ("NC", "ND", "SA")


class Entry(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    licence: str
    source: str
    lungs: str | None = None
    lungs_sha256: str | None = None


class Manifest(BaseModel):
    """All anatomy of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volumes: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A scan without opacity and its lungs (1 right, 2 left)."""

    name: str
    volume: Volume
    lungs: Mask


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`: every file is there, has its hash and a free licence.

    Raises:
        InvalidInputError: `bad-setting`, naming the file at fault.
    """
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{folder / 'manifest.json'} is missing or not a manifest; see docs/reference/models.md."
        ) from error
    for entry in manifest.volumes:
        _require_free(entry)
        _require_hash(folder / entry.file, entry.sha256)
        if entry.lungs is not None:
            _require_hash(folder / entry.lungs, entry.lungs_sha256)
    return manifest


def load_anatomy(folder: Path, manifest: Manifest) -> Iterator[Anatomy]:
    """Yield each volume with its lungs, in this package's orientation."""
    for entry in manifest.volumes:
        volume = read_nifti(folder / entry.file)
        lungs = threshold_lungs(volume)
        if entry.lungs is not None:
            marked, _ = _canonical(folder / entry.lungs)
            lungs = np.where(marked > 0, _nearest_side(lungs), 0).astype(np.uint8)
        yield Anatomy(entry.file.removesuffix(".nii.gz"), volume, lungs)


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI volume into this package's orientation."""
    values, spacing = _canonical(path)
    return Volume(np.clip(np.rint(values), -1024, 3071).astype(np.int16), spacing)


def resample(anatomy: Anatomy, *, pixel_mm: float, slab_mm: float, margin_mm: float | None = None) -> Anatomy:
    """Return the anatomy on another grid, slabs averaged; with a margin only what lies around the lungs."""
    volume = anatomy.volume
    box = (
        whole(volume.hu.shape)
        if margin_mm is None
        else box_around(anatomy.lungs > 0, volume.spacing_mm, margin_mm=margin_mm)
    )
    grid = grid_over(box, volume.spacing_mm, pixel_mm=pixel_mm, slab_mm=slab_mm)
    hu = np.rint(to_slabs(volume, grid).numpy()).astype(np.int16)
    spacing = coarse_spacing(grid, volume.spacing_mm)
    lungs = labels_to_slabs(anatomy.lungs, grid, classes=3).numpy().astype(np.uint8)
    return Anatomy(anatomy.name, Volume(hu, spacing), lungs)


def _require_free(entry: Entry) -> None:
    words = entry.licence.replace("-", " ").split()
    if not entry.licence.startswith(FREE_LICENCES) or any(word in _RESTRICTED for word in words):
        raise InvalidInputError(
            Code.BAD_SETTING, f"{entry.file} is not under a free licence; shipped weights may not learn from it."
        )


def _require_hash(path: Path, sha256: str | None) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInputError(Code.BAD_SETTING, f"{path} is named in the manifest but cannot be read.") from error
    if found != sha256:
        raise InvalidInputError(Code.BAD_SETTING, f"{path} is not the file that the manifest names: another SHA-256.")


def _canonical(path: Path) -> tuple[NDArray[np.float32], Spacing]:
    """Return values (Z, Y, X) with x to the left, y to the back, z to the head, and the spacing."""
    image = nibabel.Nifti1Image.from_filename(path)
    values, affine = np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine)
    axes = [int(np.abs(affine[world, :3]).argmax()) for world in (2, 1, 0)]  # which stored axis runs along z, y, x
    turned = values.transpose(axes)
    for position, (world, forward) in enumerate(
        ((2, 1), (1, -1), (0, -1))
    ):  # NIfTI's +y is the front, its +x the right
        if affine[world, axes[position]] * forward < 0:
            turned = np.flip(turned, position)
    z_mm, y_mm, x_mm = (float(np.linalg.norm(affine[:3, axis])) for axis in axes)
    return np.ascontiguousarray(turned), (z_mm, y_mm, x_mm)


def _nearest_side(lungs: Mask) -> Mask:
    """Return for every voxel the side of the nearest lung voxel."""
    nearest = ndimage.distance_transform_edt(lungs == 0, return_distances=False, return_indices=True)
    sides: Mask = lungs[tuple(nearest)]
    return sides
