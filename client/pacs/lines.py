"""Two ways to hand an object to the PACS, with one answer: taken, refused for good, or not now."""

import logging
import secrets
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self

from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from client.pacs.peer import Peer, tls_context
from client.sections import PacsSettings
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

CLASSES = {
    "seg": SegmentationStorage,
    "sr": ComprehensiveSRStorage,
    "picture": SecondaryCaptureImageStorage,
    "report": EnhancedSRStorage,
}
"""The SOP class of each kind of object that `[pacs] objects` may name."""

_SUCCESS, _WARNING, _OUT_OF_RESOURCES = 0x0000, 0xB000, 0xA700
_NOT_NOW = {0x0110, 0x0213}
_DUPLICATE, _CANNOT_UNDERSTAND = 0x0111, 0xC000
"""Statuses of C-STORE (PS3.4 annex B.2.3, PS3.7 annex C) and failure reasons of STOW-RS (PS3.18 table I.2-2) are the same numbers."""

_OK, _ACCEPTED = 200, 202
_ACSE_SECONDS = 10
_ALERT_SECONDS = 1.0
_CHUNK = 1 << 20


class Line(AbstractContextManager["Line"], Protocol):
    """A way to the PACS, open while it is entered."""

    def send(self, path: Path) -> Code | None:
        """Send one DICOM file; return `None` once the PACS has it, or the code with which it is refused for good.

        Raises:
            FederationError: The PACS does not take it now; nothing is known to have arrived.
        """


class CStoreLine:
    """C-STORE over one association."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._association: Association | None = None

    def __enter__(self) -> Self:
        """Ask for the association.

        Raises:
            RefusedError: `peer-refused` if the PACS does not know this node; `peer-untrusted` if either side does not take the
                other's certificate, or the PACS speaks no TLS there.
            UnavailableError: `peer-unreachable`, `missing-certificate`.
        """
        self._association = associate(self._settings, CLASSES.values())
        return self

    def __exit__(self, *_: object) -> None:
        """Release the association."""
        if self._association is not None and self._association.is_established:
            self._association.release()
        self._association = None

    def send(self, path: Path) -> Code | None:
        """Send one object.

        Raises:
            UnavailableError: `peer-unreachable`.
        """
        if self._association is None or not self._association.is_established:
            raise _unreachable()
        try:
            answer = self._association.send_c_store(path)
        except ValueError:  # the PACS has accepted no context for this class
            return Code.PEER_REFUSED
        except (RuntimeError, ConnectionError) as error:
            raise _unreachable() from error
        if "Status" not in answer:
            raise _unreachable()
        return judged(int(answer.Status))


def associate(settings: NodeSettings, classes: Iterable[str]) -> Association:
    """Return an open association with the PACS for some SOP classes, uncompressed.

    Raises:
        RefusedError: `peer-refused` if the PACS does not know this node; `peer-untrusted` if either side does not take the
            other's certificate, or the PACS speaks no TLS there.
        UnavailableError: `peer-unreachable`, `missing-certificate`.
    """
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs headers
    pacs = settings.pacs
    entity = AE(ae_title=settings.dicom.ae_title)
    entity.acse_timeout, entity.connection_timeout = _ACSE_SECONDS, _ACSE_SECONDS
    entity.dimse_timeout = entity.network_timeout = pacs.timeout_seconds
    for sop_class in classes:
        entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    context = tls_context(pacs, settings.home) if pacs.tls else None
    opened = entity.associate(
        pacs.host, pacs.port, ae_title=pacs.ae_title,
        tls_args=None if context is None else (context, pacs.host),
    )  # fmt: skip
    if opened.is_rejected:
        raise RefusedError(
            Code.PEER_REFUSED, "The PACS rejects the association. Name this node's AE title there, or correct [pacs]."
        )
    if not opened.is_established:
        if context is not None:
            refuse_untrusted(pacs, context)
        raise _unreachable()
    return opened


class StowLine:
    """STOW-RS, one object in a request: a refusal of one says nothing of another."""

    def __init__(self, pacs: PacsSettings, home: Path) -> None:
        self._peer = Peer(pacs, home)

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._peer.__exit__()

    def send(self, path: Path) -> Code | None:
        """Send one object.

        Raises:
            RefusedError: `unauthenticated`, `forbidden`, `peer-untrusted`.
            UnavailableError: `peer-unreachable`, `peer-garbled`.
        """
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        size = len(head) + path.stat().st_size + len(tail)
        content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        status, answer = self._peer.store(content_type, size, _framed(head, path, tail))
        return judged_stow(status, answer)


def refuse_untrusted(pacs: PacsSettings, context: ssl.SSLContext) -> None:
    """Say so if it is TLS that keeps an association from coming: pynetdicom tells only that there is none.

    A handshake of our own shows it. Under TLS 1.3 a server may refuse our certificate after its own half, with the first bytes.

    Raises:
        RefusedError: `peer-untrusted`.
        UnavailableError: `peer-unreachable` if the PACS does not answer, or breaks off.
    """
    try:
        raw = socket.create_connection((pacs.host, pacs.port), timeout=_ACSE_SECONDS)
    except OSError as error:
        raise _unreachable() from error
    try:
        with raw, context.wrap_socket(raw, server_hostname=pacs.host) as line:
            line.settimeout(_ALERT_SECONDS)
            line.recv(1)
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(
            Code.PEER_UNTRUSTED,
            "The certificate of the PACS is not under the authority in [pacs] ca, or is not for the name in host. Correct one.",
        ) from error
    except TimeoutError:
        return  # it waits for us to speak: TLS is not what is wrong
    except OSError as error:
        if "ALERT" in str(error).upper():
            raise RefusedError(
                Code.PEER_UNTRUSTED,
                "The PACS does not take this node's certificate: look at [pacs] certificate, and at the log of the PACS.",
            ) from error
        raise UnavailableError(
            Code.PEER_UNREACHABLE,
            "The PACS breaks off the TLS handshake: it may speak no TLS on this port. Look at [pacs] port and tls.",
        ) from error


def open_line(settings: NodeSettings) -> Line:
    """Return the way that the settings name.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    return CStoreLine(settings) if settings.pacs.send == "c-store" else StowLine(settings.pacs, settings.home)


def judged(status: int) -> Code | None:
    """Return what a status or failure reason means: `None` for taken, with or without a warning.

    Raises:
        UnavailableError: `peer-unreachable` if the PACS is out of resources or has failed: it may take the object later.
    """
    if status in {_SUCCESS, _DUPLICATE} or status & 0xF000 == _WARNING:
        return None
    if status & 0xFF00 == _OUT_OF_RESOURCES or status in _NOT_NOW:
        raise UnavailableError(Code.PEER_UNREACHABLE, "The PACS is out of resources or has failed; it is tried again.")
    return Code.PEER_REFUSED


def judged_stow(status: int, answer: Any) -> Code | None:
    """Return what the answer to a request with one object means.

    Raises:
        UnavailableError: `peer-unreachable`, or `peer-garbled` if it cannot be told whether the object was stored.
    """
    reasons = _failure_reasons(answer)
    if reasons:
        return judged(reasons[0])
    if status == _OK:
        return None
    if status == _ACCEPTED:
        if isinstance(answer, dict):  # stored, with a warning
            return None
        raise UnavailableError(Code.PEER_GARBLED, "The PACS says that something was not stored, and not what.")
    return Code.PEER_REFUSED


def _failure_reasons(answer: Any) -> list[int]:
    """Return every Failure Reason (0008,1197) under Failed SOP Sequence and Other Failures Sequence."""
    found: list[int] = []
    for tag in ("00081198", "0008119A"):
        element = answer.get(tag) if isinstance(answer, dict) else None
        items = element.get("Value") if isinstance(element, dict) else None
        found += [_reason(item) for item in items] if isinstance(items, list) else []
    return found


def _reason(item: Any) -> int:
    """Return the reason in an item; one that cannot be read counts as not understood."""
    try:
        return int(item["00081197"]["Value"][0])
    except (TypeError, KeyError, IndexError, ValueError):
        return _CANNOT_UNDERSTAND


def _framed(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
    yield tail


def _unreachable() -> UnavailableError:
    return UnavailableError(Code.PEER_UNREACHABLE, "The PACS of [pacs] host and port does not answer. Is it up?")
