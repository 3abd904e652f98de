"""Single values: dates that move together, ages, and texts made of known words."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.deidentify.values import capped_age, fits, is_standard_uid, kept_text, kept_time, kept_zone, shifted
from client.deidentify.vocabulary import CODE_WORDS, TEXT_WORDS

DAYS = st.dates(date(1901, 1, 1), date(2100, 1, 1))
SHIFTS = st.integers(-365, -1)


@given(DAYS, SHIFTS)
def test_intervals_survive(day: date, days: int) -> None:
    moved = shifted(day.strftime("%Y%m%d"), days)
    back = date(int(moved[:4]), int(moved[4:6]), int(moved[6:]))
    assert (back - day).days == days


@given(
    DAYS,
    SHIFTS,
    st.sampled_from(["", "10", "1015", "101500", "101500.5", "235960"]),
    st.sampled_from(["", "+0100", "-0930", "+1400"]),
)
def test_time_and_zone_stay(day: date, days: int, time: str, zone: str) -> None:
    text = day.strftime("%Y%m%d")
    assert shifted(text + time + zone, days) == shifted(text, days) + time + zone


@given(DAYS, DAYS, SHIFTS, st.sampled_from(["", "101500", "101500-0500"]))
def test_both_ends_of_a_range_move_alike(low: date, high: date, days: int, rest: str) -> None:
    ends = [day.strftime("%Y%m%d") + rest for day in (low, high)]
    moved = [shifted(end, days) for end in ends]
    assert shifted("-".join(ends), days) == "-".join(moved)
    assert shifted(f"{ends[0]}-", days) == f"{moved[0]}-"
    assert shifted(f"-{ends[1]}", days) == f"-{moved[1]}"


@pytest.mark.parametrize(
    ("value", "out"),
    [
        ("2026.01.12", "20260111"),
        ("20260112 ", "20260111"),
        ("20260101", "20251231"),
        ("20240301", "20240229"),
        ("10000101", "09991231"),
    ],
)
def test_how_dates_are_written(value: str, out: str) -> None:
    assert shifted(value, -1) == out


@pytest.mark.parametrize(
    "value",
    ["", "unknown", "00000000", "2026", "202601", "20261301", "00010101", "20260112JOHN", "20260112101500+9900", "20260112-2026139", "-",
     "٢٠٢٦٠١١٢", "20260112-20260113-20260114"],
)  # fmt: skip
def test_what_is_no_date_is_not_kept(value: str) -> None:
    assert shifted(value, -3) == ""


@pytest.mark.parametrize("value", ["10", "1015", "101500", "101500.123456", "10:15:00", "0900-1000", "-1000"])
def test_times_stay(value: str) -> None:
    assert kept_time(value) == value


@pytest.mark.parametrize("value", ["", "-", "25", "101500 JOHN", "JOHN", "101500.1234567", "1015-1016-1017", "٢٠"])
def test_what_is_no_time_goes(value: str) -> None:
    assert kept_time(value) == ""


@pytest.mark.parametrize(("value", "out"), [("+0100", "+0100"), ("-0930 ", "-0930"), ("Berlin", ""), ("+9900", "")])
def test_zones(value: str, out: str) -> None:
    assert kept_zone(value) == out


@pytest.mark.parametrize(
    ("age", "out"), [("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("011M", "011M"), ("93", ""), ("JOHN", "")]
)
def test_great_ages_are_capped(age: str, out: str) -> None:
    assert capped_age(age) == out


@pytest.mark.parametrize(
    "text",
    ["SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "Canon Medical Systems", "Philips", "LightSpeed VCT", "SOMATOM Definition AS+",
     "Aquilion ONE", "HiSpeed CT/i", "syngo CT VB20A_SP2", "07MW18.4", "sles_hde.132", "B31f", "Br40d", "FC51", "STANDARD", "LUNG",
     "WINDOW1", "BODY FILTER", "HU", "IV", "Revolution CT", "Ingenuity Core 128", "Brilliance 64", "NAEOTOM Alpha"],
)  # fmt: skip
def test_what_scanners_write_stays(text: str) -> None:
    assert kept_text(text, TEXT_WORDS) == text


@pytest.mark.parametrize(
    "text",
    ["CT_SOM5 SPI", "HELICAL MODE", "CHEST", "SPIRAL", "ISO_10918_1", "ISO 2022 IR 87", "FFDR", "XYZ_EC", "GB18030"],
)
def test_codes_stay(text: str) -> None:
    assert kept_text(text, CODE_WORDS) == text


@pytest.mark.parametrize(
    "text",
    ["Wexelblatt", "WEXELBLATT", "CT of Wexelblatt", "Dr. Li", "Müller", "山田", "078-05-1120", "19330105", "MRN 12345678", "a\\b", "O'Brien",
     "Smith^John", "call 0171 2345678", "LUNG\0WEX", "²²²", "Thu Apr 19 11:14:42 2018", "ABCD1234"],
)  # fmt: skip
def test_anything_else_goes(text: str) -> None:
    assert kept_text(text, TEXT_WORDS) == ""


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=16))
def test_no_unknown_word_is_kept_whatever_stands_around_it(word: str) -> None:
    if word in TEXT_WORDS:
        return
    for text in (word, word.upper(), f"CHEST {word}", f"{word}_1", f"v1.{word}", f"CT-{word}/2"):
        assert kept_text(text, TEXT_WORDS) == ""


def test_only_the_standards_own_uids_are_known() -> None:
    assert is_standard_uid("1.2.840.10008.5.1.4.1.1.2")
    assert not is_standard_uid("1.2.840.10008.19330105.1")


@pytest.mark.parametrize(
    ("count", "multiplicity", "holds"),
    [(1, "1", True), (2, "1", False), (9, "1-n", True), (3, "1-3", True), (4, "2-2n", True)],
)
def test_multiplicities(count: int, multiplicity: str, holds: bool) -> None:
    assert fits(count, multiplicity) is holds
