"""Where connections come in: one thread for each, a bound on all of them, TLS where the site wants it.

Whoever has not said who they are gives way when the house is full, the oldest first: silent sockets keep nobody honest waiting.
"""

import logging
import secrets
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from client.logs import fault_of
from client.receive.association import ACSE_SECONDS, MOST_PDU_BYTES, PDU_SECONDS, Association, Desk
from client.receive.line import Line
from client.receive.negotiation import Entity
from client.sections import DicomSettings
from protocol.codes import Code
from protocol.errors import UnavailableError

MOST_ASSOCIATIONS, MOST_CONNECTIONS = 100, 150
_LOOK_SECONDS = 0.2
_JOIN_SECONDS = 2.0

log = logging.getLogger(__name__)


class House(Desk, Protocol):
    """Where instances are handed in, and who must know when an association is over."""

    def ended(self, association: str) -> None:
        """Note that nothing more comes on it; called in its thread."""


@dataclass(eq=False, slots=True)
class _Guest:
    """A connection and its thread; `known` once the peer is associated."""

    connection: socket.socket
    thread: threading.Thread | None = None
    known: bool = False
    since: float = field(default_factory=time.monotonic)


class Doorway:
    """Accepts connections until it is told to stop."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None, entity: Entity, house: House) -> None:
        """Prepare to accept.

        Args:
            listener: Listens already.
            tls: Every connection must speak it, where there is one.
            entity: The node.
            house: Where instances go.
        """
        self._listener = listener
        self._tls = tls
        self._entity = entity
        self._house = house
        self._guests: set[_Guest] = set()
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Accept until `stop` is set; then every connection is closed."""
        self._listener.settimeout(_LOOK_SECONDS)
        try:
            while not stop.is_set():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                except OSError as error:  # too many open files, or the peer has gone again
                    log.warning("receiver.accept_failed", extra={"errno": error.errno or 0})
                    stop.wait(_LOOK_SECONDS)
                    continue
                self._let_in(connection)
        finally:
            self._close_all()

    def _let_in(self, connection: socket.socket) -> None:
        guest = _Guest(connection)
        with self._lock:
            full = len(self._guests) >= MOST_CONNECTIONS
            stranger = min((one for one in self._guests if not one.known), key=lambda one: one.since, default=None)
            if full and stranger is not None:
                _hang_up(stranger.connection)
            if full and stranger is None:
                _hang_up(connection)
                return
            self._guests.add(guest)
        guest.thread = threading.Thread(target=self._serve, args=(guest,), name="association", daemon=True)
        guest.thread.start()

    def _serve(self, guest: _Guest) -> None:
        name = secrets.token_hex(8)
        try:
            guest.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._secured(guest.connection)
            guest.connection = connection
            line = Line(connection, most_bytes=MOST_PDU_BYTES, pdu_seconds=PDU_SECONDS)
            Association(line, self._entity, self._house, name).serve(lambda: self._admit(guest))
        except (OSError, ssl.SSLError) as error:
            log.warning("receiver.no_connection", extra={"kind": type(error).__name__})
        except Exception as error:  # noqa: BLE001 - the rim of the thread: a traceback could quote a header
            log.error("receiver.fault", extra=fault_of(error))  # noqa: TRY400
        finally:
            self._house.ended(name)
            with self._lock:
                self._guests.discard(guest)
            _hang_up(guest.connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        """Return the connection, under TLS where the site wants it; the handshake holds up nobody but its own peer."""
        if self._tls is None:
            return connection
        connection.settimeout(ACSE_SECONDS)
        return self._tls.wrap_socket(connection, server_side=True)

    def _admit(self, guest: _Guest) -> bool:
        with self._lock:
            guest.known = sum(one.known for one in self._guests) < MOST_ASSOCIATIONS
            return guest.known

    def _close_all(self) -> None:
        with self._lock:
            guests = list(self._guests)
        for guest in guests:
            _hang_up(guest.connection)
        deadline = time.monotonic() + _JOIN_SECONDS
        for guest in guests:
            if guest.thread is not None:
                guest.thread.join(max(0.0, deadline - time.monotonic()))


def server_context(dicom: DicomSettings, home: Path) -> ssl.SSLContext | None:
    """Return the receiver's TLS context; `None` where the settings name no certificate.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    if dicom.tls_certificate is None or dicom.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and newer, as BCP 195 and PS3.15 B.12 ask
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(home / dicom.tls_certificate, home / dicom.tls_key)
        if dicom.tls_callers_ca is not None:
            context.load_verify_locations(home / dicom.tls_callers_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            "The certificate, its key or the callers' authority of [dicom] tls_… is missing or damaged. Correct the settings.",
        ) from error
    return context


def _hang_up(connection: socket.socket) -> None:
    """Close a connection, also under a thread that reads from it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("receiver.already_gone")  # the peer was faster
    connection.close()
