"""A centre's link for tests: a real gRPC server with mutual TLS, in a thread of its own, that misbehaves as told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.gate.trust import Identity
from protocol.link_pb2 import CentreFrame, Chunk, Envelope, Heartbeat, NodeFrame, Verdict, WeightsRequest
from protocol.link_pb2_grpc import LinkServicer, add_LinkServicer_to_server
from registry_api.enrolment.authority import Authority
from tests.fakes.centre_home import key_pem, make_centre_home, make_csr
from tests.fakes.ports import free_port


@dataclass
class LinkCentre(LinkServicer):
    """What the centre does and what it saw. Set the behaviour before the node connects."""

    folder: Path
    verdict: Callable[[Envelope], Verdict | None] = lambda envelope: Verdict(id=envelope.id, accepted=True)
    notices: list[Envelope] = field(default_factory=list)
    weights: dict[str, list[bytes]] = field(default_factory=dict)
    hang_up_after: int = 0
    """Frames of a stream after which the centre ends it; 0 never."""
    silent: bool = False
    parcels: list[Envelope] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    streams: int = 0
    peers: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        make_centre_home(self.folder)
        self._loop = asyncio.new_event_loop()
        self._server: grpc.aio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def authority(self) -> Authority:
        pki = self.folder / "pki"
        ca_key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        return Authority(x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes()), ca_key, node_days=1)

    def identity(self, site: str = "northport") -> Identity:
        """A node's certificate, as enrolment would give it."""
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self.authority().issue(make_csr(key), site=site, now=datetime.now(UTC))
        return Identity((self.folder / "pki" / "ca.pem").read_bytes(), issued.pem.encode(), key_pem(key))

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)
            self._server = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _start(self) -> None:
        pki = self.folder / "pki"
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        add_LinkServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        credentials = grpc.ssl_server_credentials(
            [((pki / "registry.key").read_bytes(), (pki / "registry.pem").read_bytes())],
            root_certificates=(pki / "ca.pem").read_bytes(), require_client_auth=True,
        )  # fmt: skip
        self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials)
        await self._server.start()

    async def Open(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[NodeFrame], context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[CentreFrame]:
        self.streams += 1
        self.peers.append(next(iter(context.auth_context()["x509_common_name"])).decode())
        if self.silent:
            await asyncio.sleep(3600)
        for notice in self.notices:
            if notice.id not in self.received:
                yield CentreFrame(notice=notice)
        seen = 0
        async for frame in request_iterator:
            seen += 1
            for answer in self._answers(frame):
                yield answer
            if self.hang_up_after and seen >= self.hang_up_after:
                return

    def _answers(self, frame: NodeFrame) -> list[CentreFrame]:
        kind = frame.WhichOneof("content")
        if kind == "parcel":
            self.parcels.append(frame.parcel)
            verdict = self.verdict(frame.parcel)
            return [CentreFrame(verdict=verdict)] if verdict is not None else []
        if kind == "received":
            self.received.append(frame.received)
            return []
        return [CentreFrame(heartbeat=Heartbeat())]

    async def FetchWeights(  # noqa: N802 - gRPC's name
        self, request: WeightsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[Chunk]:
        if request.sha256 not in self.weights:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not-found")
        for data in self.weights[request.sha256]:
            yield Chunk(data=data)
