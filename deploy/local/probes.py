"""Knocks on the centre's doors as a stranger would."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a knock brought: an HTTP status, or none when the door was shut before HTTP began."""

    status: int | None

    @property
    def refused(self) -> bool:
        """Whether the caller got nothing: no connection, no leave, or no such thing."""
        return self.status is None or self.status in {400, 401, 403, 404, 405}


def knock(url: str, *, ca: Path, method: str = "POST", identity: tuple[Path, Path] | None = None) -> Answer:
    """Call `url` with nothing but the CA certificate, or with the client certificate and key of `identity` too."""
    trust = ssl.create_default_context(cafile=str(ca))
    if identity is not None:
        trust.load_cert_chain(*map(str, identity))
    try:
        with httpx.Client(verify=trust, timeout=10, trust_env=False) as client:
            return Answer(client.request(method, url, content=b"").status_code)
    except (httpx.TransportError, ssl.SSLError, OSError):
        return Answer(None)


def tls_answers(port: int, *, ca: Path) -> bool:
    """Say whether a server that asks for client certificates talks to a peer that has none.

    In TLS 1.3 the refusal arrives after the handshake, so something is sent and an answer awaited.
    """
    trust = ssl.create_default_context(cafile=str(ca))
    trust.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("localhost", port), timeout=5) as raw,
            trust.wrap_socket(raw, server_hostname="localhost") as channel,
        ):
            channel.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            return bool(channel.recv(64))
    except (ssl.SSLError, OSError):
        return False


def listens_beyond_loopback(port: int) -> bool:
    """Say whether a TCP socket of this machine listens on `port` at an address that others can reach."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [
        line.split()
        for table in tables
        if table.exists()
        for line in table.read_text(encoding="ascii").splitlines()[1:]
    ]
    listening = [row[1].rpartition(":") for row in rows if row[3] == _LISTEN]
    addresses = [address for address, _, number in listening if int(number, 16) == port]
    return any(
        not (address.endswith("7F") and len(address) == 8) and address != f"{'0' * 24}01000000" for address in addresses
    )
