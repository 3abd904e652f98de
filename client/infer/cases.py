"""From a measured study to the coarse record of it: a week, bands, whole percents. Pure; unknown stays unknown."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError
from pydicom.dataset import Dataset

from protocol.case import (
    CORADS_PROVEN,
    AgeBand,
    CareSetting,
    CaseRecord,
    LegalBasis,
    PcrStatus,
    QualityFlag,
    RsnaClass,
    SeverityBand,
    Sex,
)

TAGS = ["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientAge", "PatientBirthDate", "PatientSex"]
"""All that is read of a header for the record."""

_DATES = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
_BANDS = (
    (20, AgeBand.UNDER_20), (40, AgeBand.FROM_20), (50, AgeBand.FROM_40), (60, AgeBand.FROM_50), (70, AgeBand.FROM_60),
    (80, AgeBand.FROM_70), (130, AgeBand.FROM_80),
)  # fmt: skip
_SEXES = {"F": Sex.FEMALE, "M": Sex.MALE, "O": Sex.OTHER}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the record keeps of a header, and of what others say of the study (`client.infer.context`)."""

    epi_week: str | None
    age_band: AgeBand
    sex: Sex
    pcr: PcrStatus = PcrStatus.UNKNOWN
    care_setting: CareSetting = CareSetting.UNKNOWN
    day: date | None = None
    """Of the study; stays at the node."""


def day_of(header: Dataset) -> date | None:
    """Return the day of a scan from the first of its dates that is one."""
    return next((found for keyword in _DATES if (found := parse_date(header.get(keyword))) is not None), None)


def circumstances_of(header: Dataset) -> Circumstances:
    """Return week, age band and sex from a header."""
    day = day_of(header)
    return Circumstances(
        epi_week=None if day is None else iso_week(day),
        age_band=age_band(age_years(header, day)),
        sex=_SEXES.get(str(header.get("PatientSex") or "").strip().upper(), Sex.UNKNOWN),
        day=day,
    )


def case_record(
    case_id: str, version: int, circumstances: Circumstances, document: dict[str, Any]
) -> CaseRecord | None:
    """Return the record of a measured study; `None` when its week is unknown, for then it cannot be counted."""
    if circumstances.epi_week is None:
        return None
    try:
        return CaseRecord(
            case_id=case_id, version=version, epi_week=circumstances.epi_week, age_band=circumstances.age_band,
            sex=circumstances.sex, pcr=circumstances.pcr, care_setting=circumstances.care_setting, ggo_percent=percent(document["ggo_fraction"]),
            consolidation_percent=percent(document["consolidation_fraction"]),
            opacity_percent=percent(document["opacity_fraction"]), severity_score=document["severity"]["score"],
            severity_band=SeverityBand(document["severity"]["band"]), model_release=document["model_release"],
            quality=tuple(QualityFlag(flag) for flag in document["quality"]),
        )  # fmt: skip
    except ValidationError:  # a week before 2000: an anonymised date, no case of this registry
        return None


def revised(record: CaseRecord, circumstances: Circumstances) -> CaseRecord | None:
    """Return the next version of a record where something else is known of the study by now; `None` where nothing has changed."""
    changed = {
        "age_band": circumstances.age_band, "sex": circumstances.sex, "pcr": _proven(circumstances.pcr, record.corads),
        "care_setting": circumstances.care_setting,
    }  # fmt: skip
    if record.withdrawn or all(getattr(record, name) == value for name, value in changed.items()):
        return None
    return record.model_copy(update={**changed, "version": record.version + 1})


def classified(record: CaseRecord, rsna_class: RsnaClass, corads: int, pcr: PcrStatus) -> CaseRecord | None:
    """Return the next version of a record with a reader's classes; `None` where nothing changes.

    The PCR that the reader knew comes along where CO-RADS 6 rests on it, and goes with it; else the record's stays, which is the site's.
    """
    if record.withdrawn or (record.rsna_class, record.corads) == (rsna_class, corads):
        return None
    known = pcr if CORADS_PROVEN in {corads, record.corads} else record.pcr
    changed = {"rsna_class": rsna_class, "corads": corads, "pcr": _proven(known, corads)}
    return record.model_copy(update={**changed, "version": record.version + 1})


def classes_kept(record: CaseRecord | None, before: CaseRecord | None) -> CaseRecord | None:
    """Return a new measurement's record with the classes that a reader gave the study before: a new release changes no reading."""
    if record is None or before is None or before.rsna_class is None:
        return record
    kept = {"rsna_class": before.rsna_class, "corads": before.corads, "pcr": _proven(record.pcr, before.corads)}
    return record.model_copy(update=kept)


def _proven(pcr: PcrStatus, corads: int | None) -> PcrStatus:
    """Return the PCR beside a CO-RADS: 6 means that one was positive, whether or not the site's own systems know of it."""
    return PcrStatus.POSITIVE if corads == CORADS_PROVEN else pcr


def declared(record: CaseRecord, basis: LegalBasis) -> CaseRecord:
    """Return the record under the legal basis that the site declares at the time it leaves."""
    return record.model_copy(update={"legal_basis": basis})


def withdrawn(record: CaseRecord) -> CaseRecord:
    """Return the next version of a record, taken back: whose it was and of which week, and the least that the shape allows of the rest."""
    return CaseRecord(
        case_id=record.case_id, version=record.version + 1, withdrawn=True, epi_week=record.epi_week, ggo_percent=0,
        consolidation_percent=0, opacity_percent=0, severity_score=0, severity_band=SeverityBand.NONE,
        model_release=record.model_release,
    )  # fmt: skip


def iso_week(day: date) -> str:
    """Return the ISO 8601 week of a day, such as 2026-W07."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def parse_date(value: object) -> date | None:
    """Return the date of a DICOM DA (or of the obsolete form with dots), `None` if it is none."""
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", str(value or "").strip())
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def age_years(header: Dataset, day: date | None) -> int | None:
    """Return the age in whole years from Patient's Age (0010,1010), or from the birth date and the day of the study."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", str(header.get("PatientAge") or "").strip().upper())
    if found is not None:
        return int(int(found[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[found[2]])
    born = parse_date(header.get("PatientBirthDate"))
    if born is None or day is None or born > day:
        return None
    return years_between(born, day)


def years_between(born: date, day: date) -> int | None:
    """Return the age in whole years on a day; `None` before birth."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day)) if born <= day else None


def age_band(years: int | None) -> AgeBand:
    """Return the band of an age."""
    if years is None:
        return AgeBand.UNKNOWN
    return next((band for below, band in _BANDS if years < below), AgeBand.UNKNOWN)


def percent(fraction: float) -> int:
    """Return whole percents, halves up."""
    return min(100, max(0, int(100 * fraction + 0.5)))
