"""Hostile files by name: bytes and the codes in which reading them may end (`None` for a volume that is whole after all).

Made by code, so that everybody sees what is wrong with them. `regressions/` holds what fuzzing found, as it was found.
"""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series

REGRESSIONS = Path(__file__).parent / "regressions"

Case = tuple[bytes | Callable[[], bytes], set[Code | None]]
"""What is large before it is packed is made when it is asked for (`content`), not while tests are collected."""

UNREADABLE = {Code.UNREADABLE}
ANY = {None, Code.UNREADABLE, Code.NOT_CT, Code.NOT_HU, Code.LOCALIZER, Code.UNSUPPORTED_TRANSFER_SYNTAX}


def base(**changes: object) -> FileDataset:
    with config.disable_value_validation():
        return plain_series(1, 32).dataset(0, **changes)


def plain(**changes: object) -> bytes:
    with config.disable_value_validation():
        return as_bytes(base(**changes))


def with_pixels(syntax: str, frames: list[bytes], **changes: object) -> bytes:
    dataset = base(**changes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return as_bytes(dataset)


def packed(syntax: str) -> bytes:
    dataset = base()
    dataset.compress(syntax, generate_instance_uid=False)
    return as_bytes(dataset)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) >= 1, old
    return content.replace(old, new, 1)


def deflated(content: bytes) -> bytes:
    """A deflated data set that unpacks to `content`, whatever that is."""
    dataset = base()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = as_bytes(dataset)
    meta_end = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return whole[:meta_end] + packer.compress(content) + packer.flush()


def nested(depth: int) -> bytes:
    """A sequence in a sequence in a sequence, in the midst of a header."""
    opened = b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    content = plain()
    at = content.index(b"\x08\x00\x60\x00CS")
    return content[:at] + opened * depth + closed * depth + content[at:]


def element_with(content: bytes, tag: bytes, length: bytes) -> bytes:
    at = content.index(tag) + 6
    return content[:at] + length + content[at + len(length) :]


def j2k(width: int, height: int, tile: int) -> bytes:
    siz = struct.pack(">HHIIIIIIIIH", 41, 0, width, height, 0, 0, tile, tile, 0, 0, 1) + b"\x0f\x01\x01"
    return b"\xff\x4f\xff\x51" + siz + b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x05\x04\x04\x00\x01\xff\xd9"


def jpeg(marker: int, rows: int, columns: int) -> bytes:
    return (
        b"\xff\xd8"
        + struct.pack(">BBHBHHB", 0xFF, marker, 11, 16, rows, columns, 1)
        + b"\1\x11\0\xff\xda\0\x08\1\1\0\0\x3f\0"
        + bytes(64)
    )


def rle(segments: int, offsets: list[int], body: bytes) -> bytes:
    return struct.pack("<16L", segments, *(offsets + [0] * 15)[:15]) + body


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def nifti(shape: tuple[int, ...] | None = None, datatype: int | None = None, offset: float | None = None) -> bytes:
    raw = bytearray(Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes())
    if shape is not None:
        raw[40:56] = struct.pack("<8h", len(shape), *(shape + (1,) * 7)[:7])
    if datatype is not None:
        raw[70:72] = struct.pack("<h", datatype)
    if offset is not None:
        raw[108:112] = struct.pack("<f", offset)
    return bytes(raw)


@cache
def corpus() -> dict[str, Case]:
    cases = {
        **headers(), **deflate(), **polyglots(), **frames(), **archives(), **series(), **volumes(), **truncated()
    }  # fmt: skip
    kept = {path.name: (path.read_bytes(), ANY) for path in sorted(REGRESSIONS.glob("*"))}
    return cases | kept


def content(case: Case) -> bytes:
    """The file itself."""
    return case[0] if isinstance(case[0], bytes) else case[0]()


def headers() -> dict[str, Case]:
    rows_as_ul = replaced(plain(), b"\x28\0\x10\0US\2\0\x20\0", b"\x28\0\x10\0UL\4\0\xff\xff\xff\xff")
    return {
        "rows-and-columns.dcm": (plain(Rows=65_535, Columns=65_535), UNREADABLE),
        "rows-as-ul.dcm": (rows_as_ul, UNREADABLE),
        "no-rows.dcm": (plain(Rows=0), UNREADABLE),
        "frames-many.dcm": (plain(NumberOfFrames="2147483647"), UNREADABLE),
        "frames-beyond-int.dcm": (plain(NumberOfFrames="9" * 30), UNREADABLE),
        "frames-negative.dcm": (plain(NumberOfFrames="-1"), UNREADABLE),
        "frames-a-word.dcm": (replaced(plain(NumberOfFrames="4096"), b"4096", b"many"), UNREADABLE),
        "bits-absurd.dcm": (plain(BitsAllocated=65_535, BitsStored=65_535), UNREADABLE),
        "length-4g.dcm": (element_with(plain(), b"\x08\0\x60\0CS", b"\xff\xff"), ANY - {None}),
        "pixels-4g.dcm": (replaced(plain(), struct.pack("<L", 2048), b"\xf0\xff\xff\xff"), UNREADABLE),
        "meta-length-4g.dcm": (replaced(plain(), b"\2\0\0\0UL\4\0" + plain()[140:144], b"\2\0\0\0UL\4\0\xff\xff\xff\x7f"), ANY),
        "sequences-20000-deep.dcm": (nested(20_000), ANY),
        "sequences-900-deep.dcm": (nested(900), ANY),
        "uids-are-paths.dcm": (plain(SOPInstanceUID="../../../etc/x", StudyInstanceUID="/", SeriesInstanceUID=".."), {None}),
        "no-geometry.dcm": (plain(ImagePositionPatient=None), UNREADABLE),
        "spacing-infinite.dcm": (replaced(plain(PixelSpacing=["1.125", "1"]), b"1.125", b"1e400"), UNREADABLE),
        "position-nan.dcm": (replaced(plain(ImagePositionPatient=["7.7", "0", "0"]), b"7.7", b"nan"), UNREADABLE),
        "slope-nan.dcm": (replaced(plain(RescaleSlope="1.75"), b"1.75", b"nan "), ANY),
        "slope-huge.dcm": (replaced(plain(RescaleSlope="1.7512"), b"1.7512", b"1e300 "), ANY),
        "padding-odd.dcm": (plain(PixelPaddingValue=-32_768), ANY),
        "nothing.dcm": (bytes(128) + b"DICM", ANY - {None}),
        "empty": (b"", UNREADABLE),
    }  # fmt: skip


def deflate() -> dict[str, Case]:
    return {
        "deflate-bomb.dcm": (lambda: deflated(bytes(128 << 20)), UNREADABLE),
        "deflate-of-noise.dcm": (deflated(bytes(range(256)) * 40), ANY - {None}),
        "deflate-cut.dcm": (deflated(plain()[350:])[:-20], ANY - {None}),
    }


def polyglots() -> dict[str, Case]:
    starts = {
        "mz": b"MZ\x90\0",
        "elf": b"\x7fELF",
        "pk": b"PK\3\4",
        "tiff": b"II*\0",
        "gif": b"GIF89a",
        "gzip": b"\x1f\x8b\x08",
    }
    return {
        f"preamble-{name}.dcm": (start + bytes(128 - len(start)) + plain()[128:], {None})
        for name, start in starts.items()
    }


def frames() -> dict[str, Case]:
    lying_jls = replaced(
        packed(JPEGLSLossless), b"\xff\xf7\0\x0b\x10\0\x20\0\x20", b"\xff\xf7\0\x0b\x10\xff\xff\xff\xff"
    )
    return {
        "jls-claims-65535.dcm": (lying_jls, UNREADABLE),
        "jls-cut.dcm": (with_pixels(JPEGLSLossless, [jpeg(0xF7, 32, 32)]), UNREADABLE),
        "j2k-claims-4g.dcm": (with_pixels(JPEG2000Lossless, [j2k(0xFFFFFFFF, 0xFFFFFFFF, 1)]), UNREADABLE),
        "j2k-of-many-tiles.dcm": (with_pixels(JPEG2000Lossless, [j2k(32, 32, 1)]), UNREADABLE),
        "j2k-without-data.dcm": (with_pixels(JPEG2000Lossless, [j2k(32, 32, 32)]), UNREADABLE),
        "jpeg-lossless-claims-65535.dcm": (with_pixels(JPEGLosslessSV1, [jpeg(0xC3, 65_535, 65_535)]), UNREADABLE),
        "jpeg-lossless-without-data.dcm": (with_pixels(JPEGLosslessSV1, [jpeg(0xC3, 32, 32)]), ANY),
        "jpeg-baseline-noise.dcm": (with_pixels(JPEGBaseline8Bit, [b"\xff\xd8" + bytes(100)]), UNREADABLE),
        "rle-too-many-segments.dcm": (with_pixels(RLELossless, [rle(0xFFFFFFFF, [64], bytes(64))]), UNREADABLE),
        "rle-offsets-beyond.dcm": (with_pixels(RLELossless, [rle(2, [64, 0xFFFFFFF0], bytes(64))]), UNREADABLE),
        "rle-offsets-backwards.dcm": (with_pixels(RLELossless, [rle(2, [90, 64], bytes(64))]), UNREADABLE),
        "rle-bomb.dcm": (with_pixels(RLELossless, [rle(2, [64, 400_064], b"\x81\0" * 400_000)]), UNREADABLE),
        "fragments-none.dcm": (with_pixels(RLELossless, [bytes(2)]), UNREADABLE),
        "offset-table-lies.dcm": (
            replaced(packed(RLELossless), b"\xfe\xff\0\xe0\4\0\0\0\0\0\0\0", b"\xfe\xff\0\xe0\4\0\0\0\xf0\xff\xff\xff"), ANY,
        ),
        "says-rle-is-plain.dcm": (replaced(plain(), b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"), UNREADABLE),
    }  # fmt: skip


def archives() -> dict[str, Case]:
    good = zipped({"a.dcm": plain()})
    central = good.rindex(b"PK\1\2")
    lying = good[: central + 24] + struct.pack("<L", 10) + good[central + 28 :]
    encrypted = bytearray(good)
    encrypted[6] |= 1
    encrypted[central + 8] |= 1
    return {
        "zip-slip.zip": (zipped({"../../../../tmp/evil.dcm": plain(), "C:\\x.dcm": b"", "/etc/x.dcm": b""}), {None}),
        "zip-bomb.zip": (lambda: zipped({"a.dcm": bytes(128) + b"DICM" + bytes(150 << 20)}), UNREADABLE),
        "zip-of-bombs.zip": (lambda: zipped({f"{n}.dcm": bytes(60 << 20) for n in range(6)}), UNREADABLE),
        "zip-in-zip.zip": (zipped({"inner.zip": zipped({"a.dcm": plain()})}), UNREADABLE),
        "zip-size-lies.zip": (lying, ANY),
        "zip-encrypted.zip": (bytes(encrypted), UNREADABLE),
        "zip-cut.zip": (good[:-30], UNREADABLE),
        "zip-directory-lies.zip": (good[:-6] + b"\xff\xff\xff\xff\0\0", UNREADABLE),
        "zip-empty.zip": (zipped({}), UNREADABLE),
    }


def series() -> dict[str, Case]:
    """Whole series of slices each of which is within bounds, zipped."""
    return {"series-of-giants.zip": (lambda: zipped({f"{n}.dcm": giant(n) for n in range(65)}), UNREADABLE)}


@cache
def nothing(edge: int) -> bytes:
    """An RLE frame of `edge` x `edge` zeros in two segments: the longest runs that PackBits knows, of 128 bytes each."""
    segment = b"\x81\0" * (edge * edge // 128)
    return rle(2, [64, 64 + len(segment)], 2 * segment)


def giant(number: int) -> bytes:
    """A slice of 32 MiB of zeros in half a megabyte, as large as one may be."""
    return with_pixels(
        RLELossless, [nothing(4096)], Rows=4096, Columns=4096, SOPInstanceUID=f"2.25.{number + 1}",
        ImagePositionPatient=["0", "0", str(number)],
    )  # fmt: skip


def volumes() -> dict[str, Case]:
    def bomb() -> bytes:
        return gzip.compress(nifti(shape=(1024, 1024, 1000), datatype=64) + bytes(32 << 20), mtime=0)

    return {
        "claims-the-moon.nii": (nifti(shape=(32_000, 32_000, 32_000)), UNREADABLE),
        "negative.nii": (nifti(shape=(-4, 4, 4)), UNREADABLE),
        "four-of-them.nii": (nifti(shape=(2, 2, 4, 4)), {Code.MIXED_GEOMETRY}),
        "colours.nii": (nifti(shape=(2, 4, 4), datatype=128), ANY - {None}),
        "no-such-type.nii": (nifti(datatype=999), UNREADABLE),
        "offset-nan.nii": (nifti(offset=float("nan")), ANY),
        "offset-beyond.nii": (nifti(offset=1e30), UNREADABLE),
        "cut.nii": (nifti()[:-40], UNREADABLE),
        "bomb.nii.gz": (bomb, UNREADABLE),
        "cut.nii.gz": (gzip.compress(nifti(), mtime=0)[:-12], UNREADABLE),
        "gzip-of-noise.nii.gz": (gzip.compress(bytes(range(256)), mtime=0), UNREADABLE),
    }


def truncated() -> dict[str, Case]:
    content = plain()
    cuts = (1, 100, 131, 132, 140, 200, 300, 400, 600, len(content) - 2048, len(content) - 1)
    return {f"cut-at-{n}.dcm": (content[:n], ANY - {None}) for n in cuts}
