"""The pieces of a network with a relay: a centre's folder, a registry that knows its sites, a node that enrolled, and the two programs in namespaces."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.wires import Wires
from client.commands.setup import Wishes, make_home
from client.gate.keys import tunnel_public
from client.gate.trust import CENTRE, Centre
from protocol.enrolment import RelayPin, SiteEntry
from protocol.shape import canonical_json
from server.relay.files import make_host_key
from tests.fakes.centre_home import SERVICE_TOKEN, make_centre_home

NAME, PORT = "ct.northport.example", 20_000
RELAY_PORT, GATEWAY_PORT, REGISTRY_PORT = 443, 9443, 8443
NOBODY = 65_534

AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+net_bind_service,+dac_read_search", "--ambient-caps=+net_bind_service,+dac_read_search",
]  # fmt: skip
"""An account without rights but two: to listen on port 443, and to read the checkout and its Python wherever those lie."""


def why_not() -> str:
    """Why a relay cannot be tried here; empty if it can."""
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


def make_centre(home: Path, address: str) -> RelayPin:
    """A centre's folder, as far as the relay needs it; returns what nodes pin of it. `address` is where nodes find the relay."""
    make_centre_home(home)
    make_host_key(home / "pki" / "relay.key")
    (home / "centre.toml").write_text(
        f'[registry]\norigin = "https://localhost:{REGISTRY_PORT}"\n[relay]\nhost = "0.0.0.0"\nport = {RELAY_PORT}\n'
    )
    public = " ".join((home / "pki" / "relay.pub").read_text().split()[:2])
    return RelayPin(address=f"{address}:{RELAY_PORT}", login="nobody", host_key=public, port=PORT)


def make_node(home: Path, pin: RelayPin) -> None:
    """A node that has enrolled with a centre that has a relay."""
    names = ("dicom", "gateway", "console", "forward", "runtime")
    ports = dict(zip(names, (11112, GATEWAY_PORT, 9444, 9445, 9446), strict=True))
    wishes = Wishes(site_name="Northport", ae_title="ACINUS", callers=(), ports=ports, origin=f"https://{NAME}")
    make_home(home, wishes, now=datetime.now(UTC))
    (home / "trust").mkdir(mode=0o700)
    centre = Centre(
        site="northport", region="XA-N", registry="https://localhost:8443", grant_key="g" * 43,
        link_address="localhost:1", fleet_address="localhost:1", relay=pin,
    )  # fmt: skip
    (home / "trust" / CENTRE).write_bytes(canonical_json(centre))
    with (home / "node.toml").open("a") as settings:
        settings.write(f'\n[relay]\naddress = "{pin.address}"\n')


def entry_of(node: Path) -> SiteEntry:
    """The node's site, as the registry lists it."""
    return SiteEntry(
        site="northport", region="XA-N", supernode_key=None, active=True, gateway_origin=f"https://{NAME}",
        tunnel_key=tunnel_public(node / "keys"), tunnel_port=PORT,
    )  # fmt: skip


def list_sites(path: Path, entries: list[SiteEntry]) -> None:
    """Let the registry of `registry_of` answer with these."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps([entry.model_dump(mode="json") for entry in entries]))
    draft.replace(path)


class Quiet(BaseHTTPRequestHandler):
    """Answers without a word on the terminal."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def registry_of(sites: Path) -> type[BaseHTTPRequestHandler]:
    """A registry that knows the service token and answers with the file."""

    class Registry(Quiet):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {SERVICE_TOKEN}"
            self.answer(200 if known else 401, sites.read_bytes() if known else b"")

    return Registry


def serve(
    wires: Wires,
    place: str,
    port: int,
    chain: tuple[Path, Path],
    handler: type[BaseHTTPRequestHandler],
    host: str = "127.0.0.1",
) -> ThreadingHTTPServer:
    """An HTTPS server in a namespace, in a thread of this process."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*chain)
    with wires.inside(place):
        server = ThreadingHTTPServer((host, port), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def start_relay(wires: Wires, centre: Path) -> "subprocess.Popen[bytes]":
    """`acinus-centre relay run` in the namespace `relay`, as nobody. The folder must be nobody's."""
    environment = {**os.environ, "ACINUS_CENTRE_HOME": str(centre)}
    command = [*AS_NOBODY, sys.executable, "-P", "-m", "server.cli", "relay", "run"]
    with wires.inside("relay"):
        return subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.DEVNULL)


def start_node(wires: Wires, node: Path) -> "subprocess.Popen[bytes]":
    """`acinus-node run --only tunnel` in the namespace `hospital`."""
    command = [sys.executable, "-P", "-m", "client.cli", "--home", str(node), "run", "--only", "tunnel"]
    with wires.inside("hospital"):
        return subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL)


def own(folder: Path) -> None:
    """Give a folder to the account that runs the relay."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def is_open(node: Path) -> bool:
    """Whether the node says that its tunnel is open."""
    try:
        return bool(json.loads((node / "tunnel.json").read_text())["connected"])
    except (OSError, ValueError):
        return False


def listens(address: str, port: int = RELAY_PORT) -> bool:
    """Whether somebody listens there, seen from the namespace of this thread."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait until something holds, and return how many seconds that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not come to hold in time"
        time.sleep(0.05)
    return time.monotonic() - began
