"""The identifiers that a file's own header names, to find them where nobody would put them. Pure.

A last look, after the table and the words: a number that stays (a slice location, a version) must not happen to be the patient's number,
and compressed pixel data must not carry a comment with the patient's name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

_NUMBERS = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID", "ServiceEpisodeID", "PatientTelephoneNumbers",
    "RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID", "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest", "PatientBirthDate", "InsurancePlanIdentification",
)  # fmt: skip
_NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName", "OperatorsName",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician", "PhysiciansOfRecord", "ResponsiblePerson",
)  # fmt: skip
_SHORTEST_NUMBER, _SHORTEST_MEASURE, _SHORTEST_IN_PIXELS = 5, 6, 6
"""Digits in a text and in a measurement, characters in pixels. Shorter ones stand everywhere by chance."""


@dataclass(frozen=True, slots=True)
class OwnIdentifiers:
    """What the header says of its person: digits of numbers, and the bytes of names and numbers."""

    numbers: frozenset[str]
    spellings: frozenset[bytes]

    def is_number_of_person(self, text: str) -> bool:
        """Say whether a value that stays is one of the person's numbers, whatever stands between its digits."""
        return _digits(text) in self.numbers

    def is_measure_of_person(self, value: float) -> bool:
        """Say whether a measurement is one of the person's numbers: a whole one, so that -1000.0 is not the number 10000."""
        digits = str(abs(int(value))) if isfinite(value) and value == int(value) else ""
        return len(digits) >= _SHORTEST_MEASURE and digits in self.numbers

    def stand_in(self, content: bytes) -> bool:
        """Say whether pixel data spells a name or number of the header."""
        return any(spelling in content for spelling in self.spellings)


def own_identifiers(dataset: Dataset) -> OwnIdentifiers:
    """Return the identifiers that the header of `dataset` names, other patient numbers in their sequence included."""
    numbers = set(_texts(dataset, _NUMBERS))
    others = dataset.get("OtherPatientIDsSequence")
    for item in others if isinstance(others, Sequence) else []:
        numbers |= set(_texts(item, ("PatientID",)))
    words = {word for name in _texts(dataset, _NAMES) for word in re.split(r"[\^=,\s]+", name)}
    long = {word for word in numbers | words if len(word) >= _SHORTEST_IN_PIXELS}
    return OwnIdentifiers(
        frozenset(digits for digits in map(_digits, numbers) if len(digits) >= _SHORTEST_NUMBER),
        frozenset(spelling for word in long for spelling in _spellings(word)),
    )


def _texts(dataset: Dataset, keywords: tuple[str, ...]) -> Iterator[str]:
    for keyword in keywords:
        value = dataset.get(keyword)
        if value:
            yield from (str(one).strip() for one in (value if isinstance(value, MultiValue) else [value]))


def _spellings(word: str) -> Iterator[bytes]:
    """Yield what a word may look like in bytes that say nothing of their coding."""
    for coding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1", "iso8859-5", "iso8859-7", "gb18030", "iso2022_jp"):
        try:
            yield word.encode(coding)
        except UnicodeEncodeError:
            continue


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isascii() and character.isdigit())
