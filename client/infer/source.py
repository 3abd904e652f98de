"""What a person may name: a DICOM file, a folder, a zip, a NIfTI volume. Names inside archives are never used as paths."""

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from client.store.part10 import MOST_FILE_BYTES, Content, looks_like_dicom
from protocol.codes import Code
from protocol.errors import InvalidInputError

MOST_FILES = 20_000
MOST_ARCHIVE_BYTES = 4 << 30
"""Bounds on a folder or zip: a whole study of a large department stays below both."""

_HEAD = 352
_MEMBER_FLOOR, _MEMBER_RATIO = 64 << 20, 20
_ARCHIVE_FLOOR, _ARCHIVE_RATIO = 256 << 20, 8
"""What may come out of a zip: so much in any case (slices of nothing but air pack a thousandfold), and so many times the packed size."""

_READ_STEP = 1 << 20
_PACKERS = (zlib.error, lzma.LZMAError)
"""What the packers raise on damage, beside what `zipfile` does."""

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8", b"%PDF")


class Kind(Enum):
    """What something is by its first bytes; names are not trusted."""

    DICOM = auto()
    NIFTI = auto()
    ZIP = auto()
    FOLDER = auto()
    PICTURE = auto()
    UNKNOWN = auto()


def kind_of(path: Path) -> Kind:
    """Look at `path`.

    Raises:
        InvalidInputError: `not-found`, or `unreadable` if it may not be read.
    """
    if path.is_dir():
        return Kind.FOLDER
    try:
        with path.open("rb") as file:
            return kind_of_head(file.read(_HEAD))
    except FileNotFoundError as error:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no file or folder {path}. Check the path.") from error
    except OSError as error:
        raise InvalidInputError(
            Code.UNREADABLE, f"{path} cannot be opened ({os.strerror(error.errno or 0)}). Check its permissions."
        ) from error


def kind_of_head(head: bytes) -> Kind:
    """Tell the kind of a file from its first 352 bytes. DICOM comes first: its preamble may look like a TIFF or a program."""
    if head[128:132] == b"DICM":
        return Kind.DICOM
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return Kind.ZIP
    if head[:2] == b"\x1f\x8b" or _is_nifti(head):
        return Kind.NIFTI
    if head.startswith(_PICTURES):
        return Kind.PICTURE
    return Kind.DICOM if looks_like_dicom(head) else Kind.UNKNOWN


def dicom_files(path: Path) -> Iterator[Content]:
    """Yield every file below a folder, or inside a zip, that may be DICOM; a file yields itself.

    Links are not followed; other files are passed over.

    Raises:
        InvalidInputError: `unreadable` if the archive is damaged, encrypted or too large; `not-found`.
    """
    kind = kind_of(path)
    if kind is Kind.FOLDER:
        yield from _in_folder(path)
    elif kind is Kind.ZIP:
        yield from _in_zip(path)
    else:
        yield path


def every_file(path: Path) -> Iterator[Content]:
    """Yield all that a file brings: the members of a zip whatever they are, any other file itself.

    Raises:
        InvalidInputError: As `dicom_files`.
    """
    if kind_of(path) is Kind.ZIP:
        yield from _in_zip(path, only_dicom=False)
    else:
        yield path


def _in_folder(folder: Path) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > MOST_FILES:
                raise InvalidInputError(
                    Code.UNREADABLE, f"The folder holds more than {MOST_FILES} files. Name one study."
                )
            if kind_of(path) is Kind.DICOM:
                yield path


def _in_zip(path: Path, *, only_dicom: bool = True) -> Iterator[bytes]:
    """Yield the members of an archive. The sizes that it declares are not believed: bytes are counted as they come."""
    total, room = 0, min(MOST_ARCHIVE_BYTES, _ARCHIVE_FLOOR + _ARCHIVE_RATIO * path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MOST_FILES:
                raise InvalidInputError(Code.UNREADABLE, f"The zip holds more than {MOST_FILES} files. Name one study.")
            for member in members:
                content = _member(archive, member, room - total)
                total += len(content)
                if not only_dicom or kind_of_head(content[:_HEAD]) is Kind.DICOM:
                    yield content
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError, *_PACKERS) as error:
        raise InvalidInputError(
            Code.UNREADABLE, "The zip is damaged, encrypted or packed in an unknown way. Pack it again."
        ) from error
    except zipfile.LargeZipFile as error:
        raise InvalidInputError(Code.UNREADABLE, "The zip is too large. Name one study.") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, room: int) -> bytes:
    """Read one member within bounds.

    Raises:
        InvalidInputError: `unreadable` for a bomb.
    """
    most = min(MOST_FILE_BYTES, room, _MEMBER_FLOOR + _MEMBER_RATIO * max(0, member.compress_size))
    parts, size = [], 0
    with archive.open(member) as file:
        while part := file.read(_READ_STEP):
            size += len(part)
            if size > most:
                raise InvalidInputError(Code.UNREADABLE, "The zip unpacks to more than any CT study holds.")
            parts.append(part)
    return b"".join(parts)


def _is_nifti(head: bytes) -> bool:
    return (len(head) >= 348 and head[344:348] in {b"n+1\0", b"ni1\0"}) or head[4:8] in {b"n+2\0", b"ni2\0"}  # noqa: PLR2004
