"""A hospital behind a firewall that translates addresses, a relay and a reader: four networks on this machine, one set for the module.

hospital 10.10.0.2 ── 10.10.0.1 firewall 198.51.100.2 ── 198.51.100.1 relay 203.0.113.1 ── 203.0.113.9 reader
"""

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.wires import Wires
from client.gate.keys import make_tunnel_key, tunnel_public
from protocol.enrolment import RelayPin, SiteEntry
from tests.fakes import relay as fakes
from tests.fakes.relay import GATEWAY_PORT, NAME, RELAY_PORT, Quiet, wait_until

OTHER, OTHER_PORT = "ct.highfell.example", 20_001
RELAY_OUTSIDE, RELAY_INSIDE = "203.0.113.1", "198.51.100.1"
FIREWALL, HOSPITAL = "198.51.100.2", "10.10.0.2"
MARKER = b"<pixel marker 7f3a91>" * 200

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


class Gateway(Quiet):
    """What a reader meets at the hospital: a session by cookie, and pixels for whoever has one."""

    def do_POST(self) -> None:  # noqa: N802 - http.server calls it so
        self.answer(204, b"", {"Set-Cookie": "__Host-session=s3cret; Secure; HttpOnly; Path=/"})

    def do_GET(self) -> None:  # noqa: N802 - http.server calls it so
        let_in = "s3cret" in self.headers.get("Cookie", "")
        self.answer(200 if let_in else 401, MARKER if let_in else b"")


@dataclass
class Reader:
    """A reader's browser, as far as it matters here: it trusts the hospital's authority and keeps its cookie."""

    wires: Wires
    authority: Path
    cookie: str = ""

    def ask(self, method: str, path: str, *, name: str = NAME) -> tuple[int, bytes]:
        with self.open(name) as opened:
            line = http.client.HTTPSConnection(name)
            line.sock = opened
            line.request(method, path, headers={"Cookie": self.cookie})
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
        return Reader(self.wires, self.keys / "gateway-ca.pem")

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
    found, servers = Village(folder, wires, fakes.make_centre(folder / "centre", RELAY_INSIDE)), []
    try:
        lay(wires)
        fakes.make_node(found.node, found.pin)
        make_tunnel_key(folder / "other")
        found.enrol(*found.entries())
        fakes.own(found.centre)
        pki, keys = found.centre / "pki", found.keys
        for place, port, chain, handler in (
            (
                "relay",
                fakes.REGISTRY_PORT,
                (pki / "registry.pem", pki / "registry.key"),
                fakes.registry_of(found.sites),
            ),
            ("hospital", GATEWAY_PORT, (keys / "gateway.pem", keys / "gateway.key"), Gateway),
        ):
            servers.append(fakes.serve(wires, place, port, chain, handler))
        found.start_relay()
        found.processes["node"] = fakes.start_node(wires, found.node)
        wait_until(lambda: found.tunnel()["connected"])
        yield found
    finally:
        found.close()
        for server in servers:
            server.shutdown()
            server.server_close()
        wires.close()
        shutil.rmtree(folder, ignore_errors=True)
