"""The tunnel: what the stock client is told, what is made of what it says, and how soon it is dialled again."""

import asyncio
import os
import runpy
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from client.commands import outward
from client.commands.check import looked
from client.commands.network import _tunnel_lines
from client.gate import keys as making
from client.gate import passage
from client.gate.backoff import Backoff
from client.gate.outside import Seen, look_from_outside
from client.gate.own_tls import renew_own_servers
from client.gate.passage import hand_over
from client.gate.ssh import Ends, write_config
from client.gate.trust import CENTRE, Centre
from client.gate.tunnel import STATE_FILE, Tunnel, TunnelBook, TunnelPace, TunnelState, watch_outside
from client.rooms.border import is_impersonated, tunnel_ends
from client.rooms.state import tunnel_state
from client.runtime import run_part
from client.settings import NodeSettings
from client.store.files import write_durably
from protocol.codes import Code
from protocol.enrolment import RelayPin
from protocol.errors import UnavailableError
from protocol.shape import canonical_json
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STAMP = "2026-03-01T12:00:00Z"
PIN = RelayPin(address="relay.example:443", login="acinus", host_key="ssh-ed25519 AAAA" + "A" * 64, port=20_007)
QUICK = TunnelPace(lost=Backoff(first=0.01, ceiling=0.02), refused=Backoff(first=0.01, ceiling=0.02))
PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")
OPEN = "echo 'debug1: remote forward success for: listen localhost:20007' >&2; "


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def book(tmp_path: Path) -> TunnelBook:
    return TunnelBook(tmp_path, lambda: NOW)


def ends(folder: Path) -> Ends:
    return Ends(relay="relay.example:443", pin=PIN, gateway="127.0.0.1:9443", keys=folder / "keys")


def keep(script: str, book: TunnelBook, until: Callable[[], bool], seconds: float = 5.0) -> None:
    """Keep a tunnel whose client is a shell script until something holds."""

    async def run() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(Tunnel(lambda: ["sh", "-c", script], book, QUICK).run(stop))
        deadline = time.monotonic() + seconds
        while not until() and not running.done():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(running, 5)

    asyncio.run(run())


# What the client is told.


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no OpenSSH client here")
def test_the_stock_client_means_by_its_file_what_we_do(tmp_path: Path) -> None:
    home = tmp_path / "a home of 100% its own"
    command = write_config(home / "tunnel", ends(home))
    said = subprocess.run(
        [*command[:1], "-G", *command[1:]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {
        "hostname relay.example", "port 443", "user acinus", "hostkeyalias relay", "stricthostkeychecking true",
        "userknownhostsfile " + str(home / "tunnel" / "known_hosts"), "updatehostkeys false",
        "identitiesonly yes", "batchmode yes", "exitonforwardfailure yes", "forwardagent no", "sessiontype none",
        "remoteforward [localhost]:20007 [127.0.0.1]:9443", "hostkeyalgorithms ssh-ed25519",
    } <= set(said)  # fmt: skip
    assert (home / "tunnel" / "known_hosts").read_text() == f"relay {PIN.host_key}\n"


def test_a_proxy_on_the_way_is_asked_by_a_program_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    write_config(tmp_path / "tunnel", ends(tmp_path))
    text = (tmp_path / "tunnel" / "config").read_text()
    assert f"ProxyCommand {sys.executable} -P -m client.gate.passage %h %p" in text
    assert "ProxyUseFdpass yes" in text


def test_without_a_proxy_none_is_asked(tmp_path: Path) -> None:
    write_config(tmp_path / "tunnel", ends(tmp_path))
    assert "Proxy" not in (tmp_path / "tunnel" / "config").read_text().replace("# ", "")


def test_a_home_that_cannot_be_written_into_such_a_file_is_refused(tmp_path: Path) -> None:
    assert code_of(lambda: write_config(tmp_path / 'a"b', ends(tmp_path))) is Code.BAD_SETTING


def test_the_open_way_through_a_proxy_is_handed_over_as_ssh_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        proxy = ConnectProxy({"relay.example:443": ("127.0.0.1", far.getsockname()[1])})
        proxy.start()
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        ours, theirs = socket.socketpair()
        try:
            with ours, theirs:
                asyncio.run(hand_over("relay.example", 443, theirs.fileno()))
                _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
                with socket.socket(fileno=descriptors[0]) as way:
                    way.setblocking(True)  # noqa: FBT003 - the socket module's own word
                    way.sendall(b"SSH-2.0-x\r\n")
                    far.settimeout(5)
                    assert far.accept()[0].recv(20) == b"SSH-2.0-x\r\n"
        finally:
            proxy.close()


def test_a_proxy_that_takes_the_connection_and_says_nothing_does_not_keep_the_tunnel_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ssh waits for the open way as long as it is looked for, whatever its `ConnectTimeout`; so does the part that dials."""
    monkeypatch.setattr(passage, "_SECONDS", 0.2, raising=False)
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as mute, ours, theirs:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{mute.getsockname()[1]}")

        async def within(seconds: float) -> None:
            looking = asyncio.create_task(hand_over("relay.example", 443, theirs.fileno()))
            done, _ = await asyncio.wait({looking}, timeout=seconds)
            looking.cancel()
            assert done, "it still waits"
            await looking

        with pytest.raises(TimeoutError):
            asyncio.run(within(3))


# What is made of what it says.


def test_an_open_tunnel_is_noted_and_one_that_was_ended_is_not_open(book: TunnelBook) -> None:
    keep(OPEN + "exec sleep 30", book, lambda: book.read().connected)
    assert book.read() == TunnelState(connected=False, since=STAMP)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Host key verification failed.", Code.PEER_UNTRUSTED),
        ("acinus@relay.example: Permission denied (publickey).", Code.FORBIDDEN),
        ("Error: remote port forwarding failed for listen port 20007", Code.PEER_REFUSED),
        ("ssh: connect to host relay.example port 443: Connection refused", Code.PEER_UNREACHABLE),
        ("debug1: Permission denied in a remark", Code.PEER_UNREACHABLE),
    ],
)
def test_why_it_ended_is_known_by_a_code(book: TunnelBook, said: str, code: Code) -> None:
    seen: list[Code | None] = []
    keep(f"echo '{said}' >&2; exit 255", book, lambda: seen.append(book.read().code) or bool(seen[-1]))
    assert seen[-1] is code


def test_it_is_dialled_again_and_again(book: TunnelBook, tmp_path: Path) -> None:
    count = tmp_path / "count"
    keep(f"echo x >> {count}; exit 255", book, lambda: count.exists() and count.read_text().count("x") >= 3)


def test_a_client_that_does_not_heed_is_ended_by_force(book: TunnelBook) -> None:
    keep(OPEN + "trap '' TERM; while :; do sleep 0.05; done", book, lambda: book.read().connected)
    assert not book.read().connected


def test_without_a_client_the_part_says_what_to_install(book: TunnelBook) -> None:
    with pytest.raises(UnavailableError, match="openssh-client"):
        asyncio.run(Tunnel(lambda: ["no-such-client"], book).run(asyncio.Event()))


def test_a_lost_relay_is_tried_within_the_five_seconds_and_a_refusal_is_not_hurried() -> None:
    pace = TunnelPace()
    assert max(pace.lost.delay(failures, 0.999) for failures in range(1, 50)) <= 3.0
    assert min(pace.refused.delay(failures, 0.0) for failures in range(1, 50)) >= 2.5


@pytest.mark.parametrize("content", [b"", b"{", b'{"connected": "perhaps"}', b"\xff"])
def test_a_state_that_cannot_be_read_is_no_state(book: TunnelBook, tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    assert book.read() == TunnelState()


# What readers are shown.


@contextmanager
def showing(certificate: Path, key: Path) -> Iterator[int]:
    """A server that shows a certificate and closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            try:
                with context.wrap_socket(door.accept()[0], server_side=True) as opened:
                    opened.recv(1)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        thread.join(5)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Keys of two hospitals that say they have one name."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for folder in folders:
        making.make_gateway_certificate(
            folder, site_name="Northport", gateway="https://localhost:1", now=datetime.now(UTC)
        )
    return folders


def shown(folder: Path, pin: str) -> Seen:
    with showing(folder / "gateway.pem", folder / "gateway.key") as port:
        return asyncio.run(look_from_outside(f"https://localhost:{port}", pin))


def test_the_hospitals_own_key_is_known_whoever_signed_its_certificate(hospitals: tuple[Path, Path]) -> None:
    assert shown(hospitals[0], making.gateway_pin(hospitals[0])) is Seen.OURS


def test_a_relay_that_opens_tls_shows_another_key_and_is_found_out(hospitals: tuple[Path, Path]) -> None:
    assert shown(hospitals[1], making.gateway_pin(hospitals[0])) is Seen.ANOTHER


class Listening(BaseHTTPRequestHandler):
    """Notes what it is asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.command)
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_program_that_reads_sends_no_grant_to_another_key_whoever_signed_for_it(hospitals: tuple[Path, Path]) -> None:
    """As somebody who got a certificate for the hospital's name: the authority is right, the key is not."""
    example = runpy.run_path(str(ROOT / "examples" / "read_without_browser.py"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(hospitals[1] / "gateway.pem", hospitals[1] / "gateway.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listening)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    grant = {"gateway": f"https://localhost:{server.server_address[1]}", "request_id": "0" * 32, "token": "t"}
    try:
        with pytest.raises(SystemExit, match="Somebody stands between"):
            example["Hospital"](
                grant | {"gateway_pin": making.gateway_pin(hospitals[0])}, hospitals[1] / "gateway-ca.pem", None
            )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert Listening.asked == ["GET"]


def test_nobody_there_is_no_stranger(hospitals: tuple[Path, Path]) -> None:
    pin = making.gateway_pin(hospitals[0])
    assert asyncio.run(look_from_outside(f"https://localhost:{free_port()}", pin)) is Seen.NOBODY


def test_a_stranger_under_the_gateways_name_is_noted_and_logged(
    book: TunnelBook, caplog: pytest.LogCaptureFixture
) -> None:
    book.note(connected=True)

    async def run() -> None:
        stop = asyncio.Event()

        async def look() -> Seen:
            stop.set()
            return Seen.ANOTHER

        await watch_outside(look, book, minutes=1, stop=stop)

    asyncio.run(asyncio.wait_for(run(), 5))
    assert (book.read().seen, book.read().looked) == (Seen.ANOTHER, STAMP)
    assert "gateway.impersonated" in caplog.text


def test_a_stranger_is_forgotten_only_when_our_own_key_is_seen_again(book: TunnelBook) -> None:
    for seen, kept in (
        (Seen.NOBODY, Seen.NOBODY),
        (Seen.ANOTHER, Seen.ANOTHER),
        (Seen.NOBODY, Seen.ANOTHER),
        (Seen.OURS, Seen.OURS),
    ):
        book.saw(seen)
        assert book.read().seen is kept


@pytest.mark.parametrize(
    ("address", "seen", "shut"),
    [("relay.example:443", Seen.ANOTHER, True), ("relay.example:443", Seen.NOBODY, False), ("", Seen.ANOTHER, False)],
)
def test_the_gateway_is_told_of_a_stranger_while_there_is_a_relay(
    book: TunnelBook, tmp_path: Path, address: str, seen: Seen, shut: bool
) -> None:
    book.saw(seen)
    assert is_impersonated(NodeSettings.model_validate({"home": tmp_path, "relay": {"address": address}})) is shut


def test_a_disk_that_takes_no_state_keeps_the_tunnel_and_does_not_hide_a_stranger(
    book: TunnelBook, tmp_path: Path
) -> None:
    """A folder stands in its way, as a full disk would. A stranger whom the gateway does not hear of ends the tunnel."""
    (tmp_path / f".{STATE_FILE}.part").mkdir()
    dialled = tmp_path / "dialled"
    keep(f"echo x >> {dialled}; exit 255", book, lambda: dialled.exists() and len(dialled.read_text().split()) > 2)
    book.saw(Seen.OURS)
    book.saw(Seen.NOBODY)
    assert code_of(lambda: book.saw(Seen.ANOTHER)) is Code.DISK_FULL


def test_the_clients_file_is_written_only_where_it_says_something_else(tmp_path: Path) -> None:
    """A full disk does not keep a node from dialling again."""
    command = write_config(tmp_path / "tunnel", ends(tmp_path))
    written = {path: path.stat().st_ino for path in (tmp_path / "tunnel").iterdir()}
    assert write_config(tmp_path / "tunnel", ends(tmp_path)) == command
    assert {path: path.stat().st_ino for path in (tmp_path / "tunnel").iterdir()} == written
    (tmp_path / "tunnel" / "known_hosts").write_text("relay ssh-ed25519 another\n")
    write_config(tmp_path / "tunnel", ends(tmp_path))
    assert "another" not in (tmp_path / "tunnel" / "known_hosts").read_text()


def test_a_node_made_before_there_were_relays_gets_a_key_once(tmp_path: Path) -> None:
    making.make_tunnel_key(tmp_path)
    before = making.tunnel_public(tmp_path)
    making.make_tunnel_key(tmp_path)
    assert making.tunnel_public(tmp_path) == before
    assert before.startswith("ssh-ed25519 ")


def test_a_state_is_shown_to_people_and_programs(book: TunnelBook, tmp_path: Path) -> None:
    settings = NodeSettings.model_validate({"home": tmp_path, "relay": {"address": "relay.example:443"}})
    book.note(connected=False, code=Code.FORBIDDEN)
    book.saw(Seen.ANOTHER)
    state = tunnel_state(settings)
    assert state == {
        "relay": "relay.example:443", "connected": False, "since": None, "code": "forbidden", "seen": "another", "looked": STAMP,
    }  # fmt: skip
    text = "\n".join(_tunnel_lines(state))
    assert "not open (forbidden) to relay.example:443" in text
    assert "ANOTHER KEY" in text
    assert tunnel_state(NodeSettings(home=tmp_path)) is None
    assert _tunnel_lines(None) == []


def enrolled(home: Path, *, pin: RelayPin | None) -> NodeSettings:
    """A node that has a relay in its settings; what enrolment pinned is another matter."""
    making.make_keys(home / "keys", site_name="Northport", gateway="https://localhost:1", now=datetime.now(UTC))
    write_durably(home / "trust" / CENTRE, canonical_json(Centre(
        site="northport", region="XA-N", registry="https://localhost:1", grant_key="g" * 43,
        link_address="localhost:1", fleet_address="localhost:1", relay=pin,
    )))  # fmt: skip
    return NodeSettings.model_validate(
        {"home": home, "relay": {"address": f"localhost:{free_port()}"}, "gateway": {"host": "0.0.0.0"}}
    )


def test_a_part_that_cannot_begin_says_why(tmp_path: Path) -> None:
    settings = enrolled(tmp_path, pin=None)
    assert code_of(lambda: run_part("tunnel", settings, threading.Event())) is Code.MISSING_CERTIFICATE


def test_the_part_dials_until_it_is_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\n" + OPEN + "exec sleep 30\n")
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    settings, stop, book = enrolled(tmp_path, pin=PIN), threading.Event(), TunnelBook(tmp_path, lambda: NOW)
    thread = threading.Thread(target=run_part, args=("tunnel", settings, stop))
    thread.start()
    deadline = time.monotonic() + 20
    while book.read().seen is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert book.read().connected
    assert book.read().seen is Seen.NOBODY  # nobody answers at the gateway's name in this test
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not book.read().connected


def test_the_doctor_names_what_is_missing_for_a_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = enrolled(tmp_path, pin=None)
    assert looked(outward.relay, settings).code is Code.MISSING_CERTIFICATE
    monkeypatch.setattr(shutil, "which", lambda _: None)
    check = looked(outward.relay, settings)
    assert check.code is Code.NODE_FAULT
    assert "openssh-client" in check.said
    assert "not used" in looked(outward.relay, NodeSettings(home=tmp_path)).said


@contextmanager
def greeting(settings: NodeSettings, words: bytes) -> Iterator[None]:
    """Something that listens where the relay should, and says this to whoever comes."""
    with socket.create_server(("127.0.0.1", int(settings.relay.address.rpartition(":")[2]))) as door:

        def serve() -> None:
            with door.accept()[0] as opened:
                opened.sendall(words)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(5)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no OpenSSH client here")
def test_the_doctor_asks_the_relay_for_ssh_and_not_only_for_a_port(tmp_path: Path) -> None:
    settings = enrolled(tmp_path, pin=PIN)
    assert tunnel_ends(settings) == Ends(
        relay=settings.relay.address, pin=PIN, gateway="127.0.0.1:9443", keys=settings.keys
    )
    assert "no connection" in looked(outward.relay, settings).said
    with greeting(settings, b"SSH-2.0-OpenSSH_9.2\r\n"):
        check = looked(outward.relay, settings)
    assert (check.holds, check.advice) == (True, True)
    assert "the tunnel is not open" in check.said
    with greeting(settings, b"HTTP/1.1 400 Bad Request\r\n"):
        check = looked(outward.relay, settings)
    assert check.code is Code.PEER_UNREACHABLE
    assert "not speak SSH" in check.said


def test_the_doctor_says_whose_key_readers_are_shown(tmp_path: Path, hospitals: tuple[Path, Path]) -> None:
    making.make_gateway_certificate(
        tmp_path / "keys", site_name="Northport", gateway="https://localhost:1", now=datetime.now(UTC)
    )
    for folder, code, words in (
        (tmp_path / "keys", None, "own key"),
        (hospitals[1], Code.PEER_UNTRUSTED, "another key"),
    ):
        with showing(folder / "gateway.pem", folder / "gateway.key") as port:
            origin = f"https://localhost:{port}"
            check = looked(
                outward.outside, NodeSettings.model_validate({"home": tmp_path, "gateway": {"origin": origin}})
            )
        assert check.code is code
        assert words in check.said


def test_the_pin_is_of_the_key_and_outlives_a_renewal(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    making.make_keys(folder, site_name="Northport", gateway="https://ct.northport.example", now=NOW)
    before = making.gateway_pin(folder)
    assert renew_own_servers(folder, NOW + timedelta(days=700), gateway="https://ct.northport.example")
    assert making.gateway_pin(folder) == before
