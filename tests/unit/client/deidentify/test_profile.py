"""Every row of table E.1-1 is obeyed, and the Types by which its compound codes are resolved are those of the standard."""

import json
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from client.deidentify.coded import CODE_KEYWORDS
from client.deidentify.engine import deidentify
from client.deidentify.profile import _SEQUENCES, Action, Options, Profile, types_of, words_of
from client.deidentify.pseudonyms import Pseudonyms
from client.deidentify.table import Row, confidentiality_table
from client.deidentify.values import shifted
from client.deidentify.vocabulary import CODE_WORDS
from tests.fakes.ct_series import plain_series

NAMES = Pseudonyms(b"k" * 32)
CANARY = "Wexelblatt"
NUMBERED = [tag for tag in confidentiality_table().rows if tag.isalnum() and "x" not in tag and tag != "private"]
BASE = plain_series(1).dataset(0)
DAYS = NAMES.shift_days(str(BASE.PatientID))
PLAIN: dict[str, Any] = {
    "DA": "20200229", "DT": "20200229101500+0100", "TM": "101500", "UI": "1.2.3.4.5", "AS": "050Y", "CS": "YES", "DS": "4711.5", "IS": "4711",
    "US": 3, "FD": 1.5, "OB": CANARY.encode(), "UN": CANARY.encode(), "AE": "WEXELBLATT", "UR": f"https://{CANARY}.example",
}  # fmt: skip


def planted(tag: int) -> DataElement:
    """An element that tells of its patient as much as its VR allows."""
    vr = dictionary_VR(tag)
    if vr != "SQ":
        return DataElement(tag, vr, PLAIN.get(vr, CANARY))
    item = Dataset()
    item.PatientName, item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CANARY, BASE.SOPClassUID, "1.2.3.4.5"
    return DataElement(tag, "SQ", Sequence([item]))


def with_planted(tag: int, *, enhanced: bool = False) -> FileDataset:
    dataset = plain_series(1).dataset(0)
    if enhanced:
        dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.add(planted(tag))
    return dataset


def says_the_basic_profile(code: str, element: DataElement, left: DataElement | None, required: int) -> bool:
    """Whether `left` is what the letters of `code` leave of `element`, written from PS3.15 table E.1-1a."""
    letters = code.split("/")
    if letters == ["U"]:
        return left is not None and left.value == NAMES.uid(element.value)
    if "U*" in letters:
        return (
            left is not None
            and left.value[0].ReferencedSOPInstanceUID == NAMES.uid("1.2.3.4.5")
            and "PatientName" not in left.value[0]
        )
    if required == 1 and "D" in letters:
        return left is not None and bool(left.value) and CANARY not in str(left.value)
    if required < 3:
        return left is not None and not left.value
    return left is None


@pytest.mark.parametrize("enhanced", [False, True])
def test_every_row_is_obeyed(enhanced: bool) -> None:
    assert len(NUMBERED) == 617
    for tag in NUMBERED:
        check_row(tag, enhanced)


def check_row(tag: str, enhanced: bool) -> None:
    number, row = int(tag, 16), confidentiality_table().rows[tag]
    element = planted(number)
    if number >> 16 in {0x0000, 0x0002, 0x0004}:
        action = Profile(confidentiality_table(), Options()).action(number, element.keyword, element.VR)
        assert action is Action.REMOVE, "not of a data set"
        return
    if element.keyword in {"SOPInstanceUID", "PatientName", "PatientID", "EncapsulatedDocument"}:
        return  # the first three have tests of their own, the last is refused
    dataset = with_planted(number, enhanced=enhanced)
    after = deidentify(dataset, NAMES)
    left = after.get(number)
    required = types_of(dataset.SOPClassUID).get(element.keyword, 3)
    if "modified-dates" in row.options and element.VR in {"DA", "DT", "TM"}:
        expected = element.value if element.VR == "TM" else shifted(element.value, DAYS)
        assert left is not None
        assert left.value == expected
    elif row.options.get("characteristics") == "K" and element.VR != "SH":
        assert left is not None, "a characteristic of the patient stays"
    else:
        assert says_the_basic_profile(row.basic, element, left, required), (element.keyword, row.basic, left)
    assert CANARY not in str(after)


@pytest.mark.parametrize(
    ("code", "by_type"),
    [
        ("X", {1: Action.REMOVE, 2: Action.REMOVE, 3: Action.REMOVE}),
        ("Z", {1: Action.EMPTY, 2: Action.EMPTY, 3: Action.REMOVE}),
        ("D", {1: Action.DUMMY, 2: Action.DUMMY, 3: Action.REMOVE}),
        ("X/Z", {1: Action.EMPTY, 2: Action.EMPTY, 3: Action.REMOVE}),
        ("X/D", {1: Action.DUMMY, 2: Action.DUMMY, 3: Action.REMOVE}),
        ("X/Z/D", {1: Action.DUMMY, 2: Action.EMPTY, 3: Action.REMOVE}),
        ("Z/D", {1: Action.DUMMY, 2: Action.EMPTY, 3: Action.REMOVE}),
        ("U", {1: Action.REPLACE_UID, 2: Action.REPLACE_UID, 3: Action.REPLACE_UID}),
        ("X/Z/U*", {1: Action.DESCEND, 2: Action.DESCEND, 3: Action.DESCEND}),
    ],
)
def test_how_letters_are_resolved_by_type(code: str, by_type: dict[int, Action]) -> None:
    table = confidentiality_table()
    alone = Profile(type(table)("test", {"00080080": Row(code, {})}), Options())
    assert {kind: alone.action(0x00080080, "InstitutionName", "LO", kind) for kind in (1, 2, 3)} == by_type


def test_the_device_stays_only_where_it_is_asked_for() -> None:
    table = confidentiality_table()
    for tag, row in table.rows.items():
        if row.options.get("device") != "K":
            continue
        number = int(tag, 16)
        words = number, keyword_for_tag(number), dictionary_VR(number)
        kept, usual = (Profile(table, Options(keep_device=keep)).action(*words) for keep in (True, False))
        assert kept in {Action.KEEP_VERBATIM, Action.SHIFT, Action.DESCEND}
        assert usual in {Action.REMOVE, Action.SHIFT, Action.REPLACE_UID}


@pytest.mark.parametrize("vr", ["LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "UR", "OB", "OW", "UN", "SQ"])
def test_what_neither_the_table_nor_we_name_goes_if_it_can_hold_text(vr: str) -> None:
    profile = Profile(confidentiality_table(), Options())
    assert profile.action(0x00200011, "SomethingNew", vr) is Action.REMOVE


def test_ethnic_groups_stay_as_known_words() -> None:
    assert {"white", "asian"} <= words_of("EthnicGroup", "SH")
    assert not {"black", "brown"} & CODE_WORDS, "names of people, unless they stand for a group"


# The Types, against the module tables that highdicom carries.

IODS = {"ct-image": False, "enhanced-ct-image": True, "legacy-converted-enhanced-ct-image": True}


@cache
def standard(name: str) -> Any:
    return json.loads(pkgutil.get_data("highdicom", f"_standard/{name}.json") or b"")


def demanded(iod: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Attributes of mandatory modules that are Type 1 or 2: keyword, Type and the sequences that they stand in."""
    for module in standard("iod_module_map")[iod]:
        for attribute in standard("module_attribute_map").get(module["key"], []):
            mandatory = module["usage"] == "M" or module["key"] == "contrast-bolus"
            if mandatory and attribute["type"] in {"1", "2"}:
                yield attribute["keyword"], attribute["type"], tuple(attribute["path"])


@pytest.mark.parametrize("iod", list(IODS))
def test_every_attribute_that_a_ct_demands_and_the_table_empties_has_its_type(iod: str) -> None:
    rows = {keyword_for_tag(int(tag, 16)): confidentiality_table().rows[tag] for tag in NUMBERED}
    types = types_of(EnhancedCTImageStorage if IODS[iod] else "1.2.840.10008.5.1.4.1.1.2")
    found = set(demanded(iod))
    assert len(found) > 100
    for keyword, kind, path in found:
        row = rows.get(keyword)
        if (
            row is None
            or keyword in CODE_KEYWORDS
            or not set(path) <= _SEQUENCES
            or {"U", "U*"} & set(row.basic.split("/"))
        ):
            continue
        kept = "modified-dates" in row.options
        assert kept or (not path and types.get(keyword) == int(kind)), (keyword, kind, path)
