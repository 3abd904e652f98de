"""A hospital behind a firewall that translates addresses, a relay and a reader: four networks on this machine, one set for the module.

hospital 10.10.0.2 ── 10.10.0.1 firewall 198.51.100.2 ── 198.51.100.1 relay 203.0.113.1 ── 203.0.113.9 reader
"""

import http.client
import json
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.wires import Wires
from client.gate.keys import make_tunnel_key, tunnel_public
from client.gateway.serve import serve
from protocol.enrolment import RelayPin, SiteEntry
from tests.fakes import relay as fakes
from tests.fakes.gateway import REQUEST, GatewayUnderTest
from tests.fakes.relay import GATEWAY_PORT, NAME, RELAY_PORT, wait_until

OTHER, OTHER_PORT = "ct.highfell.example", 20_001
RELAY_OUTSIDE, RELAY_INSIDE = "203.0.113.1", "198.51.100.1"
FIREWALL, HOSPITAL = "198.51.100.2", "10.10.0.2"
PIXELS = f"/vol/{REQUEST}/ct.nii.gz"

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


class Hospital:
    """The node's own gateway with one claimed study and one approved reader, served in the hospital's network by a thread of this process."""

    def __init__(self, wires: Wires, home: Path, keys: Path) -> None:
        self._wires, self._home, self._keys = wires, home, keys
        self._stop, self._made = threading.Event(), queue.SimpleQueue[GatewayUnderTest]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.gateway = self._made.get(timeout=60)
        """Its database belongs to its thread; its centre and its reader's key are for everybody."""

    def _run(self) -> None:
        with self._wires.inside("hospital"):
            gateway = GatewayUnderTest(self._home, origin=f"https://{NAME}", real_time=True)
            gateway.write_study()
            self._made.put(gateway)
            serve(gateway.app, host="127.0.0.1", port=GATEWAY_PORT, keys=self._keys, stop=self._stop)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


@dataclass
class Reader:
    """A reader's browser, as far as it matters here: it trusts the hospital's authority, has a key, and keeps its cookie."""

    wires: Wires
    authority: Path
    hospital: Hospital
    cookie: str = ""

    def enter(self) -> int:
        """Exchange a grant of the centre for a session."""
        gateway, now = self.hospital.gateway, datetime.now(UTC)
        token = gateway.centre.grant(gateway.reader.jkt, now=now)
        proof = gateway.reader.proof(token, now=now, htu=f"https://{NAME}/session")
        headers = {"DPoP": proof, "Content-Type": "application/json"}
        return self.ask("POST", "/session", body=json.dumps({"token": token}), headers=headers)[0]

    def ask(
        self, method: str, path: str, *, name: str = NAME, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        with self.open(name) as opened:
            line = http.client.HTTPSConnection(name)
            line.sock = opened
            line.request(method, path, body=body or None, headers={"Cookie": self.cookie, **(headers or {})})
            answer = line.getresponse()
            self.cookie = (answer.getheader("Set-Cookie") or self.cookie).partition(";")[0]
            return answer.status, answer.read()

    def open(self, name: str = NAME, port: int = RELAY_PORT) -> ssl.SSLSocket:
        """TLS through the relay; the certificate must be the hospital's."""
        trust = ssl.create_default_context(cafile=self.authority)
        with self.wires.inside("reader"):
            plain = socket.create_connection((RELAY_OUTSIDE, port), 5)
        return trust.wrap_socket(plain, server_hostname=name)

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
    pin: RelayPin
    hospital: Hospital
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def centre(self) -> Path:
        return self.folder / "centre"

    @property
    def node(self) -> Path:
        return self.folder / "node"

    @property
    def sites(self) -> Path:
        """What the registry answers when it is asked for the sites."""
        return self.folder / "sites.json"

    @property
    def keys(self) -> Path:
        return self.node / "keys"

    @property
    def names(self) -> str:
        """The names that the relay knows."""
        return (self.centre / "relay" / "names.map").read_text()

    def reader(self) -> Reader:
        return Reader(self.wires, self.keys / "gateway-ca.pem", self.hospital)

    def entries(self) -> tuple[SiteEntry, SiteEntry]:
        other = {
            "site": "highfell", "gateway_origin": f"https://{OTHER}", "tunnel_key": tunnel_public(self.folder / "other"), "tunnel_port": OTHER_PORT,
        }  # fmt: skip
        own = fakes.entry_of(self.node)
        return own, own.model_copy(update=other)

    def enrol(self, *entries: SiteEntry) -> None:
        fakes.list_sites(self.sites, list(entries))

    def start_relay(self) -> None:
        self.processes["relay"] = fakes.start_relay(self.wires, self.centre)
        with self.wires.inside("reader"):
            wait_until(lambda: fakes.listens(RELAY_OUTSIDE))

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


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    """Relay and node run, and the tunnel is open."""
    reason = fakes.why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="acinus-relay-"))  # pytest's own folders are closed to the relay's account
    folder.chmod(0o711)
    wires = Wires("hospital", "firewall", "relay", "reader")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(wires.close)
        pin = fakes.make_centre(folder / "centre", RELAY_INSIDE)
        lay(wires)
        fakes.make_node(folder / "node", pin)
        make_tunnel_key(folder / "other")
        hospital = stack.enter_context(closing(Hospital(wires, folder / "gateway", folder / "node" / "keys")))
        found = Village(folder, wires, pin, hospital)
        found.enrol(*found.entries())
        fakes.own(found.centre)
        chain = (found.centre / "pki" / "registry.pem", found.centre / "pki" / "registry.key")
        registry = fakes.serve(wires, "relay", fakes.REGISTRY_PORT, chain, fakes.registry_of(found.sites))
        stack.callback(registry.server_close)
        stack.callback(registry.shutdown)
        stack.callback(found.close)
        found.start_relay()
        found.processes["node"] = fakes.start_node(wires, found.node)
        wait_until(lambda: found.tunnel()["connected"])
        yield found
