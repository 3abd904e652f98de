"""The serial of a client's certificate, as the registry writes serials. Over real TLS: tests/integration/federation/test_outsiders.py."""

import asyncio
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from server.peer import PEER_SERIAL, PeerProtocol, peer_serial


class Transport(asyncio.Transport):
    """A finished handshake. `certificate` is what `ssl.SSLObject.getpeercert` returns; None without TLS."""

    def __init__(self, certificate: dict[str, Any] | None, *, tls: bool = True) -> None:
        super().__init__(
            {"ssl_object": self if tls else None, "peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}
        )
        self._certificate = certificate
        self.written = b""

    def getpeercert(self) -> dict[str, Any] | None:
        return self._certificate

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("written", "serial"),
    [("0A1B", "a1b"), ("00", "0"), ("AB" * 16, "ab" * 16), ("7" * 40, "7" * 40), ("0" * 8 + "F" * 16, "f" * 16)],
)
def test_a_serial_is_lower_case_hex_without_leading_zeros(written: str, serial: str) -> None:
    assert peer_serial(Transport({"serialNumber": written})) == serial


@pytest.mark.parametrize("transport", [Transport(None), Transport({}), Transport({"serialNumber": "AB"}, tls=False)])
def test_without_a_certificate_there_is_none(transport: Transport) -> None:
    assert peer_serial(transport) is None


def test_every_request_on_a_line_carries_the_serial_of_its_handshake() -> None:
    seen: list[tuple[str, str | None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope[PEER_SERIAL]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def talk() -> None:
        config = Config(app, http=PeerProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        for certificate in ({"serialNumber": "0AB"}, None):
            protocol = PeerProtocol(config, state, {})
            protocol.connection_made(Transport(certificate))
            for path in (b"/a", b"/b"):
                protocol.data_received(b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
                await asyncio.gather(*state.tasks)

    asyncio.run(talk())
    assert seen == [("/a", "ab"), ("/b", "ab"), ("/a", None), ("/b", None)]
