"""Pixels go from hospital to reader through a relay that cannot read them, and nothing else goes through it."""

import asyncio
import gzip
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from client.gate.keys import gateway_pin, make_tunnel_key, tunnel_public
from client.gate.outside import Seen, look_from_outside
from client.gate.ssh import CONFIG, Ends, write_config
from protocol.enrolment import RelayPin
from server.relay.files import KEYS, SSHD, stock_program
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.relay import AS_NOBODY, GATEWAY_PORT, NAME, PORT, REGISTRY_PORT, RELAY_PORT, Quiet, serve, wait_until
from tests.integration.relay.conftest import (
    FIREWALL,
    HOSPITAL,
    OTHER,
    OTHER_PORT,
    PIXELS,
    RELAY_INSIDE,
    RELAY_OUTSIDE,
    Capture,
    Village,
)

OWN = f"localhost:{PORT} 127.0.0.1:{GATEWAY_PORT}"
STAYED_OPEN = "the tunnel stayed open"


@pytest.fixture(autouse=True)
def whole(village: Village) -> Iterator[None]:
    """Each test finds the tunnel open and the list of sites whole."""
    wait_until(lambda: village.tunnel()["connected"])
    yield
    village.enrol(*village.entries())


def attempt(
    village: Village,
    folder: Path,
    *options: str,
    forward: str = "",
    keys: Path | None = None,
    pin: RelayPin | None = None,
    seconds: float = 15,
) -> str:
    """Try something at the tunnel server with the stock client from inside the hospital; return all that it says.

    What is refused ends by itself, however slow the machine is; what succeeds stays open, for as long as `seconds`. Everything but `forward` is as the node itself has it. `options` are the client's own, or a command to run there.
    """
    relay = village.pin.address
    write_config(folder, Ends(relay=relay, pin=pin or village.pin, gateway="127.0.0.1:1", keys=keys or village.keys))
    config = folder / CONFIG
    lines = [
        line for line in config.read_text().splitlines() if "RemoteForward" not in line and "SessionType" not in line
    ]
    config.write_text("\n".join([*lines, f"    RemoteForward {forward}" if forward else "", ""]))
    command = ["ssh", "-F", str(config), *([] if options and not options[0].startswith("-") else ["-N"])]
    first, last = (options, ()) if "-N" in command else ((), options)
    with village.wires.inside("hospital"):
        try:
            done = subprocess.run(
                [*command, *first, "relay", *last],
                capture_output=True,
                text=True,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired as still:
            return f"{(still.stderr or b'').decode()}\n{STAYED_OPEN}"
    return done.stderr + done.stdout


def test_a_reader_reads_through_the_relay_and_the_relay_sees_the_name_and_no_pixel(village: Village) -> None:
    reader, capture = village.reader(), Capture(village.wires, "r0", "r1")
    with closing(capture):
        assert reader.ask("GET", PIXELS)[0] == 401
        assert reader.enter() == 201
        status, pixels = reader.ask("GET", PIXELS)
        assert (status, gzip.decompress(pixels)[344:348]) == (200, b"n+1\0")
        marker = pixels[2000:2040]
        wait_until(lambda: NAME.encode() in capture.frames)
        assert marker not in capture.frames
        assert reader.cookie.partition("=")[2].encode() not in capture.frames
        with village.wires.inside("reader"), socket.create_connection((RELAY_OUTSIDE, RELAY_PORT), 5) as plain:
            plain.sendall(100 * marker)  # what is not encrypted, the capture does see
        wait_until(lambda: marker in capture.frames)


def test_the_hospital_has_no_open_port(village: Village) -> None:
    reader = village.reader()
    for address in (HOSPITAL, FIREWALL):
        for port in (GATEWAY_PORT, 443, 22):
            with pytest.raises((TimeoutError, ConnectionError)):
                reader.connect(address, port)
    with village.wires.inside("relay"):
        for address in (HOSPITAL, FIREWALL):
            with pytest.raises((TimeoutError, ConnectionError)):
                socket.create_connection((address, GATEWAY_PORT), 0.15)


def test_where_a_tunnel_ends_only_the_relay_itself_can_reach(village: Village) -> None:
    reader = village.reader()
    for address in (RELAY_OUTSIDE, RELAY_INSIDE):
        with pytest.raises((TimeoutError, ConnectionError)):
            reader.connect(address, PORT)
    with village.wires.inside("relay"), socket.create_connection(("127.0.0.1", PORT), 1):
        pass  # it is there


@pytest.mark.parametrize("name", ["ct.nowhere.example", "localhost", "*", f"{NAME}.evil.example"])
def test_a_name_that_nobody_enrolled_leads_nowhere(village: Village, name: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        village.reader().ask("GET", PIXELS, name=name)


def test_a_name_is_known_in_any_case_of_letters(village: Village) -> None:
    assert village.reader().ask("GET", PIXELS, name=NAME.upper())[0] == 401


def test_what_is_neither_tls_nor_ssh_is_closed(village: Village) -> None:
    with village.wires.inside("reader"), socket.create_connection((RELAY_OUTSIDE, RELAY_PORT), 5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\n\r\n")
        plain.settimeout(2)
        with suppress(ConnectionResetError):
            assert plain.recv(100) == b""


def test_a_key_that_is_not_enrolled_is_refused(village: Village, tmp_path: Path) -> None:
    make_tunnel_key(tmp_path)
    assert "Permission denied (publickey)" in attempt(village, tmp_path, forward=OWN, keys=tmp_path)


@pytest.mark.parametrize(
    "forward",
    [
        f"localhost:{OTHER_PORT} 127.0.0.1:{GATEWAY_PORT}", f"*:{OTHER_PORT} 127.0.0.1:{GATEWAY_PORT}",
        "localhost:20777 127.0.0.1:1", "localhost:0 127.0.0.1:1", "0.0.0.0:8080 127.0.0.1:1", "/tmp/gate.sock 127.0.0.1:1",
    ],
    ids=["other-site", "other-site-everywhere", "free-port", "any-port", "public-port", "unix-socket"],
)  # fmt: skip
def test_a_site_listens_on_its_own_port_and_on_nothing_else(village: Village, tmp_path: Path, forward: str) -> None:
    said = attempt(village, tmp_path, forward=forward)
    assert "forwarding failed" in said
    assert STAYED_OPEN not in said


def test_the_other_site_may_do_what_this_one_may_not(village: Village, tmp_path: Path) -> None:
    said = attempt(
        village, tmp_path, forward=f"localhost:{OTHER_PORT} 127.0.0.1:{GATEWAY_PORT}", keys=village.folder / "other", seconds=4
    )  # fmt: skip
    assert "remote forward success" in said
    assert STAYED_OPEN in said


def test_a_hospital_with_a_proxy_opens_its_tunnel_through_it(
    village: Village, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with village.wires.inside("hospital"):
        proxy = ConnectProxy({village.pin.address: (RELAY_INSIDE, RELAY_PORT)})  # its thread lives there from now on
    proxy.start()
    monkeypatch.setenv("HTTPS_PROXY", proxy.address)
    try:
        said = attempt(
            village, tmp_path, forward=f"localhost:{OTHER_PORT} 127.0.0.1:1", keys=village.folder / "other", seconds=10
        )
    finally:
        proxy.close()
    assert "remote forward success" in said
    assert proxy.asked == [f"CONNECT {village.pin.address}"]


@pytest.mark.parametrize("target", [f"127.0.0.1:{REGISTRY_PORT}", f"127.0.0.1:{PORT}", "203.0.113.9:22"])
def test_nothing_is_reached_from_the_relay(village: Village, tmp_path: Path, target: str) -> None:
    assert "administratively prohibited" in attempt(village, tmp_path, "-W", target)


@pytest.mark.parametrize("command", ["id", "exec /bin/sh"])
def test_nothing_is_run_at_the_relay(village: Village, tmp_path: Path, command: str) -> None:
    said = attempt(village, tmp_path, command)
    assert "uid=" not in said
    assert "open failed" in said or "refused" in said


def test_a_relay_with_another_key_is_not_spoken_to(village: Village, tmp_path: Path) -> None:
    make_tunnel_key(tmp_path)
    pin = village.pin.model_copy(update={"host_key": tunnel_public(tmp_path)})
    said = attempt(village, tmp_path, forward=OWN, pin=pin)
    assert "Host key verification failed" in said
    assert "Offering public key" not in said


def test_a_relay_that_opens_tls_itself_is_refused_by_readers_and_noticed_by_the_node(village: Village) -> None:
    """Whatever stands in the way: its certificate is not the hospital's."""
    pki, reader = village.centre / "pki", village.reader()
    chain = (pki / "registry.pem", pki / "registry.key")
    server = serve(village.wires, "relay", 444, chain, Quiet, host=RELAY_OUTSIDE)
    try:
        with pytest.raises(ssl.SSLCertVerificationError):
            reader.open(port=444)
        with village.wires.inside("reader"):
            seen = asyncio.run(look_from_outside(f"https://{RELAY_OUTSIDE}:444", gateway_pin(village.keys)))
            ours = asyncio.run(look_from_outside(f"https://{RELAY_OUTSIDE}:443", gateway_pin(village.keys)))
    finally:
        server.shutdown()
        server.server_close()
    assert seen is Seen.ANOTHER
    assert ours is Seen.NOBODY  # an address names no hospital, so the relay leads nowhere


def test_a_site_that_is_shut_out_is_cut_off_within_seconds_and_comes_back_when_it_is_let_in(village: Village) -> None:
    reader = village.reader()
    north, other = village.entries()
    village.enrol(north.model_copy(update={"active": False}), other)
    wait_until(lambda: not village.tunnel()["connected"])
    assert village.tunnel()["code"] == "peer-unreachable"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        reader.ask("GET", PIXELS)
    village.enrol(north, other)
    wait_until(lambda: village.tunnel()["connected"])
    assert reader.ask("GET", PIXELS)[0] == 401


def test_a_site_that_joins_is_reached_and_nobody_is_cut_off_for_it(village: Village) -> None:
    north, _ = village.entries()
    village.enrol(north)
    wait_until(lambda: OTHER not in village.names)
    with village.reader().open() as held:
        village.enrol(*village.entries())
        wait_until(lambda: OTHER in village.names)
        held.sendall(f"GET {PIXELS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert held.recv(100).startswith(b"HTTP/1.1 401")


def test_after_a_kill_the_node_is_back_within_five_seconds_and_a_readers_session_goes_on(village: Village) -> None:
    reader = village.reader()
    assert reader.enter() == 201
    before = reader.ask("GET", PIXELS)
    assert before[0] == 200
    village.kill("relay")
    wait_until(lambda: not village.tunnel()["connected"])
    with pytest.raises(OSError, match=r"refused|reset|EOF"):
        reader.ask("GET", PIXELS)
    village.start_relay()
    assert wait_until(lambda: village.tunnel()["connected"]) <= 5
    assert reader.ask("GET", PIXELS) == before


def test_openssh_means_by_its_file_what_we_do(village: Village) -> None:
    folder = village.centre / "relay"
    command = [*AS_NOBODY, stock_program("sshd", "openssh-server"), "-T", "-f", str(folder / SSHD)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert {
        "listenaddress 127.0.0.1:8447", "allowtcpforwarding remote", "allowstreamlocalforwarding no", "gatewayports no",
        "permitopen none", "permittty no", "maxsessions 0", "passwordauthentication no", "kbdinteractiveauthentication no",
        "authenticationmethods publickey", f"authorizedkeysfile {folder / KEYS}", "forcecommand /bin/false", "permittunnel no",
        "allowagentforwarding no", "x11forwarding no",
    } <= set(done.stdout.splitlines())  # fmt: skip


@pytest.mark.slow
def test_a_client_that_dies_is_started_again(village: Village) -> None:
    node = village.processes["node"].pid
    [client] = Path(f"/proc/{node}/task/{node}/children").read_text().split()
    os.kill(int(client), signal.SIGKILL)
    wait_until(lambda: not village.tunnel()["connected"])
    wait_until(lambda: village.tunnel()["connected"])
