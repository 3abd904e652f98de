"""A whole node behind a hospital's HTTP proxy: it enrols, keeps its link, trains and gets a release, all by CONNECT to port 443 and by no other way.

The centre's names are known to the proxy alone, so whatever went out by itself would find nobody. The node's part called `link` is the
real one; the centre is the registry's own HTTPS and link, and the real fleet gateway.
"""

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn

from client.gate.enrol import enrol
from client.gate.keys import GATEWAY_CA, make_keys
from client.gate.proxy import adopt_proxy
from client.infer.releases import SHIPPED
from client.rooms.border import open_contact
from client.rooms.imaging import open_shelf
from client.runtime import run_part
from client.settings import NodeSettings
from models.weights import STARTING
from protocol.enrolment import Invite
from protocol.release import Manifest
from registry_api.enrolment.invites import create_invite
from registry_api.enrolment.sites import list_sites
from registry_api.promoted.lists import take_lists
from registry_api.promoted.service import publish
from server.fleet import PREFIX, FleetGateway
from server.peer import PeerProtocol
from server.roster import Roster
from tests.fakes.centre_home import lists_with, sign_release
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.enrolled import SITE, RealLink
from tests.fakes.ports import free_port
from tests.integration.node.test_proxy import VARIABLES
from tests.integration.reading.conftest import registry_server

REGISTRY, LINK, FLEET = NAMES = ("registry.centre.test", "link.centre.test", "fleet.centre.test")
GATEWAY = "https://ct.northport.example"


def tell_names(home: Path) -> None:
    """Nodes are told the names by which the centre is known outside."""
    path = home / "registry.toml"
    told = path.read_text().replace('origin = "https://localhost:8443"', f'origin = "https://{REGISTRY}"')
    before, _, after = told.partition('address = "')
    path.write_text(
        f'{before}address = "{LINK}:443"\n{after.partition(chr(10))[2]}\n[fleet]\naddress = "{FLEET}:443"\n'
    )


@dataclass
class Centre:
    """Registry, link and fleet gateway on loopback, where the proxy finds them."""

    link: RealLink
    http_port: int = field(default_factory=free_port)
    fleet_port: int = field(default_factory=free_port)
    roster: Roster = field(default_factory=Roster)

    def invite(self) -> Invite:
        runtime = self.link.runtime
        with runtime.database.writing() as session:
            token = create_invite(session, site=SITE, region="XA-N", hours=1, now=runtime.clock())
        return Invite(registry=f"https://{REGISTRY}", ca_sha256=runtime.authority.sha256, site=SITE, token=token)

    def know_sites(self) -> None:
        with self.link.runtime.database.reading() as session:
            self.roster.hear(list_sites(session, now=self.link.clock()))

    def promote(self) -> str:
        """Publish the shipped weights as a further release; return its name."""
        weights, runtime = STARTING.read_bytes(), self.link.runtime
        manifest = Manifest(
            name="ggo@1", lineage="ggo", version=1, parent=SHIPPED, architecture="lite-2p5d",
            weights_sha256=hashlib.sha256(weights).hexdigest(), weights_bytes=len(weights), created="2026-03-04T12:00:00Z",
            run_id=None, rounds=0, sites=0, epsilon_max=None, scores=None,
        )  # fmt: skip
        signed = sign_release(self.link.folder, manifest)
        with runtime.database.writing() as session:
            take_lists(session, lists_with(self.link.folder, signed), first_root=runtime.release_root)
            publish(session, signed, [weights], shelf=runtime.shelf, now=runtime.clock())
        return manifest.name

    @contextmanager
    def up(self) -> Iterator[None]:
        self.link.start()
        with serving(registry_server(self.link.runtime, self.http_port)), serving(self._fleet()):
            yield

    def _fleet(self) -> uvicorn.Server:
        pki = self.link.folder / "pki"
        answer = httpx.MockTransport(lambda request: httpx.Response(200, content=request.url.path.encode()))
        superlink = httpx.AsyncClient(base_url="https://superlink", transport=answer)
        config = uvicorn.Config(
            FleetGateway(self.roster, superlink, limit_bytes=10**7), host="127.0.0.1", port=self.fleet_port, http=PeerProtocol,
            ws="none", lifespan="off", log_config=None, ssl_certfile=str(pki / "registry.pem"),
            ssl_keyfile=str(pki / "registry.key"), ssl_ca_certs=str(pki / "ca.pem"), ssl_cert_reqs=ssl.CERT_REQUIRED,
        )  # fmt: skip
        return uvicorn.Server(config)


@contextmanager
def serving(server: uvicorn.Server) -> Iterator[None]:
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.02)
    yield
    server.should_exit = True
    thread.join(10)


@contextmanager
def linked(settings: NodeSettings) -> Iterator[None]:
    """Run the node's part that speaks to the centre."""
    stop = threading.Event()
    thread = threading.Thread(target=run_part, args=("link", settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(RealLink(tmp_path / "centre", names=(*NAMES, "localhost"), settled=tell_names))
    try:
        with made.up():
            yield made
    finally:
        made.link.close()


@pytest.fixture
def proxy(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    """The only way out, found as a node finds it."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    ports = {REGISTRY: centre.http_port, LINK: centre.link.port, FLEET: centre.fleet_port}
    running = ConnectProxy({f"{name}:443": ("127.0.0.1", port) for name, port in ports.items()})
    running.start()
    adopt_proxy(running.address)
    yield running
    running.close()


def test_a_node_lives_behind_a_proxy_that_passes_connect_to_one_port(
    centre: Centre, proxy: ConnectProxy, tmp_path: Path
) -> None:
    settings = NodeSettings(home=tmp_path / "node")
    settings = settings.model_copy(update={"flower": settings.flower.model_copy(update={"forward_port": free_port()})})
    make_keys(settings.keys, site_name="Northport", gateway=GATEWAY, now=datetime.now(UTC))

    told = enrol(centre.invite(), keys=settings.keys, trust=settings.trust, gateway=GATEWAY)
    assert (told.registry, told.link_address, told.fleet_address) == (
        f"https://{REGISTRY}", f"{LINK}:443", f"{FLEET}:443",
    )  # fmt: skip
    assert set(proxy.asked) == {f"CONNECT {REGISTRY}:443"}
    centre.know_sites()

    with linked(settings):
        until(lambda: open_contact(settings).read().connected, "the link is up")
        weights = b"w" * 1_000_000
        with supernode(settings) as client:
            answer = client.post(f"{PREFIX}push-object", content=weights)
        assert (answer.status_code, answer.text) == (200, f"{PREFIX}push-object")
        name = centre.promote()
        until(lambda: open_shelf(settings).current() == name, "the release is in use")

    assert set(proxy.asked) == {f"CONNECT {host}:443" for host in NAMES}
    assert proxy.bytes_through > len(weights) + STARTING.stat().st_size


def supernode(settings: NodeSettings) -> httpx.Client:
    """What Flower's client is to the forwarder."""
    trust = ssl.create_default_context(cafile=str(settings.keys / GATEWAY_CA))
    return httpx.Client(base_url=f"https://127.0.0.1:{settings.flower.forward_port}", verify=trust, trust_env=False)
