"""Behind a hospital's HTTP proxy that passes CONNECT to port 443 of the centre's names and nothing else: everything of a node gets out."""

import asyncio
import base64
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from client.gate.enrol import reach
from client.gate.fetch import fetch_weights
from client.gate.forward import forward
from client.gate.proxy import Proxy, adopt_proxy, dial, proxy_for
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError
from server.authority import certificate_pem, issue_server, make_authority
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.link_server import LinkCentre
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port

HOST = "centre.test"
VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine, and none left behind for other tests."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@dataclass
class Echo:
    """A TLS server at the centre under the name `HOST`, and where it really listens."""

    folder: Path
    port: int

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        return context

    async def serve(self) -> asyncio.Server:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                writer.write(data.upper())
                await writer.drain()
            writer.close()

        return await asyncio.start_server(echo, "127.0.0.1", self.port, ssl=self.server_context())


@pytest.fixture
def echo(tmp_path: Path) -> Echo:
    now = datetime.now(UTC)
    authority = make_authority(now)
    chain, key = issue_server(authority, part="fleet", host_name=HOST, now=now)
    (tmp_path / "ca.pem").write_bytes(certificate_pem(authority.certificate))
    (tmp_path / "server.pem").write_bytes(chain)
    (tmp_path / "server.key").write_bytes(key)
    return Echo(tmp_path, free_port())


@pytest.fixture
def proxy(echo: Echo) -> Iterator[ConnectProxy]:
    running = ConnectProxy({f"{HOST}:443": ("127.0.0.1", echo.port)})
    running.start()
    yield running
    running.close()


async def said(echo: Echo, port: int = 443) -> bytes:
    """What a centre behind the proxy answers to a dialled connection."""
    server = await echo.serve()
    try:
        reader, writer = await dial(HOST, port, echo.context())
        writer.write(b"weights")
        answer = await reader.readexactly(7)
        writer.close()
        return answer
    finally:
        server.close()


def test_a_dialled_name_is_reached_through_the_proxy_which_alone_can_resolve_it(
    echo: Echo, proxy: ConnectProxy
) -> None:
    adopt_proxy(proxy.address)
    assert asyncio.run(said(echo)) == b"WEIGHTS"
    assert proxy.asked == [f"CONNECT {HOST}:443"]


def test_another_port_than_443_does_not_get_out_and_the_proxy_is_named(echo: Echo, proxy: ConnectProxy) -> None:
    adopt_proxy(proxy.address)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{proxy.port} answers 403.*{HOST}:8445") as caught:
        asyncio.run(said(echo, 8445))
    assert caught.value.code is Code.PEER_UNREACHABLE


def test_a_proxy_that_asks_who_we_are_is_told(echo: Echo, proxy: ConnectProxy) -> None:
    proxy.authorization = f"Basic {base64.b64encode(b'acinus:s p@ce').decode()}"
    adopt_proxy(proxy.address)
    with pytest.raises(UnavailableError, match="answers 407"):
        asyncio.run(said(echo))
    adopt_proxy(proxy.address.replace("http://", "http://acinus:s%20p%40ce@"))
    assert asyncio.run(said(echo)) == b"WEIGHTS"


def test_a_proxy_that_speaks_something_else_is_refused(echo: Echo) -> None:
    async def against(answer: bytes) -> None:
        async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(odd, "127.0.0.1", echo.port)
        adopt_proxy(f"http://127.0.0.1:{echo.port}")
        try:
            await dial(HOST, 443, echo.context())
        finally:
            server.close()

    for answer in (b"", b"hello\r\n\r\n", b"HTTP/1.1 \r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"x" * 40_000):
        with pytest.raises(UnavailableError, match="does not answer as a proxy does"):
            asyncio.run(against(answer))


def test_a_proxy_that_opens_tls_under_its_own_authority_is_a_stranger(echo: Echo, proxy: ConnectProxy) -> None:
    adopt_proxy(proxy.address)
    other = ssl.create_default_context(cadata=certificate_pem(make_authority(datetime.now(UTC)).certificate).decode())

    async def refused() -> None:
        server = await echo.serve()
        try:
            await dial(HOST, 443, other)
        finally:
            server.close()

    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(refused())


def test_the_forwarder_carries_the_supernode_through_the_proxy(echo: Echo, proxy: ConnectProxy) -> None:
    """Many megabytes both ways, as weights are."""
    adopt_proxy(proxy.address)
    inside, content = free_port(), b"w" * (5 * 1024 * 1024)

    async def carried() -> bytes:
        server, stop = await echo.serve(), asyncio.Event()
        running = asyncio.create_task(
            forward(inside, inside=echo.server_context(), fleet=f"{HOST}:443", outside=echo.context, stop=stop)
        )
        await asyncio.sleep(0.2)
        context = echo.context()
        reader, writer = await asyncio.open_connection("127.0.0.1", inside, ssl=context, server_hostname=HOST)
        writer.write(content)
        answer = await reader.readexactly(len(content))
        writer.close()
        stop.set()
        await running
        server.close()
        return answer

    assert asyncio.run(asyncio.wait_for(carried(), 60)) == content.upper()
    assert proxy.bytes_through > 2 * len(content)


@pytest.fixture
def link(echo: Echo, tmp_path: Path) -> Iterator[LinkCentre]:
    """A link whose certificate names `HOST`."""
    centre = LinkCentre(tmp_path / "centre")
    authority = centre.authority()
    chain, key = issue_server(authority, part="registry", host_name=HOST, now=datetime.now(UTC))
    (tmp_path / "centre" / "pki" / "registry.pem").write_bytes(chain)
    (tmp_path / "centre" / "pki" / "registry.key").write_bytes(key)
    centre.start()
    yield centre
    centre.close()


def test_the_link_goes_through_the_proxy_too(link: LinkCentre) -> None:
    """gRPC reads the environment by names of its own."""
    content = b"weights" * 1000
    sha256 = "b1b2" * 16
    link.weights = {sha256: [content]}
    proxy = ConnectProxy({f"{HOST}:443": ("127.0.0.1", link.port)})
    proxy.start()
    try:
        adopt_proxy(proxy.address)
        fetch = lambda: fetch_weights(f"{HOST}:443", link.identity(), sha256=sha256, size=len(content))  # noqa: E731
        assert code_of(fetch) is Code.SIGNATURE_INVALID, "it came, and its hash is not what the manifest would say"
        assert f"CONNECT {HOST}:443" in proxy.asked
    finally:
        proxy.close()


def test_enrolment_and_the_doctor_ask_the_registry_through_the_proxy(echo: Echo, proxy: ConnectProxy) -> None:
    adopt_proxy(proxy.address)
    assert (
        code_of(lambda: reach(f"https://{HOST}", ssl.create_default_context(cafile=echo.folder / "ca.pem")))
        is Code.PEER_UNREACHABLE
    )
    assert proxy.asked == [f"CONNECT {HOST}:443"]


# Which proxy, and for whom.


def test_without_a_proxy_the_way_is_direct() -> None:
    adopt_proxy("")
    assert proxy_for(HOST) is None
    assert "HTTPS_PROXY" not in os.environ


def test_the_settings_come_before_the_environment_and_every_name_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://old:1")
    adopt_proxy("http://new:3128")
    assert proxy_for(HOST) == Proxy("new", 3128)
    assert {os.environ[name] for name in ("HTTPS_PROXY", "https_proxy")} == {"http://new:3128"}


def test_the_environments_proxy_counts_where_the_settings_name_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://hospital:8080")
    adopt_proxy("")
    assert proxy_for(HOST) == Proxy("hospital", 8080)
    assert os.environ["HTTPS_PROXY"] == "http://hospital:8080"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_is_never_reached_through_it(host: str) -> None:
    adopt_proxy("http://proxy:3128")
    assert proxy_for(host) is None
    with httpx.Client() as client:
        assert client._transport_for_url(httpx.URL(f"http://{host}:9446")) is client._transport


def test_what_the_hospital_excepts_stays_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", ".hospital.example,10.0.0.1")
    adopt_proxy("http://proxy:3128")
    adopt_proxy("http://proxy:3128")
    assert proxy_for("pacs.hospital.example") is None
    assert proxy_for(HOST) is not None
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == ".hospital.example,10.0.0.1,localhost,127.0.0.1,::1"


@pytest.mark.parametrize("address", ["https://proxy:3128", "http://proxy", "socks5://proxy:1080", "http://:3128"])
def test_an_address_that_is_no_http_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("https_proxy", address)
    with pytest.raises(InvalidInputError) as caught:
        proxy_for(HOST)
    assert caught.value.code is Code.BAD_SETTING
