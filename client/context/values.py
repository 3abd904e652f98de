"""Words and codes of others, in ours. What is not on a list is unknown, and unknown is not kept."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime

from protocol.case import CareSetting, PcrStatus, Sex

PCR_LOINC = frozenset({"94500-6", "94309-2", "94565-9", "94759-8", "94845-5", "95406-5", "95608-6"})
"""SARS-CoV-2 RNA, presence, by nucleic acid amplification, as one answer for the virus: respiratory, any specimen, nasopharynx (with and
without probe), saliva, nose, respiratory (without probe). Tests of single genes are left out: two of them may differ in one sample."""

_POSITIVE = frozenset({
    "260373001", "10828004", "la11882-0", "la6576-8", "pos", "det", "positive", "detected", "pcr positive",
})  # fmt: skip
_NEGATIVE = frozenset({
    "260415000", "260385009", "la11883-8", "la6577-6", "neg", "nd", "negative", "not detected", "pcr negative",
})  # fmt: skip
"""SNOMED CT findings, LOINC answers, HL7 interpretations (table 0078 and its FHIR successor), and the plain words."""

_SEXES = {"f": Sex.FEMALE, "m": Sex.MALE, "o": Sex.OTHER, "female": Sex.FEMALE, "male": Sex.MALE, "other": Sex.OTHER}
_PATIENT_CLASSES = {
    "E": CareSetting.EMERGENCY, "I": CareSetting.INPATIENT, "O": CareSetting.OUTPATIENT, "R": CareSetting.OUTPATIENT,
}  # fmt: skip
_ENCOUNTER_CLASSES = {
    "EMER": CareSetting.EMERGENCY, "IMP": CareSetting.INPATIENT, "ACUTE": CareSetting.INPATIENT,
    "NONAC": CareSetting.INPATIENT, "AMB": CareSetting.OUTPATIENT, "SS": CareSetting.OUTPATIENT,
}  # fmt: skip
_INTENSIVE_TYPES = frozenset({"ICU", "PEDICU", "PEDNICU"})
_DATE = re.compile(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?")
_OLDEST_YEAR = 1880


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a site adds to the lists.

    Attributes:
        pcr_codes: Codes of its own laboratory for the SARS-CoV-2 PCR.
        positive: Its words for a positive result.
        negative: Its words for a negative one.
        intensive_units: Names of its intensive care units, as messages write them.
    """

    pcr_codes: frozenset[str] = frozenset()
    positive: frozenset[str] = frozenset()
    negative: frozenset[str] = frozenset()
    intensive_units: frozenset[str] = frozenset()

    def is_pcr(self, codes: Collection[str]) -> bool:
        """Say whether one of an observation's codes is a SARS-CoV-2 PCR."""
        return any(code in PCR_LOINC or code in self.pcr_codes for code in codes)

    def pcr(self, words: Collection[str]) -> PcrStatus:
        """Return the result that an observation's codes and words give; unknown if none is known, or if they contradict one another."""
        said = {" ".join(word.lower().split()) for word in words}
        positive = bool(said & _POSITIVE or said & _lower(self.positive))
        negative = bool(said & _NEGATIVE or said & _lower(self.negative))
        if positive == negative:
            return PcrStatus.UNKNOWN
        return PcrStatus.POSITIVE if positive else PcrStatus.NEGATIVE

    def care_setting(self, patient_class: str, unit: Collection[str] = ()) -> CareSetting:
        """Return the setting of a patient class (HL7 table 0004) or of an encounter's class (v3 ActCode), and of the unit's names."""
        word = patient_class.strip().upper()
        known = _PATIENT_CLASSES.get(word) or _ENCOUNTER_CLASSES.get(word) or CareSetting.UNKNOWN
        if known is CareSetting.OUTPATIENT:
            return known
        names = {" ".join(name.split()) for name in unit}
        if names & self.intensive_units or {name.upper() for name in names} & _INTENSIVE_TYPES:
            return CareSetting.INTENSIVE
        return known


def sex_of(word: str) -> Sex:
    """Return the sex that a code or a word says."""
    return _SEXES.get(word.strip().lower(), Sex.UNKNOWN)


def birth_date_of(text: str) -> str:
    """Return YYYY, YYYY-MM or YYYY-MM-DD of an HL7 or ISO date, as fine as it is written; empty if it is none."""
    found = _DATE.match(text.strip())
    if found is None:
        return ""
    year, month, day = found.groups()
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return ""
    if int(year) < _OLDEST_YEAR:
        return ""
    return "-".join(part for part in (year, month, day) if part)


def day_of(text: str) -> date | None:
    """Return the day of an HL7 or ISO date or time as it is written (local to whoever wrote it); `None` if there is no whole day."""
    written = birth_date_of(text)
    return date.fromisoformat(written) if len(written) == len("2026-01-01") else None


def moment_of(text: str) -> float | None:
    """Return an HL7 or ISO time, at least to the minute, as seconds since 1970; without a zone it is local. `None` if it is none."""
    found = re.match(
        r"(\d{4})-?(\d\d)-?(\d\d)[T ]?(\d\d):?(\d\d)(?::?(\d\d))?(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?", text.strip()
    )
    if found is None:
        return None
    zone = (found[7] or "").replace(":", "")
    written = "".join(found[part] or "00" for part in range(1, 7))
    try:
        if zone == "Z" or not zone:
            moment = datetime.strptime(written, "%Y%m%d%H%M%S")  # noqa: DTZ007 - its zone is set in the next line
            return (moment.replace(tzinfo=UTC) if zone else moment.astimezone()).timestamp()
        return datetime.strptime(written + zone, "%Y%m%d%H%M%S%z").timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def plain_text(text: str) -> str:
    """Return free text without control characters, its blanks and line ends kept."""
    return "".join(sign for sign in text if sign.isprintable() or sign == "\n").strip()


def _lower(words: frozenset[str]) -> set[str]:
    return {" ".join(word.lower().split()) for word in words}
