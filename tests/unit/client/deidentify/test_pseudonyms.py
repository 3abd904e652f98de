"""Pseudonyms: stable under one key, unlinkable under another, apart by kind."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.deidentify.pseudonyms import Pseudonyms, load_pseudonyms, make_key, random_pseudonyms
from protocol.codes import Code
from protocol.errors import ConflictError, UnavailableError

HERE, THERE = Pseudonyms(bytes(32)), Pseudonyms(b"\1" * 32)
TEXT = st.text(max_size=64)


@given(TEXT)
def test_names_are_32_hex_digits_and_differ_by_kind_and_site(value: str) -> None:
    names = [HERE.study_key(value), HERE.case_id(value), HERE.subject_key("x" + value), THERE.study_key(value)]
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
    assert len(set(names)) == 4
    assert HERE.study_key(value) == names[0]


@given(TEXT)
def test_uids_are_valid(value: str) -> None:
    uid = HERE.uid(value)
    assert len(uid) <= 64
    assert uid.startswith("2.25.")
    assert uid[5:].isdigit()
    assert not uid[5:].startswith("0") or uid[5:] == "0"


@given(TEXT)
def test_dates_move_back_by_a_day_to_a_year(value: str) -> None:
    assert -365 <= HERE.shift_days(value) <= -1


def test_patients_without_a_number_are_one() -> None:
    assert HERE.subject_key("") == HERE.subject_key("  ", "HOSPITAL") != HERE.subject_key("1")


def test_the_issuer_tells_equal_numbers_apart() -> None:
    assert HERE.subject_key("1", "A") != HERE.subject_key("1", "B")


def test_the_key_is_made_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "pseudonym.key"
    make_key(path)
    assert len(load_pseudonyms(path).key) == 32
    with pytest.raises(ConflictError):
        make_key(path)


@pytest.mark.parametrize("content", [None, "", "zz", "00" * 31])
def test_a_damaged_key_is_no_key(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "pseudonym.key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UnavailableError) as caught:
        load_pseudonyms(path)
    assert caught.value.code is Code.MISSING_CERTIFICATE


def test_forgotten_keys_differ() -> None:
    assert random_pseudonyms() != random_pseudonyms()
