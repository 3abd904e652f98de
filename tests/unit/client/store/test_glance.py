"""The quick look at a header says the same as a whole reading, or nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from client.receive.intake import _TAGS
from client.store.glance import read_head
from client.store.part10 import read_part10
from protocol.errors import InvalidInputError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.shared import SHARED, needs_shared

LITTLE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def head_of(dataset: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    plain = Dataset({tag: element for tag, element in dataset.items() if tag.group != 2})
    write_dataset(out, plain)
    return bytes(out.getvalue())


def nested(*, undefined: bool, depth: int) -> Sequence:
    item = Dataset()
    item.CodeValue = "X"
    item.is_undefined_length_sequence_item = undefined
    if depth:
        item.ReferencedStudySequence = nested(undefined=undefined, depth=depth - 1)
        item["ReferencedStudySequence"].is_undefined_length = undefined
    return Sequence([item])


@pytest.mark.parametrize("syntax", LITTLE)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("depth", [0, 3])
def test_as_pydicom(syntax: str, undefined: bool, depth: int) -> None:
    dataset = plain_series(1, patient="MÜLLER^X ").dataset(0, SpecificCharacterSet="ISO_IR 100")
    dataset.ReferencedStudySequence = nested(undefined=undefined, depth=depth)
    dataset["ReferencedStudySequence"].is_undefined_length = undefined
    found = read_head(head_of(dataset, syntax), syntax, _TAGS)
    assert found is not None
    whole = read_part10(as_bytes(dataset), pixels=False, tags=_TAGS)
    assert {tag: found.get(tag) for tag in _TAGS} == {tag: whole.get(tag) for tag in _TAGS}
    assert str(found.PatientID) == "MÜLLER^X"


def test_a_head_that_ends_too_early_says_nothing() -> None:
    head = head_of(plain_series(1).dataset(0), ExplicitVRLittleEndian)
    assert read_head(head, ExplicitVRLittleEndian, _TAGS) is not None
    assert read_head(head[:300], ExplicitVRLittleEndian, _TAGS) is None
    assert read_head(b"", ExplicitVRLittleEndian, _TAGS) is None


def test_compressed_images_have_plain_heads_and_two_syntaxes_are_left_alone() -> None:
    head = head_of(plain_series(1).dataset(0), ExplicitVRLittleEndian)
    assert read_head(head, RLELossless, _TAGS) is not None
    assert read_head(head, ExplicitVRBigEndian, _TAGS) is None
    assert read_head(head, DeflatedExplicitVRLittleEndian, _TAGS) is None


def test_deep_nesting_is_left_to_the_whole_reading() -> None:
    dataset = plain_series(1).dataset(0)
    dataset.ReferencedStudySequence = nested(undefined=True, depth=20)
    dataset["ReferencedStudySequence"].is_undefined_length = True
    assert read_head(head_of(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian, _TAGS) is None


@settings(deadline=None)
@given(head=st.binary(max_size=600), syntax=st.sampled_from([*LITTLE, RLELossless, ""]))
def test_noise_never_raises(head: bytes, syntax: str) -> None:
    assert read_head(head, syntax, _TAGS) is None or isinstance(read_head(head, syntax, _TAGS), Dataset)


@settings(deadline=None)
@given(at=st.integers(0, 700), what=st.binary(min_size=1, max_size=4), syntax=st.sampled_from(LITTLE))
def test_damaged_heads_never_raise(at: int, what: bytes, syntax: str) -> None:
    head = bytearray(head_of(plain_series(1).dataset(0), syntax))
    head[at : at + len(what)] = what
    found = read_head(bytes(head), syntax, _TAGS)
    assert found is None or all(tag <= max(map(Tag, _TAGS)) for tag in found.keys())  # noqa: SIM118 - a data set yields elements


@needs_shared
def test_real_files_read_the_same_on_either_way() -> None:
    compared = 0
    for path in sorted((SHARED / "data").rglob("*.dcm")):
        content = path.read_bytes()
        try:
            whole = read_part10(content, pixels=False, tags=_TAGS)
        except InvalidInputError:
            continue
        start = content.find(b"\x08\x00", 132 if content[128:132] == b"DICM" else 0)
        found = read_head(content[start : start + 65_536], str(whole.file_meta.TransferSyntaxUID), _TAGS)
        if found is None:
            continue
        compared += 1
        assert {tag: found.get(tag) for tag in _TAGS} == {tag: whole.get(tag) for tag in _TAGS}, path.name
    assert compared > 25
