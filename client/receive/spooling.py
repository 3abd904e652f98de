"""One instance on its way in: written to the spool as its fragments come, hashed on the way, given up when the disk runs short."""

import hashlib
import os
import secrets
from pathlib import Path

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

from client.receive.intake import Glimpse
from client.store.files import free_mb
from client.store.part10 import MOST_FILE_BYTES
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

_LOOK_EVERY_BYTES = 8 << 20
_HEAD_BYTES = 64 << 10
"""In which the UIDs of any CT header but the oddest stand."""
_PREAMBLE = bytes(128) + b"DICM"


class Arrival:
    """A spooled instance. Its owner drops it at the end: what counts has a second name in the store by then."""

    def __init__(self, folder: Path, *, minimum_free_mb: int) -> None:
        """Open a new file in `folder`; nothing is written if there is too little room.

        A fault of the disk does not end the reception: the rest is read and dropped, and `settle` says so, because the sender
        listens to a status only after its last fragment.
        """
        self._folder = folder
        self._minimum_free_mb = minimum_free_mb
        self._digest = hashlib.sha256()
        self._head = bytearray()
        self._syntax = ""
        self._bytes = 0
        self._looked_at = 0
        self._fault: UnavailableError | None = None
        self._descriptor = -1
        self.path = folder
        self._attempt_open()

    def begin(self, *, sop_class: str, sop_instance: str, syntax: str) -> None:
        """Write preamble and file meta group (PS3.10 section 7.1); what stands for a UID is written as it came."""
        self._syntax = syntax
        self._write(_PREAMBLE + file_meta(sop_class=sop_class, sop_instance=sop_instance, syntax=syntax))

    def add(self, fragment: memoryview) -> None:
        """Append a piece of the data set.

        Raises:
            InvalidInputError: `unreadable` when it grows beyond any CT: the sender is to be cut off.
        """
        self._bytes += len(fragment)
        if self._bytes > MOST_FILE_BYTES:
            raise InvalidInputError(Code.UNREADABLE, "The instance is larger than any CT. Send the original series.")
        if self._fault is not None:
            return
        self._digest.update(fragment)
        if len(self._head) < _HEAD_BYTES:
            self._head += fragment[: _HEAD_BYTES - len(self._head)]
        self._write(fragment)
        if self._bytes - self._looked_at >= _LOOK_EVERY_BYTES:
            self._looked_at = self._bytes
            self._look()

    def settle(self) -> tuple[Path, Glimpse]:
        """Return the whole file and what was seen of it; it is not forced to the disk yet.

        Raises:
            UnavailableError: `disk-full` if any of it could not be written.
        """
        if self._fault is not None:
            raise self._fault
        os.posix_fadvise(
            self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED
        )  # begins to write back while the header is read
        return self.path, Glimpse(self._digest.hexdigest(), bytes(self._head), self._syntax)

    def drop(self) -> None:
        """Give the room back at once: others are receiving too."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        self.path.unlink(missing_ok=True)

    def _attempt_open(self) -> None:
        self._look()
        if self._fault is not None:
            return
        try:
            path = self._folder / f"{secrets.token_hex(8)}.dcm"
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self._fail(error)
        else:
            self.path = path

    def _write(self, content: bytes | memoryview) -> None:
        if self._fault is not None:
            return
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._fail(error)

    def _look(self) -> None:
        """Give up when less than the site's minimum is left, before the file system does."""
        try:
            short = free_mb(self._folder) < self._minimum_free_mb
        except OSError as error:
            self._fail(error)
            return
        if short:
            self._fault = UnavailableError(Code.DISK_FULL, "Less space is left than the settings demand. Free some.")
            self.drop()

    def _fail(self, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else "unknown reason"
        self._fault = UnavailableError(Code.DISK_FULL, f"The spool could not be written ({reason}). Free some space.")
        self.drop()


def file_meta(*, sop_class: str, sop_instance: str, syntax: str) -> bytes:
    """Return a file meta group in explicit VR little endian (PS3.10 table 7.1-1)."""
    version = b"\2\0\1\0OB\0\0\2\0\0\0\0\1"
    elements = b"".join(
        [
            version, _uid(0x0002, sop_class), _uid(0x0003, sop_instance), _uid(0x0010, syntax),
            _uid(0x0012, PYNETDICOM_IMPLEMENTATION_UID),
        ]
    )  # fmt: skip
    return b"\2\0\0\0UL\4\0" + len(elements).to_bytes(4, "little") + elements


def _uid(element: int, value: str) -> bytes:
    content = value.encode("ascii", "replace")
    content += b"\0" * (len(content) % 2)
    return b"\2\0" + element.to_bytes(2, "little") + b"UI" + len(content).to_bytes(2, "little") + content
