"""Hands an HL7 v2 message to the hospital's system by MLLP and waits for its word: taken, refused for good, or not now.

The acknowledgement is the original mode's (HL7 v2.5.1, 2.9.2): MSA-1 says AA, AE or AR (or CA, CE, CR), and MSA-2 of which message. AE (the
message is wrong) is for good. AR is also what a system answers that is down or overrun, and the standard says to try again later.
"""

import socket
import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from client.sections import ReportsSettings
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError

_START, _END = b"\x0b", b"\x1c\r"
_CHUNK = 4096
_MOST_ANSWER = 64 * 1024
_TAKEN, _WRONG = frozenset({"AA", "CA"}), frozenset({"AE", "CE"})


class MllpLine(AbstractContextManager["MllpLine"]):
    """One connection to the hospital's system; messages go one after the other, each acknowledged before the next."""

    def __init__(self, settings: ReportsSettings, home: Path) -> None:
        self._settings = settings
        self._home = home
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            UnavailableError: `peer-unreachable`, `missing-certificate`.
            RefusedError: `peer-untrusted` if either side does not take the other's certificate.
        """
        said = self._settings
        context = _tls(said, self._home) if said.tls else None
        try:
            plain = socket.create_connection((said.host, said.port), timeout=said.timeout_seconds)
            self._socket = plain
            if context is not None:
                self._socket = context.wrap_socket(plain, server_hostname=said.host)
        except ssl.SSLError as error:
            self._close()
            raise RefusedError(
                Code.PEER_UNTRUSTED,
                "The system that takes reports and this node do not trust each other. Check [reports] ca, certificate and key.",
            ) from error
        except OSError as error:
            self._close()
            raise _unreachable() from error
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._close()

    def send(self, path: Path) -> Code | None:
        """Send one message; return None once the system has taken it, or the code with which it is refused for good.

        Raises:
            UnavailableError: `peer-unreachable`, `peer-garbled`: nothing is known to have arrived.
            RefusedError: `peer-refused` if the system rejects it for now (AR).
        """
        if self._socket is None:
            raise _unreachable()
        message = path.read_bytes()
        try:
            self._socket.sendall(_START + message + _END)
            answer = self._answer()
        except OSError as error:  # TLS faults and time-outs are such too
            raise _unreachable() from error
        return _judged(answer, control_id(message))

    def _answer(self) -> bytes:
        """Return what stands in the next frame; a frame that was begun before is no answer to this message."""
        received = b""
        while _END not in received:
            chunk = self._socket.recv(_CHUNK) if self._socket is not None else b""
            if not chunk:
                raise ConnectionError
            received += chunk
            if len(received) > _MOST_ANSWER:
                raise _garbled()
        return received.partition(_START)[2].partition(_END)[0]

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def control_id(message: bytes) -> str:
    """Return MSH-10 of a message of ours: its name, by which it is acknowledged."""
    return message.partition(b"\r")[0].split(b"|")[9].decode("ascii")


def _judged(answer: bytes, ours: str) -> Code | None:
    """Read an acknowledgement.

    Raises:
        UnavailableError: `peer-garbled` if it is none, or of another message.
        RefusedError: `peer-refused` if the system rejects the message for now.
    """
    lines = answer.replace(b"\n", b"\r").decode("latin-1").split("\r")
    fields = next((line.split("|") for line in lines if line.startswith("MSA|")), [])
    word, of = (*fields[1:3], "", "")[:2]
    if of.strip() != ours:
        raise _garbled()
    if word in _TAKEN:
        return None
    if word in _WRONG:
        return Code.PEER_REFUSED
    raise RefusedError(
        Code.PEER_REFUSED, "The system that takes reports rejects them at the moment (AR). Ask those who run it."
    )


def _tls(said: ReportsSettings, home: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(home / said.ca) if said.ca else None)
        if said.certificate:
            context.load_cert_chain(home / said.certificate, home / said.key if said.key else None)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, "A file of [reports] ca, certificate or key is missing or damaged. Restore it."
        ) from error
    return context


def _unreachable() -> UnavailableError:
    return UnavailableError(
        Code.PEER_UNREACHABLE, "The system that takes reports does not answer. Check [reports] in node.toml."
    )


def _garbled() -> UnavailableError:
    return UnavailableError(
        Code.PEER_GARBLED,
        "The system that takes reports answers something else than an acknowledgement of the message.",
    )
