"""Headers of the slices that findings refer to, made complete enough for the standard."""

import copy
import hashlib
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID

_UTF_8 = "ISO_IR 192"
"""What we write is in UTF-8, whatever the scanner wrote: highdicom refuses an empty first value (usual in Japan) and knows no Korean."""

_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
"""Type 2 attributes of patient and study: they must be there, and may be empty."""


def completed(headers: Sequence[Dataset]) -> list[Dataset]:
    """Return copies of source headers in which what the standard demands is present, empty where it is unknown.

    Args:
        headers: Of the slices of one series, in the order of the mask.
    """
    frame = _frame_of_reference(headers[0])
    out = []
    for header in headers:
        whole = copy.copy(header)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in whole:
                setattr(whole, keyword, "")
        if not whole.get("ClinicalTrialSubjectID") and not whole.get("ClinicalTrialSubjectReadingID"):
            _drop_trial(whole)
        if not whole.get("FrameOfReferenceUID"):
            whole.FrameOfReferenceUID = frame
        whole.SpecificCharacterSet = _UTF_8
        out.append(whole)
    return out


def _drop_trial(header: Dataset) -> None:
    """Leave out a trial that names no subject: its module would be copied, and is not valid without one (PS3.3 C.7.1.3)."""
    for element in [element for element in header if element.keyword.startswith("ClinicalTrial")]:
        del header[element.tag]


def _frame_of_reference(header: Dataset) -> UID:
    """Return the frame of reference, or one that follows from the series if the sender left it out."""
    given = header.get("FrameOfReferenceUID")
    if given:
        return UID(given)
    digest = hashlib.sha256(f"frame:{header.get('SeriesInstanceUID', '')}".encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")
