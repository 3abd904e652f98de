"""Identifiers planted in the phantoms, and those found in the headers of real studies: what the leak check looks for."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

SHORTEST = 4
"""Characters. Anything shorter stands everywhere by chance and says nothing of a person."""
_STANDARD_UIDS = "1.2.840.10008."
_NOBODY = {
    "anonymous",
    "anonymized",
    "anonymised",
    "deidentified",
    "removed",
    "unknown",
    "none",
    "patient",
    "phantom",
    "test",
    "null",
}
"""Values that stand where a name was and name nobody."""
_NAMES = {"PN"}
_IDENTIFIERS = {"LO", "SH"}
_DATES = {"DA"}
_IDENTIFYING = {
    "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "DeviceSerialNumber", "AdmissionID",
    "InstitutionName", "StationName", "RequestingService", "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest",
    "PatientTelephoneNumbers", "EthnicGroup", "MilitaryRank", "MedicalRecordLocator",
}  # fmt: skip


class Kind(StrEnum):
    """How an identifier is written, and so in which other forms it might travel."""

    NAME = "name"
    NUMBER = "number"
    DATE = "date"
    UID = "uid"
    TEXT = "text"
    PIXELS = "pixels"


@dataclass(frozen=True, slots=True)
class Identifier:
    """One thing that must not reach the centre. For `PIXELS` the value is the bytes in hex."""

    kind: Kind
    value: str


class Planted:
    """Every identifier of every study sent, each once."""

    def __init__(self) -> None:
        self._seen: set[Identifier] = set()
        self.unsearchable: set[Identifier] = set()

    def add(self, identifiers: Iterable[Identifier]) -> None:
        """Keep `identifiers`; those that cannot be told from chance are kept apart and counted."""
        for identifier in identifiers:
            (self._seen if is_searchable(identifier.value) else self.unsearchable).add(identifier)

    def __iter__(self) -> Iterator[Identifier]:
        """Yield the identifiers in a stable order."""
        return iter(sorted(self._seen, key=lambda identifier: (identifier.kind, identifier.value)))

    def __len__(self) -> int:
        """How many will be searched for."""
        return len(self._seen)

    def save(self, path: Path) -> None:
        """Write the list as JSON, for the reader of the report."""
        path.write_text(
            json.dumps([{"kind": one.kind, "value": one.value} for one in self], indent=1), encoding="utf-8"
        )


def is_searchable(value: str) -> bool:
    """Say whether finding `value` somewhere would mean anything: long enough, and not a word such as ANONYMOUS."""
    return len(value.strip()) >= SHORTEST and value.strip(" ^").casefold() not in _NOBODY


def header_identifiers(dataset: Dataset) -> Iterator[Identifier]:
    """Yield what in `dataset`'s header names a person, an occasion or an object: names, numbers, dates and UIDs, nested ones too.

    Every PN, DA and UI is taken (UIDs of the standard itself are not), and of LO and SH those elements that identify;
    a series description such as LUNG or CHEST is not an identifier and stands in the centre's own words.
    """
    for element in dataset.iterall():
        kind = _kind_of(element)
        if kind is not None:
            yield from (Identifier(kind, text) for text in _texts(element) if not text.startswith(_STANDARD_UIDS))


def file_identifiers(path: Path) -> list[Identifier]:
    """Return the identifiers in the header of the DICOM file at `path`; nothing for another kind of file."""
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        return list(header_identifiers(dataset))
    except (pydicom.errors.InvalidDicomError, EOFError):
        return []


def _kind_of(element: DataElement) -> Kind | None:
    if element.VR in _NAMES:
        return Kind.NAME
    if element.VR in _DATES:
        return Kind.DATE
    if element.VR == "UI":
        return Kind.UID
    return Kind.NUMBER if element.VR in _IDENTIFIERS and element.keyword in _IDENTIFYING else None


def _texts(element: DataElement) -> list[str]:
    raw = element.value if element.VM > 1 else [element.value]
    return [text for one in raw or [] if (text := str(one).strip("\0 "))]
