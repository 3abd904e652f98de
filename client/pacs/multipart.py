"""A multipart/related body of DICOM objects, parsed as it streams: each part becomes a file. Memory holds one chunk.

The same reader serves what senders post to the node (STOW-RS) and what the PACS answers (WADO-RS).
"""

import os
import tempfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from client.store.files import disk_faults, make_folder
from client.store.part10 import MOST_FILE_BYTES, with_clean_preamble
from protocol.codes import Code
from protocol.errors import InvalidInputError

MOST_PARTS = 20_000
"""As many as a study may hold files (`client.infer.source`)."""

_HEAD = 132
_MOST_BOUNDARY = 200
"""RFC 2046 section 5.1.1 allows 70 characters; Orthanc's have 73."""


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary in a Content-Type of multipart/related DICOM objects; `None` for any other type.

    Raises:
        InvalidInputError: `bad-request` if the boundary is missing or longer than a boundary can be.
    """
    said = Message()
    said["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    kind = str(said.get_param("type", "application/dicom")).lower()
    if said.get_content_type() != "multipart/related" or kind != "application/dicom":
        return None
    boundary = said.get_boundary("")
    if not 0 < len(boundary) <= _MOST_BOUNDARY or not boundary.isascii():
        raise InvalidInputError(Code.BAD_REQUEST, "The Content-Type lacks the boundary between parts.")
    return boundary.encode("ascii")


class PartSpool:
    """Writes each part to a file in a folder and hands the file over; removes it afterwards, whatever happens."""

    def __init__(
        self,
        boundary: bytes,
        folder: Path,
        take: Callable[[Path], None],
        *,
        most_part_bytes: int = MOST_FILE_BYTES,
    ) -> None:
        """Prepare to read a body.

        Args:
            boundary: Between its parts.
            folder: Where parts are spooled; on the store's file system, so that the store need not copy.
            take: Gets each whole part, its preamble zeroed. What it raises comes out of `feed`.
            most_part_bytes: A larger part ends the reading.
        """
        self._folder, self._take, self._most = folder, take, most_part_bytes
        self._file: BinaryIO | None = None
        self._path = Path()
        self._size = self._parts = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin, "on_part_data": self._write, "on_part_end": self._hand_over,
                "on_end": self._end,
            },
        )  # fmt: skip

    def __enter__(self) -> Self:
        """Return the spool; leaving it removes a part that never ended."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close and remove what is open."""
        self._drop()

    def feed(self, chunk: bytes) -> None:
        """Read on.

        Raises:
            InvalidInputError: `bad-request` if this is no multipart body, or a part or their number passes its limit.
            UnavailableError: `disk-full`; what `take` raises.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidInputError(
                Code.BAD_REQUEST, "The body is not the multipart/related that it claims."
            ) from error

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            InvalidInputError: `bad-request` if it broke off before the closing boundary.
        """
        if not self._ended:
            raise InvalidInputError(Code.BAD_REQUEST, "The body breaks off before its closing boundary.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidInputError(Code.BAD_REQUEST, f"The body has more than {MOST_PARTS} parts. Send one study.")
        with disk_faults():
            make_folder(self._folder)
            descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".dcm")
        self._file, self._path, self._size = os.fdopen(descriptor, "w+b"), Path(name), 0

    def _write(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._most:
            raise InvalidInputError(Code.BAD_REQUEST, "A part of the body is larger than any CT file.")
        if self._file is not None:
            with disk_faults():
                self._file.write(memoryview(data)[start:end])

    def _hand_over(self) -> None:
        if self._file is None:
            return
        try:
            with disk_faults(), self._file as file:
                file.seek(0)
                head = file.read(_HEAD)
                file.seek(0)
                file.write(with_clean_preamble(head))
            self._take(self._path)
        finally:
            self._drop()

    def _end(self) -> None:
        self._ended = True

    def _drop(self) -> None:
        if self._file is not None:
            with disk_faults():
                self._file.close()
            self._path.unlink(missing_ok=True)
        self._file = None
