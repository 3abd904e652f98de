"""What somebody without a site's certificate can do at the centre's doors, and what a site can do beyond its own business: nothing."""

import inspect
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest, RegisterNodeRequest, StartRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.gate.trust import client_context
from server.authority import private_pem
from server.runtime import open_fleet
from tests.fakes.centre_home import supernode_key
from tests.fakes.federation import until
from tests.integration.federation.conftest import NORTH, SITES, Network

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def paths_of(client: type) -> list[str]:
    """Every path that one of Flower's clients calls."""
    return sorted(set(re.findall(r'"(/v1/[a-z/-]+)"', inspect.getsource(client))))


FORBIDDEN = [
    *paths_of(ControlHttpClient), *paths_of(RuntimeHttpClient), "/", "/health", "/docs", "/openapi.json", "/redoc",
    "/v1/fleet/../control/list-nodes", "/v1/fleet/%2e%2e/control/list-nodes", "/v1/fleet/..%2fcontrol/list-nodes", "//v1/control/list-nodes",
]  # fmt: skip


@dataclass
class Door:
    """The fleet gateway, as seen by whoever holds these certificates."""

    network: Network
    context: ssl.SSLContext

    @property
    def address(self) -> str:
        return f"localhost:{self.network.settings.fleet.port}"

    def status(self, path: str, *, method: str = "POST", body: bytes = b"") -> int:
        """The answer to one request, written by hand so that no client tidies up the path."""
        kind = f"content-type: {PROTOBUF_MEDIA_TYPE}\r\ncontent-length: {len(body)}"
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{kind}\r\nconnection: close\r\n\r\n"
        plain = socket.create_connection(("127.0.0.1", self.network.settings.fleet.port), timeout=20)
        with plain, self.context.wrap_socket(plain, server_hostname="localhost") as line:
            line.sendall(head.encode() + body)
            first = line.makefile("rb").readline().split()
        if not first:
            raise ConnectionResetError
        return int(first[1])


def trusting(network: Network) -> ssl.SSLContext:
    """What the CA file alone gives."""
    return ssl.create_default_context(cafile=str(network.centre.home / "pki" / "ca.pem"))


def with_certificate(network: Network, certificate: Path, key: Path) -> ssl.SSLContext:
    context = trusting(network)
    context.load_cert_chain(certificate, key)
    return context


def of_site(network: Network, site: str = NORTH) -> ssl.SSLContext:
    home = network.sites[site].home
    return client_context(home / "trust", home / "keys")


@pytest.fixture
def unchanged(network: Network) -> Iterator[None]:
    """Whatever the test tries, the SuperLink knows the same nodes and runs afterwards."""
    fleet = open_fleet(network.settings)
    before = {(node.node_id, node.public_key) for node in fleet.nodes()}, runs(network)
    yield
    assert ({(node.node_id, node.public_key) for node in fleet.nodes()}, runs(network)) == before
    fleet.close()


def runs(network: Network) -> set[int]:
    ca = (network.centre.home / "pki" / "ca.pem").read_bytes()
    client = ControlHttpClient.from_server_address(
        network.settings.superlink_address, insecure=False, root_certificates=ca, interceptors=[]
    )
    return set(client.ListRuns(ListRunsRequest()).run_dict)


def calls(door: str, ca: bytes) -> dict[str, Callable[[], object]]:
    """What Flower's own programs would do with the CA file alone."""
    control = ControlHttpClient.from_server_address(door, insecure=False, root_certificates=ca, interceptors=[])
    runtime = RuntimeHttpClient.from_server_address(
        door,
        insecure=False,
        root_certificates=ca,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flower-superexec")],
    )
    key = supernode_key().encode()
    return {
        "list": lambda: control.ListNodes(ListNodesRequest()),
        "runs": lambda: control.ListRuns(ListRunsRequest()),
        "start": lambda: control.StartRun(StartRunRequest()),
        "register": lambda: control.RegisterNode(RegisterNodeRequest(public_key=key, name="evil")),
        "acquire": lambda: runtime.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp"])),
    }


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("what", ["list", "runs", "start", "register", "acquire"])
def test_with_the_ca_file_alone_nobody_gets_through_the_door(network: Network, what: str) -> None:
    ca = (network.centre.home / "pki" / "ca.pem").read_bytes()
    call = calls(f"localhost:{network.settings.fleet.port}", ca)[what]
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        call()


def test_behind_the_door_the_same_calls_are_answered(network: Network) -> None:
    """That is why there is a door, and why the SuperLink stays on loopback."""
    ca = (network.centre.home / "pki" / "ca.pem").read_bytes()
    assert calls(network.settings.superlink_address, ca)["list"]()


def test_the_superlink_listens_on_loopback_only(network: Network) -> None:
    port = f"{network.settings.superlink.port:04X}"
    listening = [
        line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]
    ]
    addresses = {row[1].partition(":")[0] for row in listening if row[3] == "0A" and row[1].endswith(f":{port}")}
    assert addresses == {"0100007F"}


@pytest.mark.usefixtures("unchanged")
def test_a_site_reaches_the_fleet_and_nothing_else(network: Network) -> None:
    door = Door(network, of_site(network))
    assert {path: door.status(path) for path in FORBIDDEN} == dict.fromkeys(FORBIDDEN, 404)
    assert {method: door.status("/v1/fleet/pull-messages", method=method) for method in ("GET", "PUT", "DELETE")} == {
        "GET": 404, "PUT": 404, "DELETE": 404,
    }  # fmt: skip
    assert door.status("/v1/fleet/pull-messages") not in {403, 404, 413, 503}, "the SuperLink itself answers here"


def test_every_path_of_flowers_supernode_is_one_that_the_door_lets_through(network: Network) -> None:
    door = Door(network, of_site(network))
    wanted = paths_of(FleetHttpClient)
    assert len(wanted) >= 10
    assert {path for path in wanted if door.status(path, body=b"\xff") in {403, 404, 413, 503}} == set()


@pytest.mark.usefixtures("unchanged")
def test_a_site_without_the_key_of_its_supernode_is_no_supernode(network: Network) -> None:
    assert Door(network, of_site(network)).status("/v1/fleet/pull-messages") == 401


def test_certificates_of_others_do_not_open_the_door(network: Network, tmp_path: Path) -> None:
    for context in (
        trusting(network),
        with_certificate(network, *self_made(tmp_path)),
        with_certificate(network, network.centre.home / "pki" / "fleet.pem", network.centre.home / "pki" / "fleet.key"),
    ):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Door(network, context).status("/v1/fleet/pull-messages")


def self_made(folder: Path) -> tuple[Path, Path]:
    """A certificate that its owner signed, under the name of a site."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NORTH)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    (folder / "c.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "c.key").write_bytes(private_pem(key))
    return folder / "c.pem", folder / "c.key"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_not_spoken(network: Network, version: ssl.TLSVersion) -> None:
    context = of_site(network)
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Door(network, context).status("/v1/fleet/pull-messages")


def test_too_large_a_request_is_cut_off(network: Network) -> None:
    limit = network.settings.fleet.request_mb * 1024 * 1024
    assert Door(network, of_site(network)).status("/v1/fleet/push-object", body=bytes(limit + 1)) == 413


def test_a_site_that_the_registry_shuts_out_loses_its_way_and_its_key(network: Network, tmp_path: Path) -> None:
    """On an open line too: each request is looked at."""
    network.centre.enrol(tmp_path / "guest", "guest")
    context = client_context(tmp_path / "guest" / "trust", tmp_path / "guest" / "keys")
    door = Door(network, context)
    until(lambda: door.status("/v1/fleet/pull-messages") == 401, seconds=20, what="the gateway has heard of the guest")
    headers = {"content-type": PROTOBUF_MEDIA_TYPE}
    with httpx.Client(
        base_url=f"https://{door.address}", verify=context, trust_env=False, headers=headers
    ) as open_line:
        assert open_line.post("/v1/fleet/pull-messages").status_code == 401
        network.centre.registry("sites", "revoke", "guest")
        until(lambda: open_line.post("/v1/fleet/pull-messages").status_code == 403, seconds=20, what="the guest is out")
    fleet = open_fleet(network.settings)
    until(lambda: "guest" not in {node.name for node in fleet.nodes()}, seconds=20, what="its key is gone")
    assert {node.name for node in fleet.nodes()} == set(SITES)
    fleet.close()
