"""Label masks on their way in and out: NIfTI or DICOM SEG, matched to a measured study by geometry; resampled only where a person asks."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from client.deidentify.pseudonyms import Pseudonyms
from client.infer.grids import brought_to, resampled
from client.infer.nifti import nifti_bytes, pack, read_mask, read_shape, zyx_to_nifti
from client.infer.orientation import Affine, canonical_affine, orientation_of
from client.infer.source import Kind, kind_of
from client.report.concepts import CONSOLIDATION, GROUND_GLASS
from client.store.files import write_durably
from client.store.part10 import coded, read_part10
from client.store.records import Loss, Study, StudyState
from client.store.results import CT
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError

MOST_LABEL = 2
"""1 ground glass, 2 consolidation."""

WORST_DICE, MOST_OUTSIDE = 0.7, 0.01
"""A mask that loses more on its way to another grid, or lies outside the study, says too little of it to be called its truth."""

_MOST_AUTHOR = 64

_VALUES = {GROUND_GLASS.value: 1, "RID28531": 1, CONSOLIDATION.value: 2}
"""Segmented property types that we know (DCM, RadLex, SNOMED CT)."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask as it was read, in its own axis order. `study_keys` is set if the file itself says to which study it belongs."""

    values: NDArray[np.uint8]
    affine: Affine
    study_keys: tuple[str, ...] = ()
    author: str = ""
    """Who made it, as the file says; empty if it does not."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of a study's `ct.nii.gz` in the models' orientation."""

    shape: tuple[int, int, int]
    affine: Affine


@dataclass(frozen=True, slots=True)
class Found:
    """A mask on its study's own grid, (Z, Y, X), and who made it, as the file says."""

    values: NDArray[np.uint8]
    grid: Grid
    author: str

    @property
    def volumes_ml(self) -> tuple[float, float]:
        """How much ground glass and how much consolidation it holds, in ml."""
        voxel_ml = abs(float(np.linalg.det(self.grid.affine[:3, :3]))) / 1000
        counts = np.bincount(self.values.ravel(), minlength=MOST_LABEL + 1)
        return float(counts[1]) * voxel_ml, float(counts[2]) * voxel_ml


def look_at_label(path: Path, store: StudyStore, pseudonyms: Pseudonyms, *, study_key: str) -> Found:
    """Return what the mask at `path` would be as a label of a study; nothing is changed.

    Raises:
        InvalidInputError: `no-label-match`, `unreadable`, `bad-request`, `not-found`.
    """
    mask = read_label(path, pseudonyms)
    _, values, grid = _matched(mask, store, study_key)
    return Found(values, grid, mask.author)


def import_label(  # noqa: PLR0913 - each is a choice of a person
    path: Path,
    store: StudyStore,
    pseudonyms: Pseudonyms,
    *,
    study_key: str | None = None,
    source: str | None = None,
    resample: bool = False,
    held_out: bool | None = None,
) -> str:
    """Keep the mask at `path` as the label of the study that it belongs to, and return that study's key.

    Args:
        path: NIfTI or DICOM SEG, labels 1 ground glass and 2 consolidation.
        store: The studies.
        pseudonyms: The site's, to find the study of a SEG.
        study_key: The study, if it is known; otherwise the one study on the same grid is taken.
        source: Who made the label, in a word; otherwise the author that a SEG names, or `import`.
        resample: Bring a mask on another grid to the study's; the study must be known then. What was lost is kept with the label.
        held_out: Whether it is kept out of training; `None` leaves it as it was.

    Raises:
        InvalidInputError: `no-label-match`, `unreadable`, `bad-request`, `not-found`.
        UnavailableError: `disk-full`.
    """
    mask = read_label(path, pseudonyms)
    named = study_key or (store.first_known(mask.study_keys) if mask.study_keys else None)
    try:
        (study, values, grid), loss = _matched(mask, store, named), None
    except InvalidInputError as error:
        if not resample or error.code is not Code.NO_LABEL_MATCH:
            raise
        (study, values, grid), loss = _brought(mask, store, named)
    content = nifti_bytes(*zyx_to_nifti(values, grid.affine))
    sha256 = hashlib.sha256(content).hexdigest()
    write_durably(store.labels.place(study.study_key, sha256), pack(content))
    store.labels.keep_mask(
        study.study_key, grid=study.grid or "", source=source or mask.author or "import", sha256=sha256, held_out=held_out,
        loss=loss,
    )  # fmt: skip
    return study.study_key


def read_label(path: Path, pseudonyms: Pseudonyms) -> Mask:
    """Read a mask from NIfTI or DICOM SEG.

    Raises:
        InvalidInputError: `unreadable`, `bad-request` for unknown labels, `not-found`.
    """
    kind = kind_of(path)
    if kind is Kind.NIFTI:
        return Mask(*read_mask(path, most=MOST_LABEL))
    if kind is Kind.DICOM:
        return _read_seg(path, pseudonyms)
    raise InvalidInputError(Code.UNREADABLE, f"{path.name} is neither a NIfTI volume nor a DICOM SEG.")


def study_grid(store: StudyStore, study_key: str) -> Grid:
    """Return the grid of a measured study.

    Raises:
        InvalidInputError: `unreadable` if its volume is missing.
    """
    shape, affine = read_shape(store.folder(study_key) / CT)
    orientation = orientation_of(affine)
    z, y, x = (shape[axis] for axis in orientation.axes)
    return Grid((z, y, x), canonical_affine(affine, shape, orientation))


def _matched(mask: Mask, store: StudyStore, study_key: str | None) -> tuple[Study, NDArray[np.uint8], Grid]:
    """Return the one measured study on the mask's grid, and the mask in that grid's axis order.

    Raises:
        InvalidInputError: `no-label-match` if there is none, or more than one; `not-found`.
    """
    candidates = store.studies() if study_key is None else [store.study(study_key)]
    found = []
    for study in candidates:
        if study.state is StudyState.MEASURED and study.grid is not None:  # its volume may have been removed since
            grid = study_grid(store, study.study_key)
            values = brought_to(mask.values, mask.affine, grid.shape, grid.affine, partial=bool(mask.study_keys))
            if values is not None:
                found.append((study, values, grid))
    if len(found) == 1:
        return found[0]
    raise InvalidInputError(Code.NO_LABEL_MATCH, _why_not(len(found), study_key))


def _brought(
    mask: Mask, store: StudyStore, study_key: str | None
) -> tuple[tuple[Study, NDArray[np.uint8], Grid], Loss]:
    """Return the named study, the mask resampled to its grid, and what that cost.

    Raises:
        InvalidInputError: `no-label-match` if no study is named or measured, or too much is lost; `not-found`.
    """
    if study_key is None:
        raise InvalidInputError(
            Code.NO_LABEL_MATCH, "A mask on another grid fits any study. Name the one that it belongs to with --study."
        )
    study = store.study(study_key)
    if study.state is not StudyState.MEASURED:
        raise InvalidInputError(Code.NO_LABEL_MATCH, _why_not(0, study_key))
    grid = study_grid(store, study_key)
    values, loss = resampled(mask.values, mask.affine, grid.shape, grid.affine)
    if loss.outside_fraction > MOST_OUTSIDE or loss.dice < WORST_DICE:
        raise InvalidInputError(
            Code.NO_LABEL_MATCH,
            f"On the study's grid too little is left of the mask: {100 * loss.outside_fraction:.1f} % lies outside, overlap after"
            f" there and back is {loss.dice:.2f}. Draw it on the study's own grid.",
        )
    return (study, values, grid), loss


def _why_not(count: int, study_key: str | None) -> str:
    if count > 1:
        return f"The mask fits {count} studies. Name one with --study."
    if study_key is not None:
        return "The mask lies on another grid than the study, or the study is not measured yet. --resample brings a mask to the study's grid."
    return "No measured study lies on the mask's grid. Measure the study first, or name it and use --resample."


def _read_seg(path: Path, pseudonyms: Pseudonyms) -> Mask:
    """Read the ground-glass and consolidation segments of a SEG object.

    Raises:
        InvalidInputError: `unreadable`, `bad-request` if it holds neither.
    """
    dataset = read_part10(path, pixels=True)
    if dataset.get("SOPClassUID") != SegmentationStorage:
        raise InvalidInputError(Code.UNREADABLE, f"{path.name} is DICOM, but no segmentation.")
    with coded("The DICOM SEG"):
        from highdicom.seg import Segmentation

        segmentation = Segmentation.from_dataset(dataset, copy=False)
        labels = {int(item.SegmentNumber): _label_of(item) for item in dataset.SegmentSequence}
        wanted = {number: label for number, label in labels.items() if label}
        if not wanted:
            raise InvalidInputError(
                Code.BAD_REQUEST, "The SEG names neither ground glass nor consolidation among its segments."
            )
        volume = segmentation.get_volume(
            segment_numbers=sorted(wanted), combine_segments=False, allow_missing_positions=True
        )
        values = np.zeros(volume.array.shape[:3], np.uint8)
        for index, number in enumerate(sorted(wanted)):
            values[volume.array[..., index] > 0] = wanted[number]
        study_keys = pseudonyms.study_keys(str(dataset.StudyInstanceUID))
        return Mask(values, np.asarray(volume.affine), study_keys, _author_of(dataset))


def _author_of(dataset: Dataset) -> str:
    """Return Content Creator's Name (PS3.3 C.8.20.1) as plain words."""
    said = "".join(sign if sign.isprintable() else " " for sign in str(dataset.get("ContentCreatorName") or ""))
    return " ".join(said.replace("^", " ").replace("=", " ").split())[:_MOST_AUTHOR]


def _label_of(segment: Dataset) -> int:
    """Return 1 for ground glass, 2 for consolidation, 0 for anything else, by the segment's code."""
    kinds = segment.get("SegmentedPropertyTypeCodeSequence") or []
    return _VALUES.get(str(kinds[0].get("CodeValue", "")), 0) if len(kinds) else 0
