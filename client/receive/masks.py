"""A segmentation at the node's door: of which study and series, and whether a person drew it. Nothing is read of its pixels."""

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from client.deidentify.pseudonyms import Pseudonyms
from client.store.part10 import coded, read_part10
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError

MASK_CLASSES = (SegmentationStorage,)
"""The SOP classes that can hold a mask."""

_TAGS = ["StudyInstanceUID", "SeriesInstanceUID", "ReferencedSeriesSequence", "SegmentSequence"]
_BY_PROGRAM = "AUTOMATIC"
_MOST_SERIES = 64


def study_of_mask(spooled: Path, store: StudyStore, pseudonyms: Pseudonyms) -> str:
    """Return the key of the held study that a segmentation belongs to.

    Raises:
        InvalidInputError: `unreadable`; `machine-made` if no person had a hand in it; `no-label-match` if the node does not hold the
            study, or none of the series that it refers to.
        RefusedError: `study-deleted`; nothing of it may be kept.
    """
    header = read_part10(spooled, pixels=False, tags=_TAGS)
    with coded("The DICOM SEG"):
        if not any(_is_by_a_person(segment) for segment in header.get("SegmentSequence") or []):
            raise InvalidInputError(
                Code.MACHINE_MADE,
                "A program made this segmentation. Only what a person drew or corrected becomes a label.",
            )
        study_uid = str(header.get("StudyInstanceUID") or "")
        study_key = store.first_known(pseudonyms.study_keys(study_uid))
        if store.is_deleted(study_key):
            raise RefusedError(Code.STUDY_DELETED, "The study was deleted on request.")
        if not store.drawn.holds(study_key, _series_keys(header, study_uid, pseudonyms)):
            raise InvalidInputError(Code.NO_LABEL_MATCH, "The segmentation refers to no series that this node holds.")
        return study_key


def _is_by_a_person(segment: Dataset) -> bool:
    """Say whether a person drew or corrected a segment (Segment Algorithm Type, PS3.3 C.8.20.2)."""
    kind = str(segment.get("SegmentAlgorithmType") or "").strip().upper()
    return bool(kind) and kind != _BY_PROGRAM


def _series_keys(header: Dataset, study_uid: str, pseudonyms: Pseudonyms) -> list[str]:
    """Return the names, under every key of the site, of the series that a segmentation refers to."""
    items = list(header.get("ReferencedSeriesSequence") or [])[:_MOST_SERIES]
    found = []
    for uid in (str(item.get("SeriesInstanceUID") or "") for item in items):
        keys = pseudonyms.instance_keys(study_uid=study_uid, series_uid=uid, instance_uid="", patient_id="")
        found += [one.series_key for one in (keys, *keys.older)]
    return found
