"""What counts of what is said: precedence, the window, contradictions. Unknown stays unknown."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.infer.cases import Circumstances
from client.infer.context import (
    AGE_CONTRADICTS,
    PCR_CONTRADICTS,
    SETTING_CONTRADICTS,
    SEX_CONTRADICTS,
    TWO_PATIENTS,
    Window,
    conclude,
)
from client.store.facts import Conclusion, FactKind, Heard, Hearing, Source
from protocol.case import AgeBand, CareSetting, PcrStatus, Sex

SCAN = date(2026, 1, 12)
BARE = Circumstances("2026-W03", AgeBand.UNKNOWN, Sex.UNKNOWN, day=SCAN)
WINDOW = Window(before=14, after=7)


def said(
    kind: FactKind, value: str, *, days: int | None = None, source: Source = Source.HL7, of_study: bool = False,
    until: int | None = None, at: float = 1.0,
) -> Heard:  # fmt: skip
    def ordinal(offset: int | None) -> int | None:
        return None if offset is None else (SCAN + timedelta(days=offset)).toordinal()

    return Heard(
        source=source, kind=kind, value=value, first_day=ordinal(days), last_day=ordinal(until), of_study=of_study,
        received_at=at,
    )  # fmt: skip


def pcr(value: str, days: int | None, **rest: object) -> Heard:
    return said(FactKind.PCR, value, days=days, **rest)  # type: ignore[arg-type]


def drawn(*heard: Heard, header: Circumstances = BARE, confused: bool = False) -> Conclusion:
    return conclude(header, Hearing(heard=heard, confused=confused, mark=0), WINDOW)


@pytest.mark.parametrize(
    ("days", "counts"), [(-15, False), (-14, True), (0, True), (7, True), (8, False), (None, False)]
)
def test_a_patients_test_counts_only_near_the_scan(days: int | None, counts: bool) -> None:
    assert drawn(pcr("positive", days)).pcr == ("positive" if counts else "unknown")


def test_a_scan_without_a_date_has_no_near_tests() -> None:
    undated = Circumstances(None, AgeBand.UNKNOWN, Sex.UNKNOWN)
    assert drawn(pcr("positive", 0), header=undated).pcr == "unknown"
    assert drawn(pcr("positive", None, of_study=True), header=undated).pcr == "positive"


def test_one_positive_in_the_window_counts_over_negatives_of_other_days() -> None:
    assert drawn(pcr("negative", -5), pcr("positive", 1), pcr("negative", 3)).pcr == "positive"
    assert drawn(pcr("negative", -5), pcr("negative", 3)).pcr == "negative"


def test_results_of_one_day_that_contradict_one_another_count_as_neither() -> None:
    conclusion = drawn(pcr("negative", -1), pcr("positive", -1), pcr("positive", 0))
    assert (conclusion.pcr, conclusion.doubts) == ("unknown", (PCR_CONTRADICTS,))
    assert "pcr" not in conclusion.sources


def test_the_highest_source_decides_alone() -> None:
    feed, table, staff = (
        pcr("positive", 0),
        pcr("negative", 0, source=Source.CSV),
        pcr("unknown", None, source=Source.STAFF, of_study=True),
    )
    assert drawn(feed, table).pcr == "negative"
    assert drawn(feed, table).sources["pcr"] == "csv"
    assert drawn(feed, table, staff).pcr == "unknown", "a person may say that nobody knows"
    assert drawn(feed, table, staff).doubts == ()


def test_hl7_and_fhir_are_equals() -> None:
    assert drawn(pcr("positive", 0), pcr("negative", 0, source=Source.FHIR)).doubts == (PCR_CONTRADICTS,)


def setting(value: str, days: int | None = None, **rest: object) -> Heard:
    return said(FactKind.CARE_SETTING, value, days=days, **rest)  # type: ignore[arg-type]


def test_the_orders_word_comes_before_that_of_a_stay() -> None:
    assert drawn(setting("inpatient", -3), setting("emergency", of_study=True)).care_setting == "emergency"
    assert drawn(setting("inpatient", -3, until=0)).care_setting == "inpatient"
    assert drawn(setting("inpatient", -3, until=-1)).care_setting == "unknown"
    assert drawn(setting("inpatient", 1)).care_setting == "unknown"


def test_two_stays_on_one_day_are_in_doubt() -> None:
    conclusion = drawn(setting("inpatient", 0), setting("emergency", 0, until=0))
    assert (conclusion.care_setting, conclusion.doubts) == ("unknown", (SETTING_CONTRADICTS,))


def test_the_header_comes_first_for_sex_and_age() -> None:
    header = Circumstances("2026-W03", AgeBand.FROM_60, Sex.FEMALE, day=SCAN)
    heard = (said(FactKind.SEX, "male"), said(FactKind.BIRTH_DATE, "1990-05-05"))
    filled, kept = drawn(*heard), drawn(*heard, header=header)
    assert (filled.sex, filled.age_band) == ("male", "20-39")
    assert (kept.sex, kept.age_band) == ("female", "60-69")
    assert kept.sources == {"sex": "dicom", "age_band": "dicom"}


def test_sexes_and_ages_that_differ_are_in_doubt() -> None:
    conclusion = drawn(
        said(FactKind.SEX, "male"), said(FactKind.SEX, "female", source=Source.FHIR),
        said(FactKind.BIRTH_DATE, "1990-05-05"), said(FactKind.AGE, "77", of_study=True),
    )  # fmt: skip
    assert (conclusion.sex, conclusion.age_band) == ("unknown", "unknown")
    assert set(conclusion.doubts) == {SEX_CONTRADICTS, AGE_CONTRADICTS}


@pytest.mark.parametrize(
    ("born", "band"),
    [("1960", "60-69"), ("1966", "unknown"), ("1966-01", "unknown"), ("1965-12", "60-69"), ("2027", "unknown")],
)
def test_a_birth_date_is_used_as_fine_as_it_is(born: str, band: str) -> None:
    assert drawn(said(FactKind.BIRTH_DATE, born)).age_band == band


def test_an_age_counts_for_its_own_study_only() -> None:
    assert drawn(said(FactKind.AGE, "50", of_study=False)).age_band == "unknown"


def test_two_patients_behind_one_order_are_a_doubt() -> None:
    assert drawn(confused=True).doubts == (TWO_PATIENTS,)


def test_the_newest_question_is_kept() -> None:
    asked = [said(FactKind.QUESTION, text, of_study=True, at=at) for text, at in (("second", 2.0), ("first", 1.0))]
    assert drawn(*asked).question == "second"


@given(
    st.lists(st.tuples(st.sampled_from(list(Source)), st.sampled_from(["positive", "negative"]), st.integers(-30, 30)))
)
def test_whatever_is_said_the_answer_is_a_value_of_the_record(heard: list[tuple[Source, str, int]]) -> None:
    """And it never depends on the order in which things came."""
    facts = [pcr(value, days, source=source) for source, value, days in heard]
    one, other = drawn(*facts), drawn(*reversed(facts))
    assert PcrStatus(one.pcr) is PcrStatus(other.pcr)
    assert one.doubts == other.doubts
    assert CareSetting(one.care_setting) is CareSetting.UNKNOWN
