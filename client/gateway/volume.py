"""Volumes on their way to a reader: checked to carry voxels only, and sent without the names a gzip header may hold.

A NIfTI-1 header has five text fields and room for extensions, and a gzip header a file name and a time. The store writes none of them;
here nothing is taken on trust. The compressed bytes themselves pass as they are, so that a large volume starts at once.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError

_HEADER_BYTES = 348
_VOXELS_BEGIN = 352
_MAGIC = b"n+1\x00"
_TEXT_FIELDS = {
    "data_type": (4, 10),
    "db_name": (14, 18),
    "descrip": (148, 80),
    "aux_file": (228, 24),
    "intent": (328, 16),
}
"""Offset and length (nifti1.h)."""

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_BARE = _GZIP_MAGIC + b"\x00" + b"\x00\x00\x00\x00" + b"\x00\xff"
"""RFC 1952: no name, no time, no comment, operating system unknown."""

_GZIP_SHORTEST = 18
"""Header and trailer of a member without anything between them."""

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_HEAD_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Extent:
    """Voxels of a volume along its three axes."""

    columns: int
    rows: int
    slices: int


def extent(path: Path) -> Extent:
    """Return the size of a volume.

    Raises:
        InvalidInputError: `unreadable` if it is no gzipped NIfTI-1 file.
    """
    _, columns, rows, slices = struct.unpack_from("<4h", nifti_header(path), 40)
    return Extent(columns, rows, slices)


def refuse_identifiers(path: Path) -> None:
    """Make sure that the volume's header holds geometry only.

    Raises:
        RefusedError: `policy-shape` if a text field or an extension holds anything; the message names the field, never its content.
        InvalidInputError: `unreadable` if it is no gzipped NIfTI-1 file.
    """
    header = nifti_header(path)
    for name, (offset, length) in _TEXT_FIELDS.items():
        if header[offset : offset + length].strip(b"\0"):
            raise RefusedError(
                Code.POLICY_SHAPE, f"The volume's field {name} is not empty; it is not shown. Measure the study again."
            )
    if header[_HEADER_BYTES:_VOXELS_BEGIN] != b"\0\0\0\0" or struct.unpack_from("<f", header, 108)[0] != _VOXELS_BEGIN:
        raise RefusedError(
            Code.POLICY_SHAPE, "The volume has a header extension; it is not shown. Measure the study again."
        )


def bare_size(path: Path) -> int:
    """Return how many bytes `bare` yields."""
    return path.stat().st_size - _deflate_begins(path) + len(_GZIP_BARE)


def bare(path: Path) -> Iterator[bytes]:
    """Yield the file with its gzip header replaced by one that says nothing.

    Raises:
        InvalidInputError: `unreadable` if it is no gzip file.
    """
    begin = _deflate_begins(path)
    yield _GZIP_BARE
    with path.open("rb") as file:
        file.seek(begin)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def nifti_header(path: Path) -> bytes:
    """Return the first 352 bytes of a volume.

    Raises:
        InvalidInputError: `unreadable` if it is no gzipped NIfTI-1 file.
    """
    try:
        with gzip.open(path) as file:
            header = file.read(_VOXELS_BEGIN)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable() from error
    if len(header) < _VOXELS_BEGIN or struct.unpack_from("<i", header)[0] != _HEADER_BYTES or header[344:348] != _MAGIC:
        raise unreadable()
    return header


def _deflate_begins(path: Path) -> int:
    """Return where the gzip header of the file ends (RFC 1952 section 2.3)."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise unreadable() from error
    if head[:3] != _GZIP_MAGIC or len(head) < _GZIP_SHORTEST:
        raise unreadable()
    flags, position = head[3], len(_GZIP_BARE)
    if flags & _FEXTRA:
        position += 2 + struct.unpack_from("<H", head, position)[0]
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag:
            position = head.find(b"\0", position) + 1
            if position == 0:
                raise unreadable()
    return position + (2 if flags & _FHCRC else 0)


def unreadable() -> InvalidInputError:
    """Return what is said of a volume that is missing or damaged."""
    return InvalidInputError(Code.UNREADABLE, "The study's volume is missing or damaged. Measure the study again.")
