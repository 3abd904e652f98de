"""Pieces of messages as files that the processes of one machine share: between them goes a ticket, and only over the network the bytes.

A message with its weights passes two processes of a node and three of the centre. Handed on through Flower's HTTP interfaces, every megabyte
is copied, encrypted and hashed anew at each of them, in Python, and every request costs some milliseconds; that was most of what a round
costs. A file in the page cache costs none of it. What somebody deposits is large; what a store keeps is there for whoever shares its folder.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse, PushObjectRequest
from flwr.supercore.runtime import RuntimeHttpClient
from google.protobuf.message import DecodeError

from protocol.codes import Code
from protocol.errors import UnavailableError
from strategies.bell import Bell
from strategies.flower import FOLDER_VARIABLE

SMALL_BYTES = 64 * 1024
"""What is no larger is not worth a file."""

_CONTENT_TAG = bytes([(PullObjectResponse.DESCRIPTOR.fields_by_name["object_content"].number << 3) | 2])
"""What stands before the length of a field of bytes, in protobuf's encoding."""

_TICKET = re.compile(rb"acinus-piece:([0-9a-f]{64}|[0-9a-f]{32})")
"""Of an object in a store, by its id, or of a deposit. No object of Flower's can be one: those begin with the name of a class."""

_DEPOSIT_DIGITS = 32

ABANDONED_SECONDS = 600.0
"""A depositor waits two minutes for its answer, and then removes what nobody took; one that was killed does not."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The folder of the files. Everybody who can read it may read every message."""

    folder: Path

    def whole(self) -> Bell:
        """Return the bell that the store in this folder rings whenever a message in it has become whole: its last object has come."""
        return Bell(self.folder / "whole.bell")

    def deposit(self, content: bytes) -> Path:
        """Write `content` into a file of a name that nobody can guess, and return its path.

        Raises:
            UnavailableError: `disk-full` if it cannot be written.
        """
        file = self.folder / os.urandom(_DEPOSIT_DIGITS // 2).hex()
        try:
            file.write_bytes(content)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise UnavailableError(
                Code.DISK_FULL, f"Weights cannot be written to {self.folder}: {error.strerror}. Make room there."
            ) from error
        return file

    def sweep(self) -> None:
        """Remove deposits that nobody can be about to take any more."""
        oldest = time.time() - ABANDONED_SECONDS
        for file in self.folder.iterdir():
            if len(file.name) == _DEPOSIT_DIGITS and _written_at(file) < oldest:
                file.unlink(missing_ok=True)

    def deposited(self, content: bytes) -> Path | None:
        """Return the file of a ticket for a deposit; None for anything else, be it the ticket of a stored object."""
        file = self.file_of(content)
        return file if file is not None and len(file.name) == _DEPOSIT_DIGITS else None

    def resolved(self, content: bytes) -> bytes:
        """Return what a ticket stands for; any other content itself.

        Raises:
            FileNotFoundError: If it stands for nothing: its message has been let go of.
        """
        path = self.file_of(content)
        return content if path is None else path.read_bytes()

    def stored(self, object_id: str) -> bytes | None:
        """Return the object that lies in a store under its id; None if there is none."""
        file = self.file_of(self.ticket(object_id))
        try:
            return None if file is None else file.read_bytes()
        except FileNotFoundError:
            return None

    def file_of(self, content: bytes) -> Path | None:
        """Return the file that a ticket names, whether or not it is there; None if this is no ticket."""
        named = _TICKET.fullmatch(content) if len(content) < SMALL_BYTES else None
        return None if named is None else self.folder / named[1].decode()

    def ticket(self, name: str) -> bytes:
        """Return the ticket of the file of that name: of an object in a store, its id."""
        return b"acinus-piece:" + name.encode()


@dataclass(frozen=True, slots=True)
class Pulled:
    """What Flower's `PullObjectResponse` says, without its copy of the content."""

    object_found: bool
    object_available: bool
    object_content: bytes


def _written_at(file: Path) -> float:
    """Return when a file was written; of one that is gone, just now."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def shared_pieces() -> Pieces | None:
    """Return the folder that this process was started with."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Pieces(Path(folder)) if folder else None


def share(client: RuntimeHttpClient, pieces: Pieces | None) -> RuntimeHttpClient:
    """Return a client of Flower's, which from now on sends tickets for large objects, and redeems those that it gets."""
    if pieces is not None:
        client.PushObject = _depositing(client.PushObject, pieces)  # type: ignore[method-assign, assignment]
        client.PullObject = _resolving(client.PullObject, pieces)  # type: ignore[method-assign, assignment]
    return client


def with_ticket(body: bytes, pieces: Pieces) -> tuple[bytes, Path | None]:
    """Return a request of a SuperNode that sends an object, with a ticket in a large object's place, and the file of that ticket.

    The file is to be removed when the request has been answered, in case nobody took it. A body that cannot be read stays as it is.
    """
    try:
        request = PushObjectRequest.FromString(body)
    except DecodeError:
        return body, None
    if len(request.object_content) <= SMALL_BYTES:
        return body, None
    deposit = pieces.deposit(request.object_content)
    request.object_content = pieces.ticket(deposit.name)
    return request.SerializeToString(), deposit


def with_content(body: bytes, pieces: Pieces) -> bytes:
    """Return the SuperLink's answer to a SuperNode that asks for an object, with the object in the ticket's place. Any other body stays.

    Raises:
        FileNotFoundError: If the object's message has been let go of.
    """
    try:
        answer = PullObjectResponse.FromString(body)
    except DecodeError:
        return body
    file = pieces.file_of(answer.object_content)
    if file is None:
        return body
    answer.ClearField("object_content")
    content = file.read_bytes()
    # A message and a field behind it are a message with that field, and one copy instead of three (protobuf.dev, "Encoding").
    return b"".join((answer.SerializeToString(), _CONTENT_TAG, _varint(len(content)), content))


def _varint(number: int) -> bytes:
    """Return protobuf's writing of a number: seven bits a byte, the least first, the top bit set on all but the last."""
    written = bytearray()
    while number >> 7:
        written.append((number & 127) | 128)
        number >>= 7
    return bytes([*written, number])


def _depositing(push: Callable[..., object], pieces: Pieces) -> Callable[..., object]:
    def pushed(request: PushObjectRequest) -> object:
        if len(request.object_content) <= SMALL_BYTES:
            return push(request)
        deposit = pieces.deposit(request.object_content)
        request.object_content = pieces.ticket(deposit.name)
        try:
            return push(request)
        finally:
            deposit.unlink(missing_ok=True)  # nobody took it: the message is not wanted any more

    return pushed


def _resolving(pull: Callable[..., PullObjectResponse], pieces: Pieces) -> Callable[..., Pulled]:
    """Return what looks for an object's file before it asks: the store writes each under its id, whole."""

    def pulled(request: PullObjectRequest) -> Pulled:
        here = pieces.stored(request.object_id)
        if here is not None:
            return Pulled(object_found=True, object_available=True, object_content=here)
        answer = pull(request)
        try:
            content = pieces.resolved(answer.object_content)
        except FileNotFoundError:
            return Pulled(object_found=False, object_available=False, object_content=b"")
        return Pulled(answer.object_found, answer.object_available, content)

    return pulled
