"""Reads DICOM files (PS3.10) within bounds, and turns whatever pydicom raises into one code.

Ten kinds of exception escape pydicom on damaged files; this is the one place that knows it. Bytes are hostile here: a
deflated data set is inflated only so far, and lengths are checked before anything is allocated.
"""

import errno
import functools
import hashlib
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pydicom
import pydicom.config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import dcmread, read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, UnavailableError

Content = Path | bytes
"""A file on the disk, or its bytes."""

MOST_FILE_BYTES = 2 << 30
"""No DICOM file of a CT is larger: an enhanced CT of 2,000 frames of 512 x 512 takes half of it."""

_PREAMBLE, _PREFIX = 128, b"DICM"
_INFLATED_FLOOR, _INFLATED_RATIO, _INFLATED_MOST = 64 << 20, 50, 1 << 30
_PLAIN = {ImplicitVRLittleEndian: 4, ExplicitVRLittleEndian: 8}
"""Where the length of the pixel data stands in its element, by transfer syntax (PS3.5 7.1.2 and 7.1.3)."""

_NONE_LEFT = {errno.EMFILE, errno.ENFILE}
"""How the system says that no file can be opened now."""

_PIXEL_DATA, _UNDEFINED = b"\xe0\x7f\x10\x00", 0xFFFFFFFF
_BARE_STARTS = (b"\x02\x00", b"\x08\x00")
"""A data set without preamble begins with group 0002 or 0008, little endian."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where uncompressed little-endian pixel data lie in a file: `length` bytes from `start`. The header claims it; nothing was read."""

    start: int
    length: int


@contextmanager
def coded(subject: str = "The DICOM file") -> Iterator[None]:
    """Let nothing but coded errors out of the body, and no warning that quotes a header.

    Raises:
        InvalidInputError: `unreadable` for whatever pydicom or a decoder raised.
        UnavailableError: `node-fault` if this process may open no further file now: the file is as good as it was.
    """
    library = logging.getLogger("pydicom")
    if library.level <= logging.CRITICAL:  # asked first: setting a level empties every logger's cache
        library.setLevel(logging.CRITICAL + 1)  # for good: it logs values and file names
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")  # they quote the same
        try:
            yield
        except FederationError:
            raise
        except Exception as error:  # noqa: BLE001 - the rim towards pydicom and the decoders
            if isinstance(error, OSError) and error.errno in _NONE_LEFT:
                raise UnavailableError(
                    Code.NODE_FAULT, "This process has too many files open. Try again; raise its limit of open files."
                ) from None
            log.debug("dicom.unreadable", extra={"kind": type(error).__name__})
            raise InvalidInputError(
                Code.UNREADABLE, f"{subject} is damaged or truncated. Export or send it again."
            ) from None  # the chain would carry values of the header into logs


def looks_like_dicom(head: bytes) -> bool:
    """Say whether a file that begins with `head` (132 bytes at least, or all of it) may be DICOM."""
    return head[_PREAMBLE : _PREAMBLE + 4] == _PREFIX or head[:2] in _BARE_STARTS


def read_part10(content: Content, *, pixels: bool, tags: list[str] | None = None) -> FileDataset:
    """Return the data set in `content`.

    Args:
        content: The file.
        pixels: Read the pixel data too.
        tags: Keywords to read; everything if none are named.

    Raises:
        InvalidInputError: `unreadable`.
    """
    with coded(), _opened(content) as file:
        return _read(_plain(file), pixels=pixels, tags=tags)


def read_header(content: Content, tags: list[str]) -> tuple[FileDataset, Place | None]:
    """Return what `tags` name of the header in `content`, and where its pixel data lie if they can be read as they are.

    Raises:
        InvalidInputError: `unreadable`.
    """
    with coded(), _opened(content) as file:
        stream = _plain(file)
        header = _read(stream, pixels=False, tags=tags)
        return header, _place(stream, header) if stream is file else None


def read_place(content: Content, place: Place) -> bytes:
    """Return the bytes at `place` in `content`.

    Raises:
        InvalidInputError: `unreadable` if the file ends before.
    """
    with coded(), _opened(content) as file:
        file.seek(place.start)
        stored = file.read(place.length)
    if len(stored) < place.length:
        raise InvalidInputError(Code.UNREADABLE, "The pixel data is damaged or truncated. Export or send it again.")
    return stored


def dataset_sha256(content: Content) -> str:
    """Return the SHA-256 of the data set in `content` without preamble and file meta group, or of all of it if it has none.

    Raises:
        InvalidInputError: `unreadable` if the file is larger than any CT.
    """
    digest = hashlib.sha256()
    with coded(), _opened(content) as stream:
        if _read_meta_quietly(stream) is None:
            stream.seek(0)
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def with_clean_preamble(content: bytes) -> bytes:
    """Return `content` with zeros in the 128 bytes before `DICM`: they may hold a program (CVE-2019-11687)."""
    if content[_PREAMBLE : _PREAMBLE + 4] != _PREFIX:
        return content
    return bytes(_PREAMBLE) + content[_PREAMBLE:]


def as_part10(dataset: Dataset) -> bytes:
    """Return an object of ours as the bytes of a DICOM file."""
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


@contextmanager
def _opened(content: Content) -> Iterator[BinaryIO]:
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    if size > MOST_FILE_BYTES:
        raise InvalidInputError(Code.UNREADABLE, "The file is larger than any CT file. Send the original series.")
    if isinstance(content, bytes):
        yield BytesIO(content)
        return
    with content.open("rb") as stream:
        yield stream


def _plain(file: BinaryIO) -> BinaryIO:
    """Return `file`, or what it inflates to, at its beginning.

    Raises:
        InvalidInputError: `unreadable` if this is no DICOM, or would grow beyond what a CT can.
    """
    meta = _read_meta(file)
    packed = meta is not None and meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    stream = _inflated(file, meta) if meta is not None and packed else file
    stream.seek(0)
    return stream


def _read(stream: BinaryIO, *, pixels: bool, tags: list[str] | None) -> FileDataset:
    named = [_tag(word) for word in tags] if tags else None
    return _with_syntax(dcmread(stream, stop_before_pixels=not pixels, force=True, specific_tags=named))


@functools.cache
def _tag(keyword: str) -> BaseTag:
    """Return the tag of a keyword: looked up for every file it is a tenth of the time that a header takes."""
    return Tag(keyword)


def _place(stream: BinaryIO, header: FileDataset) -> Place | None:
    """Return where the pixel data lie; `stream` stands before their element, or at its end without any.

    `None` for all that is not plain: compressed, big endian, of undefined length, encoded otherwise than the header says.
    """
    at = _PLAIN.get(header.file_meta.TransferSyntaxUID)
    element = stream.read(12)
    if at is None or len(element) < 12 or element[:4] != _PIXEL_DATA:  # noqa: PLR2004 - the longer of both heads
        return None
    start = stream.tell() - 12 + at + 4
    length = int.from_bytes(element[at : at + 4], "little")
    honest = at == 4 or element[4:6] in {b"OW", b"OB"}  # noqa: PLR2004 - implicit: no VR stands there
    return Place(start, length) if honest and length != _UNDEFINED else None


def _read_meta(stream: BinaryIO) -> Dataset | None:
    """Return the file meta group and leave `stream` behind it; `None` for a data set without preamble.

    Raises:
        InvalidInputError: `unreadable` if this is no DICOM at all.
    """
    head = stream.read(_PREAMBLE + 4)
    if not looks_like_dicom(head):
        raise InvalidInputError(Code.UNREADABLE, "The file is not DICOM. Name a DICOM file, folder or zip.")
    if head[_PREAMBLE:] != _PREFIX:
        return None
    return read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_after_meta)


def _read_meta_quietly(stream: BinaryIO) -> Dataset | None:
    """As `_read_meta`, but damage is no reason to stop: the bytes are only counted."""
    try:
        return _read_meta(stream)
    except Exception:  # noqa: BLE001 - pydicom raises ten kinds; the caller hashes the whole file then
        return None


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2  # noqa: PLR2004 - the file meta group


def _inflated(stream: BinaryIO, meta: Dataset) -> BinaryIO:
    """Return the file with its data set inflated; `stream` stands behind the meta group.

    Raises:
        InvalidInputError: `unreadable` if it would grow beyond what a CT can.
    """
    packed = stream.read()
    most = min(_INFLATED_MOST, _INFLATED_FLOOR + _INFLATED_RATIO * len(packed))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(packed, most)
    if inflater.unconsumed_tail:
        raise InvalidInputError(Code.UNREADABLE, "The deflated data set grows beyond the size of any CT image.")
    out = BytesIO()
    out.write(bytes(_PREAMBLE) + _PREFIX)
    plain = FileMetaDataset(meta)
    plain.TransferSyntaxUID = ExplicitVRLittleEndian
    write_file_meta_info(out, plain, enforce_standard=False)  # type: ignore[arg-type] # accepts any binary stream
    out.write(content)
    return out


def _with_syntax(dataset: FileDataset) -> FileDataset:
    """Give a data set without file meta the transfer syntax that it was read by: decoders ask for it."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        guessed: UID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = guessed if little else ExplicitVRBigEndian
    return dataset
