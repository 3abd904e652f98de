"""Real files: nothing of their headers is in the copies, their pixels are, and a foreign checker finds no new error."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import pydicom.config
import pytest
from pydicom.dataset import Dataset

from bench.answers.score import spellings
from client.deidentify.export import deidentify_file
from client.deidentify.profile import DEVICE_CODE, PROFILE_CODES
from client.deidentify.pseudonyms import Pseudonyms
from client.deidentify.values import is_standard_uid
from client.deidentify.vocabulary import TEXT_WORDS
from client.store.part10 import read_part10
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.fakes.ct_series import as_bytes
from tests.shared import SHARED, needs_shared

NAMES = Pseudonyms(b"k" * 32)
FOLDERS = ("ct_dicom", "dicom_stress", "covid_ct_slices", "tcga_ct_slices")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("lenient")]
CHECKER = shutil.which("dciodvfy")
OF_EACH_ZIP = 3
WRITTEN_BY_US = (
    set(DEVICE_CODE[1].lower().split())
    | {word for _, text in PROFILE_CODES for word in text.lower().split()}
    | {"acinus"}
)
OF_THE_DEVICE = (
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "FilterType", "WindowCenterWidthExplanation",
    "PositionReferenceIndicator", "ContrastBolusRoute", "RescaleType",
)  # fmt: skip
"""May stay, so that their words are no identifiers in this file."""
NOBODY = {"anonymous", "anonymized", "anonymised", "deidentified", "removed", "noid", "none", "null", "unknown", "name"}
"""Stand where a name was."""


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Old files break rules; what is read here is only searched."""
    monkeypatch.setattr(pydicom.config, "convert_wrong_length_to_UN", True)
    with pydicom.config.disable_value_validation():
        yield


def contents() -> Iterator[tuple[str, bytes]]:
    for folder in FOLDERS:
        for path in sorted((SHARED / "data" / folder).rglob("*")):
            if path.suffix == ".zip":
                with ZipFile(path) as packed:
                    names = [name for name in packed.namelist() if not name.endswith("/")]
                    yield from (
                        (f"{path.name}/{name}", packed.read(name))
                        for name in names[:: max(1, len(names) // OF_EACH_ZIP)]
                    )
            elif path.suffix == ".dcm":
                yield f"{folder}/{path.name}", path.read_bytes()


@cache
def copies() -> tuple[dict[str, tuple[bytes, bytes]], Counter[Code]]:
    """Source and copy by name, and how many were refused by code."""
    made, refused = {}, Counter[Code]()
    for name, content in contents():
        try:
            made[name] = content, deidentify_file(content, NAMES)[1]
        except InvalidInputError as refusal:
            refused[refusal.code] += 1
    return made, refused


@needs_shared
def test_what_passes_and_what_does_not() -> None:
    made, refused = copies()
    assert len(made) > 40
    assert set(refused) == {Code.NOT_CT, Code.SECONDARY_CAPTURE, Code.STRUCTURED_REPORT, Code.SCREEN, Code.UNREADABLE}


@needs_shared
def test_pixels_are_the_same_bit_for_bit() -> None:
    made, _ = copies()
    syntaxes = set()
    for name, (source, copy) in made.items():
        before, after = read_part10(source, pixels=True), read_part10(copy, pixels=True)
        assert after.PixelData == before.PixelData, name
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID, name
        syntaxes.add(str(after.file_meta.TransferSyntaxUID))
    assert len(syntaxes) >= 8


@needs_shared
def test_no_name_number_uid_or_text_of_the_source_is_in_the_copy() -> None:
    made, _ = copies()
    searched = 0
    for name, (source, copy) in made.items():
        head = header(copy)
        for identifier in set(identifiers(read_part10(source, pixels=False), read_part10(copy, pixels=False))):
            searched += 1
            assert not [spelling for spelling in spellings(identifier) if spelling in head], name
    assert searched > 500


@needs_shared
def test_every_date_is_another_one_and_no_private_attribute_is_left() -> None:
    made, _ = copies()
    moved = 0
    for name, (source, copy) in made.items():
        before, after = read_part10(source, pixels=False), read_part10(copy, pixels=False)
        assert not any(element.tag.is_private for element in after.iterall()), name
        for element in after.iterall():
            if element.VR in {"DA", "DT"} and element.value and element.tag in before:
                assert str(element.value)[:8] != str(before[element.tag].value)[:8], name
                moved += 1
    assert moved > 100


def header(content: bytes) -> bytes:
    """The bytes before the pixel data: 512 kB of pixels hold any four bytes by chance."""
    dataset = read_part10(content, pixels=True)
    return content.replace(dataset.PixelData, b"")


def identifiers(dataset: Dataset, copy: Dataset) -> Iterator[str]:
    """Whatever tells of a person, a place or an occasion: names, numbers, UIDs and the words of every text, private ones too."""
    meanings = [
        element.value for element in copy.iterall() if element.keyword == "CodeMeaning"
    ]  # the dictionary's, not the source's
    kept = {word.lower() for value in (*meanings, *map(dataset.get, OF_THE_DEVICE)) for word in words(value)}
    for element in dataset.iterall():
        if element.VR == "UI":
            yield from (uid for uid in texts(element.value) if uid and not is_standard_uid(uid))
        elif element.VR in {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE"}:
            yield from (word for word in words(element.value) if word.lower() not in kept and tells(word, element.VR))


def words(value: object) -> set[str]:
    return {word for text in texts(value) for word in re.split(r"[^\w]+", text)}


def tells(word: str, vr: str) -> bool:
    """Long enough not to stand in a keyed UID by chance, and no word that a copy may hold."""
    known = word.lower() in TEXT_WORDS | NOBODY | WRITTEN_BY_US
    return not known and len(word) >= (5 if vr == "PN" else 7) and not (word.isdigit() and len(word) < 9)


def texts(value: object) -> list[str]:
    many = (
        value
        if not isinstance(value, str) and hasattr(value, "__iter__") and type(value).__name__ == "MultiValue"
        else [value]
    )
    return [str(one) for one in many]  # type: ignore[attr-defined]


@needs_shared
@pytest.mark.skipif(CHECKER is None, reason="dicom3tools is not installed")
def test_no_new_error_by_a_foreign_checker(tmp_path: Path) -> None:
    made, _ = copies()
    for name, (source, copy) in made.items():
        before = errors(source, tmp_path)
        if any(
            "not valid DICOM" in line for line in before
        ):  # it stops at a damaged private attribute, which no copy has
            plain = read_part10(source, pixels=True)
            plain.remove_private_tags()
            before = errors(as_bytes(plain), tmp_path)
        assert errors(copy, tmp_path) - before == set(), name


def errors(content: bytes, folder: Path) -> set[str]:
    """What dciodvfy calls an error, without the values that we replace."""
    path = folder / "checked.dcm"
    path.write_bytes(content)
    said = subprocess.run(
        [str(CHECKER), "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (said.stdout + said.stderr).splitlines()
    return {re.sub(r"<[\d.]{8,}>", "<uid>", line) for line in lines if line.startswith("Error")}
