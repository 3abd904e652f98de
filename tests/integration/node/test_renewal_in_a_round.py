"""A node's certificate is renewed in the midst of a round: the real forwarder, the real gateway and the real registry, and nothing of the round is lost.

The SuperNode is what it is on the wire, an HTTP client that keeps its connections; the SuperLink behind the gateway notes what reaches it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn

from client.gate.forward import forward
from client.gate.trust import client_context
from registry_api.enrolment.renewal import OVERLAP
from registry_api.enrolment.sites import list_sites
from server.bell import Watch
from server.fleet import PREFIX, PULL, FleetGateway
from server.peer import PEER_SERIAL, PeerProtocol, Receive, Scope, Send
from server.roster import Roster
from strategies.bell import Bell
from tests.fakes.enrolled import EnrolledNode
from tests.fakes.ports import free_port

ORDER, WEIGHTS = b"an order", b"w" * 300_000
HEARTBEAT, PIECE, REPLY = (PREFIX + name for name in ("send-node-heartbeat", "push-object", "push-messages"))


class Quiet(uvicorn.Server):
    """Leaves the signals to pytest."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        serving = asyncio.create_task(self._serve(None))
        while not self.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield
        self.should_exit = True
        await serving


@dataclass
class Line:
    """A centre's fleet gateway and a node's forwarder before it, in one event loop."""

    node: EnrolledNode
    folder: Path
    order_is_there: bool = False
    arrived: list[tuple[str, str, int]] = field(default_factory=list)
    """Path, serial of the certificate and size of the body of each request that reached the gateway."""

    def __post_init__(self) -> None:
        self.fleet, self.inside = free_port(), free_port()
        self.roster, self.orders = Roster(), Bell(self.folder / "orders")
        self.look()

    def look(self) -> None:
        """What the gateway does every three seconds."""
        runtime = self.node.centre.runtime
        with runtime.database.reading() as session:
            self.roster.hear(list_sites(session, now=self.node.centre.clock()))

    def ring(self) -> None:
        self.order_is_there = True
        self.orders.ring()

    async def renew(self) -> None:
        """Ask, show, change over; then the gateway hears of it."""
        for _ in range(2):
            await self.node.renewer().step()
            self.look()

    def of(self, path: str) -> list[str]:
        return [serial for asked, serial, _ in self.arrived if asked == path]

    @asynccontextmanager
    async def up(self) -> AsyncIterator[httpx.AsyncClient]:
        """Run all of it and give the SuperNode's client."""
        pki, stop, watch = self.node.centre.folder / "pki", asyncio.Event(), Watch(self.orders)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pki / "registry.pem", pki / "registry.key")
        async with httpx.AsyncClient(base_url="https://superlink", transport=self._superlink()) as superlink:
            gateway = FleetGateway(self.roster, superlink, limit_bytes=10**6, orders=watch)
            ringing = asyncio.create_task(watch.run())
            forwarding = asyncio.create_task(
                forward(
                    self.inside, inside=server, fleet=f"localhost:{self.fleet}",
                    outside=lambda: client_context(self.node.trust, self.node.keys), stop=stop,
                )
            )  # fmt: skip
            async with Quiet(self._config(self._noting(gateway), pki)).running():
                async with self.supernode(pki) as client:
                    yield client
                watch.close()
                stop.set()
                await forwarding
            ringing.cancel()

    def supernode(self, pki: Path) -> httpx.AsyncClient:
        """Flower's way to the centre: connections are kept as long as the other side lets them be."""
        limits = httpx.Limits(keepalive_expiry=None)
        trust = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        return httpx.AsyncClient(
            base_url=f"https://localhost:{self.inside}", verify=trust, limits=limits, timeout=20, trust_env=False
        )

    def _config(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], pki: Path) -> uvicorn.Config:
        return uvicorn.Config(
            app, host="127.0.0.1", port=self.fleet, http=PeerProtocol, ws="none", lifespan="off", log_config=None,
            ssl_certfile=str(pki / "registry.pem"), ssl_keyfile=str(pki / "registry.key"), ssl_ca_certs=str(pki / "ca.pem"),
            ssl_cert_reqs=ssl.CERT_REQUIRED, timeout_graceful_shutdown=1, timeout_keep_alive=60,
        )  # fmt: skip

    def _noting(self, gateway: FleetGateway) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            size = int(dict(scope["headers"]).get(b"content-length", 0))
            self.arrived.append((scope["path"], scope[PEER_SERIAL], size))
            await gateway(scope, receive, send)

        return noted

    def _superlink(self) -> httpx.MockTransport:
        def answer(request: httpx.Request) -> httpx.Response:
            there = request.url.path != PULL or self.order_is_there
            return httpx.Response(200, content=ORDER if there else b"")

        return httpx.MockTransport(answer)


@pytest.fixture
def line(tmp_path: Path, node: EnrolledNode) -> Line:
    node.enrol(days_ago=21)
    return Line(node, tmp_path)


def play(line: Line, story: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def told() -> None:
        async with line.up() as client:
            await story(client)

    asyncio.run(asyncio.wait_for(told(), 60))


async def said(client: httpx.AsyncClient, path: str, content: bytes = b"") -> tuple[int, bytes]:
    answer = await client.post(path, content=content)
    return answer.status_code, answer.content


async def until_asked(line: Line, path: str, times: int = 1) -> None:
    while len(line.of(path)) < times:  # noqa: ASYNC110 - another task's doing
        await asyncio.sleep(0.01)


def test_an_order_is_awaited_under_one_certificate_and_answered_under_the_next(line: Line) -> None:
    """The question for work is on its way as the certificate changes; the order comes on that connection, the weights on others."""
    old = line.node.serial()

    async def story(client: httpx.AsyncClient) -> None:
        waiting = asyncio.create_task(said(client, PULL))
        await until_asked(line, PULL)
        await line.renew()
        line.ring()
        assert await waiting == (200, ORDER)
        pieces = [said(client, PIECE, WEIGHTS) for _ in range(3)]
        answers = [*await asyncio.gather(*pieces), await said(client, HEARTBEAT), await said(client, REPLY)]
        assert {status for status, _ in answers} == {200}

    play(line, story)
    new = line.node.serial()
    assert line.of(PULL) == [old]
    assert line.of(PIECE) == [new] * 3
    assert line.of(REPLY) == line.of(HEARTBEAT) == [new]
    assert [size for path, _, size in line.arrived if path == PIECE] == [len(WEIGHTS)] * 3


def test_an_update_that_is_being_sent_is_sent_to_its_end(line: Line) -> None:
    """Half of the body is out when the certificate changes."""
    old = line.node.serial()

    async def story(client: httpx.AsyncClient) -> None:
        renewed = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield WEIGHTS
            await until_asked(line, PIECE)
            await line.renew()
            renewed.set()
            yield WEIGHTS

        assert await said(client, PIECE, body()) == (200, ORDER)  # type: ignore[arg-type] # httpx takes a stream too
        assert renewed.is_set()
        assert await said(client, REPLY) == (200, ORDER)

    play(line, story)
    assert line.of(PIECE) == [old]
    assert line.of(REPLY) == [line.node.serial()] != [old]


def test_a_connection_that_was_silent_until_the_old_one_had_ended_costs_one_question(line: Line) -> None:
    """Refused, and closed: asked again, the node is let in under its new certificate. Otherwise it would be refused for ever."""
    old = line.node.serial()

    async def story(client: httpx.AsyncClient) -> None:
        assert await said(client, HEARTBEAT) == (200, ORDER)
        await line.renew()
        line.node.centre.clock.by = OVERLAP + timedelta(seconds=1)
        line.look()
        assert (await said(client, HEARTBEAT))[0] == 403
        assert await said(client, HEARTBEAT) == (200, ORDER)

    play(line, story)
    assert line.of(HEARTBEAT) == [old, old, line.node.serial()]


def test_a_site_that_is_shut_out_is_not_let_in_by_having_renewed(line: Line) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        await line.renew()
        line.node.centre.revoke()
        line.look()
        for path in (PULL, PIECE, HEARTBEAT):
            assert (await said(client, path))[0] == 403

    play(line, story)
