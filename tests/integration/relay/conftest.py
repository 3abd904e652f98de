"""A hospital behind a firewall that translates addresses, a relay and a reader: four networks on this machine, one set for the module.

hospital 10.10.0.2 ── 10.10.0.1 firewall 198.51.100.2 ── 198.51.100.1 relay 203.0.113.1 ── 203.0.113.9 reader
"""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.wires import Wires
from client.commands.setup import Wishes, make_home
from client.gate.keys import tunnel_public
from client.gate.trust import CENTRE, Centre
from protocol.enrolment import RelayPin, SiteEntry
from protocol.shape import canonical_json
from server.relay.files import make_host_key
from tests.fakes.centre_home import SERVICE_TOKEN, make_centre_home

NAME, OTHER = "ct.northport.example", "ct.highfell.example"
RELAY_OUTSIDE, RELAY_INSIDE, RELAY_PORT = "203.0.113.1", "198.51.100.1", 443
FIREWALL, HOSPITAL, GATEWAY_PORT, REGISTRY_PORT = "198.51.100.2", "10.10.0.2", 9443, 8443
PORT, OTHER_PORT = 20_000, 20_001
MARKER = b"<pixel marker 7f3a91>" * 200
NOBODY = 65_534

AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+net_bind_service,+dac_read_search", "--ambient-caps=+net_bind_service,+dac_read_search",
]  # fmt: skip
"""An account without rights but two: to listen on port 443, and to read the checkout and its Python wherever those lie."""

FIREWALL_RULES = """
table ip hospital {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "inside" oifname "outside" tcp dport 443 accept
  }
  chain input { type filter hook input priority 0; policy drop; }
  chain leave { type nat hook postrouting priority 100; oifname "outside" masquerade; }
}
"""


def why_not() -> str:
    """Why these tests cannot run here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "nft", "haproxy", "sshd", "ssh", "setpriv"):
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            return f"{program} is not installed"
    try:
        subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", "import server.cli"], check=True, cwd="/", capture_output=True
        )
    except (OSError, subprocess.SubprocessError):
        return "no account without rights can run this checkout here"
    try:
        Wires("try").close()
    except OSError as error:
        return f"no network namespaces here: {error}"
    return ""


class Gateway(BaseHTTPRequestHandler):
    """What a reader meets at the hospital: a session by cookie, and pixels for whoever has one."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(204, b"", {"Set-Cookie": "__Host-session=s3cret; Secure; HttpOnly; Path=/"})

    def do_GET(self) -> None:
        let_in = "s3cret" in self.headers.get("Cookie", "")
        self._answer(200 if let_in else 401, MARKER if let_in else b"")

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Reader:
    """A reader's browser, as far as it matters here: it trusts the hospital's authority and keeps its cookie."""

    wires: Wires
    authority: Path
    cookie: str = ""

    def ask(self, method: str, path: str, *, name: str = NAME, port: int = RELAY_PORT) -> tuple[int, bytes]:
        trust = ssl.create_default_context(cafile=self.authority)
        with self.wires.inside("reader"):
            plain = socket.create_connection((RELAY_OUTSIDE, port), 5)
        with trust.wrap_socket(plain, server_hostname=name) as opened:
            line = http.client.HTTPSConnection(name)
            line.sock = opened
            line.request(method, path, headers={"Cookie": self.cookie})
            answer = line.getresponse()
            self.cookie = (answer.getheader("Set-Cookie") or self.cookie).partition(";")[0]
            return answer.status, answer.read()

    def connect(self, address: str, port: int) -> bytes:
        """Open TCP and say nothing; return what comes."""
        with self.wires.inside("reader"), socket.create_connection((address, port), 0.15) as opened:
            return opened.recv(100)


class Capture:
    """Every frame that passes an interface of the relay, both sides of it."""

    def __init__(self, wires: Wires, *interfaces: str) -> None:
        self.frames = bytearray()
        self._sockets = []
        with wires.inside("relay"):
            for interface in interfaces:
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                opened.bind((interface, 0))
                opened.settimeout(0.2)
                self._sockets.append(opened)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._listen, args=(one,), daemon=True) for one in self._sockets]
        for thread in self._threads:
            thread.start()

    def _listen(self, opened: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                self.frames += opened.recv(65_536)
            except TimeoutError:
                continue

    def close(self) -> None:
        self._ended.set()
        for thread, opened in zip(self._threads, self._sockets, strict=True):
            thread.join(5)
            opened.close()


@dataclass
class Village:
    """All of it."""

    folder: Path
    wires: Wires
    sites: Path
    """What the registry answers when it is asked for the sites."""
    centre: Path
    node: Path
    pin: RelayPin
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def keys(self) -> Path:
        return self.node / "keys"

    def reader(self) -> Reader:
        return Reader(self.wires, self.keys / "gateway-ca.pem")

    def entries(self) -> list[SiteEntry]:
        return [
            SiteEntry(
                site="northport", region="XA-N", supernode_key=None, active=True, gateway_origin=f"https://{NAME}",
                tunnel_key=tunnel_public(self.keys), tunnel_port=PORT,
            ),
            SiteEntry(
                site="highfell", region="XA-N", supernode_key=None, active=True, gateway_origin=f"https://{OTHER}",
                tunnel_key=tunnel_public(self.folder / "other"), tunnel_port=OTHER_PORT,
            ),
        ]  # fmt: skip

    def enrol(self, entries: list[SiteEntry]) -> None:
        draft = self.sites.with_suffix(".part")
        draft.write_text(json.dumps([entry.model_dump(mode="json") for entry in entries]))
        draft.replace(self.sites)

    def start_relay(self) -> None:
        environment = {**os.environ, "ACINUS_CENTRE_HOME": str(self.centre)}
        with self.wires.inside("relay"):
            self.processes["relay"] = subprocess.Popen(
                [*AS_NOBODY, sys.executable, "-P", "-m", "server.cli", "relay", "run"],
                env=environment, cwd="/", stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def start_node(self) -> None:
        with self.wires.inside("hospital"):
            self.processes["node"] = subprocess.Popen(
                [sys.executable, "-P", "-m", "client.cli", "--home", str(self.node), "run", "--only", "tunnel"],
                cwd="/", stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        child = self.processes.pop(name)
        child.kill()
        child.wait(10)

    def tunnel(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.node / "tunnel.json").read_text())
        except (OSError, ValueError):
            return {"connected": False}
        return found

    def close(self) -> None:
        for child in self.processes.values():
            child.send_signal(signal.SIGTERM)
        for child in self.processes.values():
            try:
                child.wait(8)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def log(self, name: str) -> str:
        return (self.centre / "logs" / name).read_text(errors="replace")


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait until something holds, and return how many seconds that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not come to hold in time"
        time.sleep(0.05)
    return time.monotonic() - began


def answers() -> bool:
    """Whether the relay's door is open, asked from where the reader is."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((RELAY_OUTSIDE, RELAY_PORT)) == 0


def lay(wires: Wires) -> None:
    """The cables, the routes, the firewall."""
    wires.join(("hospital", "h0", f"{HOSPITAL}/24"), ("firewall", "inside", "10.10.0.1/24"))
    wires.join(("firewall", "outside", f"{FIREWALL}/24"), ("relay", "r0", f"{RELAY_INSIDE}/24"))
    wires.join(("relay", "r1", f"{RELAY_OUTSIDE}/24"), ("reader", "d0", "203.0.113.9/24"))
    wires.ip("hospital", "route", "add", "default", "via", "10.10.0.1")
    wires.ip("firewall", "route", "add", "default", "via", RELAY_INSIDE)
    wires.ip("relay", "route", "add", "10.10.0.0/24", "via", FIREWALL)
    wires.ip("reader", "route", "add", "default", "via", RELAY_OUTSIDE)
    for place in ("firewall", "relay"):
        with wires.inside(place):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with wires.inside("firewall"):
        subprocess.run(["nft", "-f", "-"], input=FIREWALL_RULES, text=True, check=True)


def serve(wires: Wires, place: str, port: int, chain: tuple[Path, Path], handler: type[BaseHTTPRequestHandler]) -> Any:
    """An HTTPS server in a namespace, in a thread of this process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*chain)
    with wires.inside(place):
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def make_node(home: Path, pin: RelayPin) -> None:
    """A node that has enrolled with a centre that has a relay."""
    ports = dict(
        zip(("dicom", "gateway", "console", "forward", "runtime"), (11112, GATEWAY_PORT, 9444, 9445, 9446), strict=True)
    )
    wishes = Wishes(site_name="Northport", ae_title="ACINUS", callers=(), ports=ports, origin=f"https://{NAME}")
    make_home(home, wishes, now=datetime.now(UTC))
    (home / "trust").mkdir(mode=0o700)
    centre = Centre(
        site="northport", region="XA-N", registry="https://localhost:8443", release_key="r" * 43, grant_key="g" * 43,
        link_address="localhost:1", fleet_address="localhost:1", relay=pin,
    )  # fmt: skip
    (home / "trust" / CENTRE).write_bytes(canonical_json(centre))
    with (home / "node.toml").open("a") as settings:
        settings.write(f'\n[relay]\naddress = "{pin.address}"\n')


def make_centre(home: Path) -> RelayPin:
    """A centre's folder, as far as the relay needs it; returns what nodes pin of it."""
    make_centre_home(home)
    make_host_key(home / "pki" / "relay.key")
    (home / "centre.toml").write_text(
        f'[registry]\norigin = "https://localhost:{REGISTRY_PORT}"\n[relay]\nhost = "0.0.0.0"\nport = {RELAY_PORT}\n'
    )
    public = " ".join((home / "pki" / "relay.pub").read_text().split()[:2])
    return RelayPin(address=f"{RELAY_INSIDE}:{RELAY_PORT}", login="nobody", host_key=public, port=PORT)


def registry_of(sites: Path) -> type[BaseHTTPRequestHandler]:
    """A registry that knows the service token and answers with the file."""

    class Registry(Gateway):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {SERVICE_TOKEN}"
            self._answer(200 if known else 401, sites.read_bytes() if known else b"")

    return Registry


def own(folder: Path) -> None:
    """Give a folder to the account that runs the relay."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    """Relay and node run, and the tunnel is open."""
    from client.gate.keys import make_tunnel_key

    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="acinus-relay-"))  # pytest's own folders are closed to the relay's account
    folder.chmod(0o711)
    wires = Wires("hospital", "firewall", "relay", "reader")
    servers = []
    found = Village(
        folder, wires, folder / "sites.json", folder / "centre", folder / "node", make_centre(folder / "centre")
    )
    try:
        lay(wires)
        make_node(found.node, found.pin)
        make_tunnel_key(folder / "other")
        found.enrol(found.entries())
        own(found.centre)
        pki = found.centre / "pki"
        servers.append(
            serve(wires, "relay", REGISTRY_PORT, (pki / "registry.pem", pki / "registry.key"), registry_of(found.sites))
        )
        servers.append(
            serve(wires, "hospital", GATEWAY_PORT, (found.keys / "gateway.pem", found.keys / "gateway.key"), Gateway)
        )
        found.start_relay()
        with wires.inside("reader"):
            wait_until(answers)
        found.start_node()
        wait_until(lambda: found.tunnel()["connected"])
        yield found
    finally:
        found.close()
        for server in servers:
            server.shutdown()
            server.server_close()
        wires.close()
        shutil.rmtree(folder, ignore_errors=True)
