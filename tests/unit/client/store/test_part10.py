"""Reading DICOM files: hostile bytes end in a code, never in an exception of another kind, never in a flood."""

import errno
import logging
import struct
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from client.store.part10 import coded, dataset_sha256, read_part10, with_clean_preamble
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of
from tests.shared import SHARED, needs_shared

ONE = as_bytes(plain_series(1, 16).dataset(0))


def meta(syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element)) + element


def test_header_alone_and_with_pixels() -> None:
    assert "PixelData" not in read_part10(ONE, pixels=False)
    assert len(read_part10(ONE, pixels=True).PixelData) == 512
    assert set(read_part10(ONE, pixels=False, tags=["Modality"]).dir()) <= {"Modality", "SpecificCharacterSet"}


def test_from_a_path_as_from_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(ONE)
    assert read_part10(path, pixels=True) == read_part10(ONE, pixels=True)


def test_deflated_reads_like_plain() -> None:
    dataset = plain_series(1, 16).dataset(0)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert read_part10(as_bytes(dataset), pixels=True).PixelData == dataset.PixelData


def test_without_preamble_the_syntax_is_told() -> None:
    dataset = plain_series(1, 16).dataset(0)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    whole = as_bytes(dataset)
    bare = whole[whole.index(b"\x08\x00\x08\x00") :]
    read = read_part10(bare, pixels=True)
    assert read.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert read.PixelData == dataset.PixelData


@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4" + bytes(500), b"\x89PNG\r\n" + bytes(500), bytes(132), b"\x1f\x8b" + bytes(200)]
)
def test_what_is_no_dicom_is_unreadable(content: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_part10(content, pixels=False)
    assert caught.value.code is Code.UNREADABLE


def test_a_deflate_bomb_is_refused_before_it_grows() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    bomb = meta(DeflatedExplicitVRLittleEndian) + packed
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    with pytest.raises(InvalidInputError) as caught:
        read_part10(bomb, pixels=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is Code.UNREADABLE
    assert peak < 300 << 20


def test_nesting_20000_deep_is_unreadable_or_read() -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    deep = meta("1.2.840.10008.1.2.1") + (sequence + item) * 20_000
    with pytest.raises(InvalidInputError) as caught:
        read_part10(deep, pixels=True)
    assert caught.value.code is Code.UNREADABLE


def test_a_program_in_the_preamble_is_zeroed() -> None:
    polyglot = b"MZ" + b"\x90" * 126 + ONE[128:]
    assert with_clean_preamble(polyglot) == ONE
    assert with_clean_preamble(b"\x08\x00bare") == b"\x08\x00bare"


def test_the_hash_is_of_the_data_set_only() -> None:
    dataset = plain_series(1, 16).dataset(0)
    dataset.file_meta.SourceApplicationEntityTitle = "OTHER"
    assert dataset_sha256(as_bytes(dataset)) == dataset_sha256(ONE)
    dataset.InstanceNumber = 99
    assert dataset_sha256(as_bytes(dataset)) != dataset_sha256(ONE)
    assert len(dataset_sha256(b"not dicom")) == 64


def test_no_value_of_the_header_is_in_a_message_or_its_chain() -> None:
    with pytest.raises(InvalidInputError) as caught, coded():
        raise ValueError("invalid PatientName CANARY^NAME")
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_that_cannot_be_opened_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused as damaged it would stay so; the next try reads it."""
    path = tmp_path / "one.dcm"
    path.write_bytes(ONE)
    with monkeypatch.context() as crowded:
        crowded.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "Too many open files")))
        for read in (partial(read_part10, pixels=False), dataset_sha256):
            with pytest.raises(UnavailableError) as raised:
                read(path)
            assert raised.value.code is Code.NODE_FAULT
    assert read_part10(path, pixels=False).Modality == "CT"


def test_neither_headers_nor_names_of_files_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """pydicom logs the name of a truncated file, and file names are often patients'."""
    logging.getLogger("pydicom").setLevel(logging.WARNING)
    path = tmp_path / "CANARY^NAME.dcm"
    path.write_bytes(ONE[:-100])
    code_of(lambda: read_part10(path, pixels=True))
    with coded():
        logging.getLogger("pydicom").warning("Invalid value for VR PN: CANARY^NAME")
    assert "CANARY" not in caplog.text


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutants_are_read_or_coded(data: st.DataObject) -> None:
    mutant = bytearray(ONE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(128, len(mutant) - 1))
        match data.draw(st.sampled_from(["set", "cut", "insert", "swap"])):
            case "set":
                mutant[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0xFE]))
            case "cut":
                del mutant[at : at + data.draw(st.integers(1, 40))]
                mutant.extend(bytes(200)) if len(mutant) < 300 else None
            case "insert":
                mutant[at:at] = data.draw(st.binary(max_size=12))
            case _:
                mutant[at : at + 4] = b"\xff\xff\xff\xff"
    assert code_of(lambda: read_part10(bytes(mutant), pixels=True)) in {None, Code.UNREADABLE}


@needs_shared
def test_every_stress_file_is_read_or_coded() -> None:
    for path in sorted((SHARED / "data" / "dicom_stress").glob("*.dcm")):
        assert code_of(partial(read_part10, path, pixels=True)) in {None, Code.UNREADABLE}, path.name
