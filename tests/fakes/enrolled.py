"""A registry whose link really runs, in a thread of this process and by a clock that tests set, and a node that is enrolled there."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from client.gate import renewals
from client.gate.backoff import Backoff
from client.gate.keys import load_certificate
from client.gate.renew import RenewalPace, Renewer
from client.gate.renewals import RenewalBook
from client.gate.trust import CENTRE, CERTIFICATE, NODE_KEY, keep_reply, load_centre
from client.store.database import connect
from client.store.files import write_durably
from protocol.enrolment import EnrolReply, EnrolRequest
from protocol.shape import canonical_json
from registry_api.enrolment.authority import serial_hex
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import admitted, enrol, revoke_site
from registry_api.link.courier import Courier
from registry_api.link.server import open_link
from registry_api.runtime import build_runtime
from tests.fakes.centre_home import key_pem, make_centre_home, make_csr, supernode_key
from tests.fakes.ports import free_port

SITE, SECONDS = "northport", 20.0
QUICK = RenewalPace(look=0.02, settle=0.02, backoff=Backoff(first=0.02, ceiling=0.1))


@dataclass
class Moved:
    """The true time, moved by a test: TLS itself looks at the true one."""

    by: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by


@dataclass
class RealLink:
    """The registry's own link on a port."""

    folder: Path
    clock: Moved = field(default_factory=Moved)
    names: tuple[str, ...] = ("localhost",)
    """Of its certificate."""
    settled: Callable[[Path], None] = lambda _home: None
    """Called before the home is read: a test's own settings."""

    def __post_init__(self) -> None:
        self.port = free_port()
        make_centre_home(self.folder, link_port=self.port, names=self.names)
        self.settled(self.folder)
        self.runtime = build_runtime(self.folder, clock=self.clock)
        self.courier = Courier(self.runtime.database, self.clock)
        self._loop = asyncio.new_event_loop()
        self._server: grpc.aio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(SECONDS)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(SECONDS)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()
        self.runtime.database.close()

    async def _start(self) -> None:
        self._server = open_link(self.runtime, self.courier)
        await self._server.start()
        self._carrying = asyncio.create_task(self.courier.run())

    async def _stop(self) -> None:
        if self._server is not None:
            self._carrying.cancel()
            await self._server.stop(0)
            self._server = None

    def enrol(self, csr_pem: str, site: str = SITE) -> EnrolReply:
        runtime, now = self.runtime, self.clock()
        with runtime.database.writing() as session:
            token = create_invite(session, site=site, region="XA-N", hours=1, now=now)
            request = EnrolRequest(
                token=token, csr_pem=csr_pem, supernode_key=supernode_key(), gateway_origin="https://gateway.example"
            )
            _, issued = enrol(session, request, authority=runtime.authority, now=now)
        return EnrolReply(
            site=site, region="XA-N", certificate_pem=issued.pem, ca_pem=runtime.authority.pem, release_root=runtime.release_root.decode(),
            grant_key="g" * 43, link_address=f"localhost:{self.port}", fleet_address="localhost:1",
        )  # fmt: skip

    def revoke(self, site: str = SITE) -> None:
        with self.runtime.database.writing() as session:
            revoke_site(session, site, now=self.clock())

    def admits(self, serial: str, site: str = SITE) -> bool:
        with self.runtime.database.reading() as session:
            return admitted(session, site, serial, now=self.clock())


@dataclass
class EnrolledNode:
    """Keys, trust and database of a node."""

    folder: Path
    centre: RealLink
    clock: Moved = field(default_factory=Moved)
    renewed: int = 0

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        write_durably(self.keys / NODE_KEY, key_pem(self.key))

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    def know(self, **changes: str) -> None:
        """Let the node have been told of other addresses of the centre."""
        write_durably(self.trust / CENTRE, canonical_json(load_centre(self.trust).model_copy(update=changes)))

    def enrol(self, *, days_ago: float = 0.0) -> None:
        """Join by the centre's clock of so many days ago; certificates live 30 days."""
        self.centre.clock.by = -timedelta(days=days_ago)
        try:
            reply = self.centre.enrol(make_csr(self.key))
        finally:
            self.centre.clock.by = timedelta()
        keep_reply(reply, registry="https://localhost:8443", trust=self.trust)

    def book(self) -> RenewalBook:
        return RenewalBook(connect(self.folder / "node.db", renewals.SCHEMA), self.clock)

    def renewer(self) -> Renewer:
        return Renewer(self.trust, self.keys, self.book(), clock=self.clock, renewed=self._note, pace=QUICK)

    def step(self) -> float:
        """One look by a renewer that has just been started."""
        return asyncio.run(self.renewer().step())

    def certificate(self) -> bytes:
        return (self.trust / CERTIFICATE).read_bytes()

    def serial(self) -> str:
        return serial_hex(load_certificate(self.trust / CERTIFICATE).serial_number)

    def _note(self) -> None:
        self.renewed += 1
