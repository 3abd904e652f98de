"""Whatever a data set holds: what was planted in it is not in the copy, and copies of one patient fit together."""

import struct
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import pydicom.config
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from bench.answers.score import spellings
from client.deidentify.engine import deidentify
from client.deidentify.export import deidentify_file
from client.deidentify.profile import _SEQUENCES, Options
from client.deidentify.pseudonyms import Pseudonyms
from client.deidentify.vocabulary import ETHNIC_WORDS, TEXT_WORDS
from client.store.part10 import read_part10
from protocol.errors import InvalidInputError
from tests.fakes.ct_series import plain_series

NAMES = Pseudonyms(b"k" * 32)
TEXTS = (
    "LO",
    "SH",
    "ST",
    "LT",
    "UT",
    "UC",
    "UR",
    "PN",
    "AE",
    "CS",
    "DA",
    "DT",
    "TM",
    "AS",
    "UI",
    "DS",
    "IS",
    "OB",
    "OW",
    "UN",
)
PLACES = sorted(entry[4] for tag, entry in DicomDictionary.items() if entry[0] in TEXTS and entry[4] and tag >> 16 > 4)
ANY_SEQUENCE = sorted(
    entry[4] for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and entry[4] and tag >> 16 > 4
)
UNICODE = ("ISO_IR 192", "GB18030")
CHARACTER_SETS = (*UNICODE, "ISO_IR 100", "ISO_IR 144", "ISO_IR 126", "nonsense", "")
WORDS = st.one_of(
    st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=14),
    st.text(alphabet="абвгдежзиклмнопрст", min_size=6, max_size=10),
    st.text(alphabet="αβγδεζηθικλμνξοπρστυ", min_size=6, max_size=10),
    st.text(alphabet="山田太郎高橋佐藤鈴木", min_size=4, max_size=6),
    st.text(alphabet="äöüéèñßçøåabc", min_size=6, max_size=10),
).filter(lambda word: word.lower() not in TEXT_WORDS | ETHNIC_WORDS)  # fmt: skip
NUMBERS = st.integers(10**10, 10**13).map(str)

few = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@st.composite
def hiding(draw: st.DrawFn, word: str, number: str) -> Dataset:
    """A data set with `word` and `number` in attributes of any kind, some in sequences, some in a wrong VR, some private."""
    ds = Dataset()
    for _ in range(draw(st.integers(1, 6))):
        keyword = draw(st.sampled_from(PLACES))
        tag = tag_for_keyword(keyword) or 0
        vr = draw(st.sampled_from([dictionary_VR(tag)] * 3 + ["LO", "UT", "CS"]))
        ds.add_new(tag, vr.split(" or ")[0], planted(draw, vr, word, number))
    if draw(st.booleans()):
        block = ds.private_block(draw(st.sampled_from([0x0009, 0x0029, 0x7FE1])), "MAKER", create=True)
        vr = draw(st.sampled_from(["LO", "UN", "OB", "UT"]))
        block.add_new(draw(st.integers(0, 255)), vr, planted(draw, vr, word, number))
    if draw(st.integers(0, 2)):
        keyword = draw(
            st.sampled_from(
                [*sorted(_SEQUENCES), *draw(st.lists(st.sampled_from(ANY_SEQUENCE), min_size=3, max_size=3))]
            )
        )
        setattr(ds, keyword, Sequence([draw(hiding(word, number))]))
    return ds


def planted(draw: st.DrawFn, vr: str, word: str, number: str) -> Any:
    if vr in {"DS", "IS"}:
        return number
    text = draw(
        st.sampled_from(
            [word, number, word.upper(), f"{word}^{number}", f"CHEST {word}", f"{word} 1.2", f"20200101{word}"]
        )
    )
    return text.encode() if vr in {"OB", "OW", "UN"} else text


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, bytes]:
    word, number = draw(WORDS), draw(NUMBERS)
    with pydicom.config.disable_value_validation():
        dataset = plain_series(1).dataset(0)
        dataset.SpecificCharacterSet = draw(st.sampled_from(CHARACTER_SETS if word.isascii() else UNICODE))
        keep = dataset["PixelData"], dataset["SOPClassUID"], dataset["Modality"]
        dataset.update(draw(hiding(word, number)))
        for element in keep:
            dataset.add(element)
        dataset.PatientID, dataset.PatientName = (
            number,
            f"{word}^{draw(WORDS) if dataset.SpecificCharacterSet in UNICODE else word}",
        )
        dataset.file_meta.SourceApplicationEntityTitle = "CALLER"
        dataset.preamble = word.encode()[:128].ljust(128, b"\0")
        return word, number, written(dataset, implicit=draw(st.booleans()))


def written(dataset: FileDataset, *, implicit: bool) -> bytes:
    out = BytesIO()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    copy = FileDataset(
        out, Dataset(dataset), file_meta=dataset.file_meta, preamble=dataset.preamble, is_implicit_VR=implicit
    )
    try:
        copy.save_as(out, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OSError, struct.error):
        reject()  # not what a sender could have written
    return out.getvalue()


@few
@pytest.mark.filterwarnings("ignore")
@given(files(), st.booleans())
def test_nothing_that_was_planted_is_in_the_copy(file: tuple[str, str, bytes], keep_device: bool) -> None:
    word, number, content = file
    copy, refusal = outcome(content, Options(keep_device=keep_device))
    event("refused" if refusal else "copied")
    assert not (refusal and (word in refusal or number in refusal))
    for identifier in (word, number):
        assert not [spelling for spelling in spellings(identifier) if spelling in copy]
    assert copy[:128] == bytes(128)[: len(copy)]


@pytest.mark.slow
@few
@pytest.mark.filterwarnings("ignore")
@given(files())
def test_a_copy_of_a_copy_has_the_same_structure(file: tuple[str, str, bytes]) -> None:
    once, refusal = outcome(file[2], Options())
    if refusal:
        return
    _, twice = deidentify_file(once, NAMES)
    assert structure(read_part10(once, pixels=True)) == structure(read_part10(twice, pixels=True))


@pytest.mark.slow
@few
@pytest.mark.filterwarnings("ignore")
@given(files(), st.dates(date(1901, 1, 1), date(2090, 1, 1)), st.integers(1, 3000))
def test_two_files_of_one_patient_fit_together(file: tuple[str, str, bytes], day: date, later: int) -> None:
    with pydicom.config.disable_value_validation():
        first = read_part10(file[2], pixels=True)
        second = plain_series(1, study="another").dataset(0, PatientID=first.PatientID)
        second.IssuerOfPatientID = str(first.get("IssuerOfPatientID") or "")
        first.StudyDate, second.StudyDate = written_day(day), written_day(day + timedelta(days=later))
        second.FrameOfReferenceUID = first.FrameOfReferenceUID
        try:
            one, two = deidentify(first, NAMES), deidentify(second, NAMES)
        except (InvalidInputError, ValueError):
            return
    assert one.PatientID == two.PatientID == str(one.PatientName)
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert (read_day(two.StudyDate) - read_day(one.StudyDate)).days == later


def outcome(content: bytes, options: Options) -> tuple[bytes, str]:
    """The copy, or what the refusal says; any other exception fails the test."""
    try:
        return deidentify_file(content, NAMES, options)[1], ""
    except InvalidInputError as refusal:
        return b"", str(refusal)


def structure(dataset: Dataset) -> list[Any]:
    return [
        (
            int(element.tag),
            element.VR,
            [structure(item) for item in element.value] if element.VR == "SQ" else element.VM,
        )
        for element in dataset
    ]


def written_day(day: date) -> str:
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def read_day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
