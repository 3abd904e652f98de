"""The serial of a client's certificate, as the registry writes serials. Over real TLS: tests/integration/federation/test_outsiders.py."""

import asyncio
from typing import Any

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from protocol.enrolment import SiteEntry
from server.fleet import PREFIX, FleetGateway
from server.peer import PEER_SERIAL, PeerProtocol, peer_serial
from server.roster import Roster


class Transport(asyncio.Transport):
    """A finished handshake. `certificate` is what `ssl.SSLObject.getpeercert` returns; None without TLS."""

    def __init__(self, certificate: dict[str, Any] | None, *, tls: bool = True) -> None:
        super().__init__(
            {"ssl_object": self if tls else None, "peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}
        )
        self._certificate = certificate
        self.written = b""
        self.closed = False

    def getpeercert(self) -> dict[str, Any] | None:
        return self._certificate

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


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


@pytest.mark.parametrize(
    ("serial", "closed"), [("0AB", True), ("0CD", False)], ids=["the earlier one", "the present one"]
)
def test_a_line_under_an_earlier_certificate_is_closed_after_its_whole_answer(serial: str, *, closed: bool) -> None:
    """The next request comes on a new line, under the new certificate; nothing of this one is cut."""
    roster = Roster()
    roster.hear(
        [SiteEntry(site="north", region="XA", supernode_key=None, active=True, certificate_serials=("cd" + "0" * 14, "ab" + "0" * 14))]
    )  # fmt: skip
    transport = Transport({"serialNumber": serial + "0" * 14})

    async def talk() -> None:
        answer = httpx.MockTransport(lambda _: httpx.Response(200, content=b"the whole answer"))
        async with httpx.AsyncClient(base_url="https://superlink", transport=answer) as superlink:
            gateway = FleetGateway(roster, superlink, limit_bytes=1000)
            config = Config(gateway, http=PeerProtocol, ws="none", lifespan="off", log_config=None)
            config.load()
            state = ServerState()
            protocol = PeerProtocol(config, state, {})
            protocol.connection_made(transport)
            request = f"POST {PREFIX}push-object HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
            protocol.data_received(request.encode())
            await asyncio.gather(*state.tasks)

    asyncio.run(talk())
    assert transport.written.startswith(b"HTTP/1.1 200")
    assert transport.written.endswith(b"the whole answer")
    assert transport.closed is closed


def test_a_request_whose_head_has_no_end_is_ended() -> None:
    """Also who has a certificate may be hostile: what is kept of a head is bounded."""
    transport = Transport({"serialNumber": "0AB"})

    async def unwanted(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope["path"])

    async def talk() -> None:
        config = Config(unwanted, http=PeerProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol = PeerProtocol(config, ServerState(), {})
        protocol.connection_made(transport)
        protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\nx-endless: ")
        for _ in range(20):
            if not transport.closed:
                protocol.data_received(b"a" * 64 * 1024)

    asyncio.run(talk())
    assert transport.closed
    assert transport.written.startswith(b"HTTP/1.1 400")
