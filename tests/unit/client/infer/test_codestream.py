"""The size that a compressed frame claims: read right from real encoders, never believed from bombs, and no byte string hangs it."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.encaps import get_frame
from pydicom.filereader import dcmread
from pydicom.uid import JPEGLSLossless

from client.infer.codestream import claimed_size
from tests.fakes.ct_series import plain_series
from tests.shared import SHARED, needs_shared


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def start_of_frame(rows: int, columns: int, marker: int = 0xC3) -> bytes:
    return segment(marker, struct.pack(">BHHB", 12, rows, columns, 1) + b"\x01\x11\x00")


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xda" + bytes(16)


def siz(
    width: int,
    height: int,
    *,
    left: int = 0,
    top: int = 0,
    tile: tuple[int, int] | None = None,
    tile_at: tuple[int, int] = (0, 0),
    parts: int = 1,
) -> bytes:
    tile_width, tile_height = tile or (width, height)
    body = struct.pack(">H8IH", 0, width, height, left, top, tile_width, tile_height, *tile_at, parts) + bytes(3)
    return b"\xff\x4f" + segment(0x51, body)


def jp2(*boxes: tuple[bytes, bytes]) -> bytes:
    signature = b"\0\0\0\x0cjP  \r\n\x87\n"
    return signature + b"".join(struct.pack(">I", len(content) + 8) + kind + content for kind, content in boxes)


def test_what_an_encoder_writes() -> None:
    dataset = plain_series(1, 32).dataset(0)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    assert claimed_size(get_frame(dataset.PixelData, 0, number_of_frames=1)) == (32, 32)


@needs_shared
@pytest.mark.parametrize(
    "name",
    [
        "cs_CTImage_JPEG2000LosslessOnly_1.2.840.10008.1.2.4.90", "cs_CTImage_JPEGLSLossless_1.2.840.10008.1.2.4.80",
        "cs_CTImage_JPEGProcess14SV1_1.2.840.10008.1.2.4.70", "wg04_CT1_J2KR", "barre_CT_chest_JPEG70", "ms_I341", "explicit_VR-UN",
    ],
)  # fmt: skip
def test_real_frames_claim_what_their_headers_say(name: str) -> None:
    dataset = dcmread(SHARED / "data" / "dicom_stress" / f"{name}.dcm")
    assert claimed_size(get_frame(dataset.PixelData, 0, number_of_frames=1)) == (dataset.Rows, dataset.Columns)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC3, 0xC7, 0xCF, 0xF7])
def test_rows_come_before_columns(marker: int) -> None:
    assert claimed_size(jpeg(segment(0xE0, b"JFIF"), start_of_frame(400, 512, marker))) == (400, 512)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_tables_are_no_frames(marker: int) -> None:
    assert claimed_size(jpeg(start_of_frame(9999, 9999, marker), start_of_frame(4, 5))) == (4, 5)


def test_fill_bytes_before_a_marker() -> None:
    assert claimed_size(jpeg(b"\xff\xff" + start_of_frame(4, 5))) == (4, 5)


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\xff\xd8", jpeg(), jpeg(start_of_frame(4, 5))[:10], jpeg(b"\x00" + start_of_frame(4, 5)),
        jpeg(segment(0xF8, b"\x04\x03" + struct.pack(">II", 70_000, 70_000)), start_of_frame(4, 5, 0xF7)),
        b"\xff\xd8" + jpeg(start_of_frame(4, 5)), siz(8, 8)[:30], b"PNG", jp2((b"ftyp", b"jp2 ")), jp2((b"jp2c", b"no stream here")),
    ],
)  # fmt: skip
def test_no_claim_that_can_be_trusted(frame: bytes) -> None:
    assert claimed_size(frame) is None


def test_jpeg_ls_tables_before_the_frame_are_passed_over() -> None:
    preset = segment(0xF8, b"\x01" + bytes(10))
    assert claimed_size(jpeg(preset, start_of_frame(4, 5, 0xF7))) == (4, 5)


def test_jpeg_2000_counts_from_the_image_offset() -> None:
    assert claimed_size(siz(600, 500, left=88, top=100)) == (400, 512)


@pytest.mark.parametrize(
    "bomb",
    [
        siz(512, 512, tile=(1, 1)), siz(512, 512, tile=(0, 512)), siz(512, 512, parts=0), siz(512, 512, parts=16_384),
        siz(512, 512, left=512), siz(512, 512, top=600),
    ],
)  # fmt: skip
def test_jpeg_2000_bombs_claim_nothing(bomb: bytes) -> None:
    assert claimed_size(bomb) is None


def test_a_few_tiles_are_usual() -> None:
    assert claimed_size(siz(512, 512, tile=(128, 128))) == (512, 512)


def test_a_wrapped_codestream_counts_not_a_decoy_before_it() -> None:
    wrapped = jp2((b"ftyp", b"jp2 \0\0\0\0"), (b"xml ", siz(4, 4)), (b"jp2c", siz(60_000, 60_000)))
    assert claimed_size(wrapped) == (60_000, 60_000)


def test_a_wrapped_codestream_with_a_long_length() -> None:
    stream = siz(6, 5)
    assert claimed_size(jp2() + struct.pack(">I4sQ", 1, b"jp2c", len(stream) + 16) + stream) == (5, 6)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xc4", b"\xff\x4f\xff\x51", jp2()]))
@example(bytes(8), jp2())
@example(b"\0\0", b"\xff\xd8\xff\xe0")
def test_any_bytes_end(rest: bytes, start: bytes) -> None:
    size = claimed_size(start + rest)
    assert size is None or min(size) >= 0
