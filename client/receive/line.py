"""One connection of a sender: whole PDUs (PS3.8 section 9.3) within bounds of size and time, plain or under TLS.

A length field is a claim: no more is read or held than the cap, and a PDU that drips in is cut off at its deadline.
"""

import socket
import time
from enum import Enum

_HEAD_BYTES = 6
_FIRST_BUFFER = 1 << 18


class Kind(int, Enum):
    """PDU types (PS3.8 section 9.3)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class LineEndedError(Exception):
    """The connection is over or cannot go on; `why` is one of the words below, and nothing of what the peer said."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


CLOSED, LATE, TOO_LARGE, NO_PDU = "closed", "late", "too-large", "no-pdu"


class Line:
    """Reads and writes PDUs on one socket."""

    def __init__(self, connection: socket.socket, *, most_bytes: int, pdu_seconds: float) -> None:
        """Prepare a connection; small answers leave at once (`TCP_NODELAY`).

        Args:
            connection: Accepted; under TLS the handshake is done.
            most_bytes: Of one PDU without its head.
            pdu_seconds: From a PDU's first byte to its last.
        """
        self._connection = connection
        self._most_bytes = most_bytes
        self._pdu_seconds = pdu_seconds
        self._head = memoryview(bytearray(_HEAD_BYTES))
        self._buffer = memoryview(bytearray(min(_FIRST_BUFFER, most_bytes)))

    def read(self, idle_seconds: float, *, most_bytes: int | None = None) -> tuple[Kind, memoryview]:
        """Return the next PDU's type and body; the body is valid until the next call.

        Args:
            idle_seconds: How long to wait for it to begin.
            most_bytes: A smaller cap for this one.

        Raises:
            LineEndedError: Nothing came, too much is announced, too slow, or it is no PDU.
        """
        self._read_exactly(self._head, idle_seconds)
        size = int.from_bytes(self._head[2:], "big")
        try:
            kind = Kind(self._head[0])
        except ValueError:
            raise LineEndedError(NO_PDU) from None
        if size > (most_bytes or self._most_bytes):
            raise LineEndedError(TOO_LARGE)
        if size > len(self._buffer):
            self._buffer = memoryview(bytearray(size))
        body = self._buffer[:size]
        self._read_exactly(body, self._pdu_seconds)
        return kind, body

    def send(self, content: bytes) -> None:
        """Send all of `content`.

        Raises:
            LineEndedError: `closed`, or `late` if the peer does not take it.
        """
        try:
            self._connection.settimeout(self._pdu_seconds)
            self._connection.sendall(content)
        except TimeoutError:
            raise LineEndedError(LATE) from None
        except (OSError, ValueError):
            raise LineEndedError(CLOSED) from None

    def _read_exactly(self, target: memoryview, seconds: float) -> None:
        """Fill `target`. The deadline holds for all of it: one byte a minute is not progress."""
        deadline, done = time.monotonic() + seconds, 0
        while done < len(target):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LineEndedError(LATE)
            try:
                self._connection.settimeout(left)
                step = self._connection.recv_into(target[done:])
            except TimeoutError:
                raise LineEndedError(LATE) from None
            except (OSError, ValueError):  # a reset, a fault of TLS, or closed from beside
                raise LineEndedError(CLOSED) from None
            if step == 0:
                raise LineEndedError(CLOSED)
            done += step
