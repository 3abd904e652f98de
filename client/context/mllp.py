"""The node's HL7 port: MLLP over TCP, with TLS if the site wants it (HL7 v2 transport specification, release 1).

A message is framed by 0B before and 1C 0D after it. Senders are told apart by their address, and with TLS by their certificate if the site
names an authority; everybody else is hung up on without a word. What one sender may hold in memory is bounded.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from protocol.codes import Code
from protocol.errors import UnavailableError

Network = IPv4Network | IPv6Network
Hear = Callable[[bytes], bytes]
"""Takes a message and returns its acknowledgement; called in one thread, one message after another."""

_START, _END, _RETURN = b"\x0b", b"\x1c", b"\r"
_IDLE_SECONDS, _MESSAGE_SECONDS, _ANSWER_SECONDS = 600, 30, 30
_MOST_CONNECTIONS, _MOST_PER_ADDRESS = 64, 16
_MOST_BETWEEN = 64
"""Bytes that may stand between two messages: line ends, nothing else."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """Where the port is, who may use it, and how much they may send at once."""

    host: str
    port: int
    senders: tuple[Network, ...]
    most_bytes: int
    tls: ssl.SSLContext | None = None


class _TooLongError(Exception):
    """A peer sends more than a message may hold."""


class MllpServer:
    """Listens for HL7 messages."""

    def __init__(self, line: Line, hear: Callable[[], Hear]) -> None:
        """Prepare the server.

        Args:
            line: Where and for whom.
            hear: Opens what takes the messages; called once, in the thread that will use it.
        """
        self._line = line
        self._open = hear
        self._connections: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="context", initializer=self._prepare)
        self._hear: Hear | None = None

    async def run(self, stopped: asyncio.Event) -> None:
        """Listen until `stopped` is set.

        Raises:
            UnavailableError: `port-taken`.
        """
        line = self._line
        try:
            server = await asyncio.start_server(
                self._serve, line.host, line.port, ssl=line.tls, limit=line.most_bytes,
                ssl_handshake_timeout=10 if line.tls else None,
            )  # fmt: skip
        except OSError as error:
            raise UnavailableError(
                Code.PORT_TAKEN,
                f"HL7 cannot listen on {line.host}:{line.port}. Stop the other program or change [hl7] port in node.toml.",
            ) from error
        log.info("context.listening", extra={"port": line.port, "tls": line.tls is not None})
        try:
            await stopped.wait()
        finally:
            server.close()
            self._thread.shutdown(wait=True)

    def _prepare(self) -> None:
        self._hear = self._open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ("",))[0])
        if not self._may_speak(address):
            log.warning("context.stranger")
            writer.transport.abort()
            return
        self._connections[address] += 1
        try:
            await self._converse(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            log.info("context.hung_up")
        except (_TooLongError, asyncio.LimitOverrunError):
            log.warning("context.too_long")
        finally:
            self._connections[address] -= 1
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take messages until the peer ends; each is answered before the next is read."""
        loop = asyncio.get_running_loop()
        while await self._begins(reader):
            async with asyncio.timeout(_MESSAGE_SECONDS):
                framed = await reader.readuntil(_END)
            answer = await loop.run_in_executor(self._thread, self._heard, framed[:-1])
            writer.write(_START + answer + _END + _RETURN)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await writer.drain()

    async def _begins(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the start of a message; False at the end of the connection."""
        for _ in range(_MOST_BETWEEN):
            async with asyncio.timeout(_IDLE_SECONDS):
                sign = await reader.read(1)
            if not sign:
                return False
            if sign == _START:
                return True
        raise _TooLongError

    def _heard(self, content: bytes) -> bytes:
        if self._hear is None:  # pragma: no cover - the executor runs `_prepare` first
            raise RuntimeError("the thread was not prepared")
        return self._hear(content)

    def _may_speak(self, address: str) -> bool:
        """Say whether this address is on the site's list and has connections left."""
        if sum(self._connections.values()) >= _MOST_CONNECTIONS or self._connections[address] >= _MOST_PER_ADDRESS:
            return False
        return is_listed(address, self._line.senders)


def is_listed(address: str, senders: tuple[Network, ...]) -> bool:
    """Say whether an address lies in one of the networks. An IPv4 address that comes as IPv6 counts as what it is."""
    try:
        given = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = getattr(given, "ipv4_mapped", None) or given
    return any(plain.version == network.version and plain in network for network in senders)
