"""The coarse record: weeks, bands, whole percents, and unknown where nothing is known."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from client.infer.cases import (
    Circumstances,
    age_band,
    age_years,
    case_record,
    circumstances_of,
    declared,
    iso_week,
    parse_date,
    percent,
    withdrawn,
)
from protocol.case import AgeBand, LegalBasis, Sex

DOCUMENT: dict[str, Any] = {
    "ggo_fraction": 0.125, "consolidation_fraction": 0.004, "opacity_fraction": 0.129, "model_release": "ggo@0",
    "severity": {"score": 7, "scale": "zone-score-0-24", "band": "moderate"}, "quality": ["thick-slices"],
}  # fmt: skip


def header(**values: str) -> Dataset:
    out = Dataset()
    for keyword, value in values.items():
        setattr(out, keyword, value)
    return out


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_weeks_are_iso_weeks(day: date) -> None:
    week = iso_week(day)
    assert date.fromisocalendar(int(week[:4]), int(week[6:]), day.isoweekday()) == day


@pytest.mark.parametrize(
    ("day", "week"),
    [("20201231", "2020-W53"), ("20210103", "2020-W53"), ("20210104", "2021-W01"), ("20260112", "2026-W03")],
)
def test_weeks_at_the_turn_of_the_year(day: str, week: str) -> None:
    assert circumstances_of(header(StudyDate=day)).epi_week == week


def test_another_date_steps_in_for_a_missing_one() -> None:
    assert circumstances_of(header(StudyDate="", AcquisitionDate="20260112")).epi_week == "2026-W03"
    assert circumstances_of(header()).epi_week is None


@pytest.mark.parametrize("text", ["", "2026", "20261301", "2026-01-12", "ABCDEFGH", None])
def test_what_is_no_date_is_none(text: str | None) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("values", "years"),
    [
        ({"PatientAge": "066Y"}, 66),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "010D"}, 0),
        ({"PatientBirthDate": "19600113"}, 65),
        ({"PatientBirthDate": "19600112"}, 66),
        ({"PatientBirthDate": "20300101"}, None),
        ({}, None),
    ],
)
def test_ages(values: dict[str, str], years: int | None) -> None:
    assert age_years(header(**values), date(2026, 1, 12)) == years


@given(st.integers(0, 129))
def test_every_age_lies_in_its_band(years: int) -> None:
    band = age_band(years).value
    low, high = (int(band[:-1]), 200) if band.endswith("+") else (int(end) for end in band.split("-"))
    assert low <= years <= high


def test_unknown_stays_unknown() -> None:
    known = circumstances_of(header(StudyDate="20260112"))
    assert (known.age_band, known.sex) == (AgeBand.UNKNOWN, Sex.UNKNOWN)
    assert age_band(None) is age_band(200) is AgeBand.UNKNOWN


@given(st.floats(0, 1))
def test_percents_are_whole_and_near(fraction: float) -> None:
    assert abs(percent(fraction) - 100 * fraction) <= 0.5 + 1e-9


def test_a_record_holds_nothing_finer_than_it_may() -> None:
    record = case_record("0" * 32, 3, Circumstances("2026-W03", AgeBand.FROM_60, Sex.FEMALE), DOCUMENT)
    assert record is not None
    assert (record.ggo_percent, record.consolidation_percent, record.severity_score) == (13, 0, 7)
    assert record.version == 3
    gone = withdrawn(record)
    assert (gone.version, gone.withdrawn, gone.case_id) == (4, True, record.case_id)
    said = gone.model_dump(exclude={"case_id", "version", "withdrawn", "epi_week", "model_release"})
    assert not {"60-69", "female", 13, 7} & {str(value) if isinstance(value, str) else value for value in said.values()}


@pytest.mark.parametrize("basis", list(LegalBasis))
def test_a_record_leaves_under_the_basis_that_the_site_declares_and_is_the_same_else(basis: LegalBasis) -> None:
    record = case_record("0" * 32, 3, Circumstances("2026-W03", AgeBand.FROM_60, Sex.FEMALE), DOCUMENT)
    assert record is not None
    left = declared(record, basis)
    assert left.legal_basis is basis
    assert left.model_dump(exclude={"legal_basis"}) == record.model_dump(exclude={"legal_basis"})


@pytest.mark.parametrize("week", [None, "1999-W10"])
def test_without_a_week_there_is_no_record(week: str | None) -> None:
    assert case_record("0" * 32, 1, Circumstances(week, AgeBand.UNKNOWN, Sex.OTHER), DOCUMENT) is None
