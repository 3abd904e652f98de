"""Weights by hash in one folder: written once, never changed, never looked into."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError

_SHA256 = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1024 * 1024


class Shelf:
    """A folder of files named by their SHA-256."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, sha256: str) -> Path:
        """Return where the file with that hash lies, whether or not it is there.

        Raises:
            InvalidInputError: `bad-request` if it is no SHA-256.
        """
        if _SHA256.fullmatch(sha256) is None:
            raise InvalidInputError(Code.BAD_REQUEST, "A SHA-256 is 64 lower-case hex digits.")
        return self._directory / f"{sha256}.safetensors"

    def put(self, chunks: Iterable[bytes], *, sha256: str) -> Path:
        """Store the content under its hash, whole or not at all.

        Raises:
            RefusedError: `signature-invalid` if the content has another hash.
            UnavailableError: `disk-full` if it cannot be written.
        """
        target = self.path(sha256)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as file:
                temporary = Path(file.name)
                try:
                    _copy_hashed(chunks, file.fileno(), sha256)
                    temporary.replace(target)
                finally:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(Code.DISK_FULL, "The weights cannot be written. Check free space.") from error
        return target

    def chunks(self, sha256: str) -> Iterator[bytes]:
        """Yield the content with that hash, a mebibyte at a time.

        Raises:
            InvalidInputError: `not-found` if it is not here.
        """
        try:
            with self.path(sha256).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise InvalidInputError(Code.NOT_FOUND, "There are no weights with that hash.") from error


def _copy_hashed(chunks: Iterable[bytes], descriptor: int, sha256: str) -> None:
    """Write the chunks to the disk and hold their hash against `sha256`."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
    if digest.hexdigest() != sha256:
        raise RefusedError(Code.SIGNATURE_INVALID, "The weights do not have the hash that the manifest names.")
    os.fsync(descriptor)
