"""The relay's parent: what it refuses to start with, how it follows the sites, and what it says of itself."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocol.codes import Code
from protocol.enrolment import SiteEntry
from protocol.errors import UnavailableError
from server import cli
from server.parts import only_supervisor
from server.relay import run as running
from server.relay.door import ask, follow
from server.relay.files import KEYS, NAMES, SOCKET, routes_in, write_config
from server.relay.plan import NO_TUNNEL, Plan, plan_of
from server.relay.run import Relay, refuse_taken_ports, relay_state
from server.relay.tunnels import cut, open_ports
from server.settings import CentreSettings
from server.status import _relay
from tests.fakes.outcomes import code_of
from tests.fakes.ports import free_port
from tests.unit.server.relay.test_plan import site

NORTH, SOUTH = site("north", 1), site("south", 2)


class MemoryRegistry:
    """Says which sites there are, or nothing at all."""

    def __init__(self, *entries: SiteEntry) -> None:
        self.entries: list[SiteEntry] | None = list(entries)

    def sites(self) -> list[SiteEntry]:
        if self.entries is None:
            raise UnavailableError(Code.PEER_UNREACHABLE, "nobody there")
        return self.entries


@pytest.fixture
def settings(tmp_path: Path) -> CentreSettings:
    (tmp_path / "pki").mkdir()
    (tmp_path / "logs").mkdir()
    relay = {"port": free_port(), "tunnel_port": free_port()}
    return CentreSettings.model_validate({"home": tmp_path, "relay": relay})


# What it refuses.


def test_it_does_not_run_as_root(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert code_of(lambda: Relay(settings, MemoryRegistry(NORTH)).run(threading.Event())) is Code.FORBIDDEN


def test_a_taken_port_is_named(settings: CentreSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_GRACE_SECONDS", 0.0)
    refuse_taken_ports(settings)
    with socket.create_server(("127.0.0.1", settings.relay.tunnel_port)):
        with pytest.raises(UnavailableError, match="tunnel_port in centre") as raised:
            refuse_taken_ports(settings)
        assert raised.value.code is Code.PORT_TAKEN


def test_an_account_that_may_not_listen_so_low_is_told_what_it_lacks(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert code_of(lambda: refuse_taken_ports(settings)) is Code.FORBIDDEN


# How it follows.


def test_the_lists_follow_the_registry_and_stand_while_it_is_silent(settings: CentreSettings) -> None:
    registry = MemoryRegistry(NORTH, SOUTH)
    relay = Relay(settings, registry)
    relay._ask()
    folder = settings.home / "relay"
    assert (folder / NAMES).read_text() == "north.example 20001\nsouth.example 20002\n"
    registry.entries = None
    relay._ask()
    assert (folder / KEYS).read_text().count("permitlisten") == 2
    registry.entries = [SOUTH]
    relay._ask()
    assert (folder / NAMES).read_text() == "south.example 20002\n"
    assert "north" not in (folder / KEYS).read_text()


@pytest.mark.parametrize(
    ("now", "gone"),
    [
        ([NORTH, SOUTH], []),
        ([SOUTH], ["north"]),
        ([site("north", 1, tunnel_key=SOUTH.tunnel_key)], ["north", "south"]),
        ([site("north", 1, gateway_origin="https://other.example"), SOUTH], ["north"]),
    ],
    ids=["nothing", "revoked", "another-key", "another-name"],
)
def test_a_tunnel_ends_with_its_route(now: list[SiteEntry], gone: list[str]) -> None:
    assert [route.site for route in running._gone(plan_of([NORTH, SOUTH]).routes, plan_of(now))] == gone


def test_what_came_in_by_an_old_list_while_the_registry_was_silent_is_cut(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay was started anew in between; its tunnel server lets in by the list that the one before has written."""
    Relay(settings, MemoryRegistry(NORTH, SOUTH))._ask()
    ended, silent = list[int](), MemoryRegistry()
    silent.entries = None
    monkeypatch.setattr(running, "cut", lambda port: ended.append(port) is None)
    relay = Relay(settings, silent)
    relay._ask()
    relay._children[running.TUNNELS] = running._Child(running.TUNNELS, subprocess.Popen(["true"]))
    silent.entries = [site("north", 1, active=False), SOUTH]
    relay._ask()
    relay._children[running.TUNNELS].process.wait()
    assert ended == [20_001]
    assert "north" not in (settings.home / "relay" / KEYS).read_text()


def test_what_was_written_down_is_read_back(settings: CentreSettings) -> None:
    relay = Relay(settings, MemoryRegistry(NORTH, SOUTH))
    assert routes_in(settings.home / "relay") == ()
    relay._ask()
    assert routes_in(settings.home / "relay") == plan_of([NORTH, SOUTH]).routes
    (settings.home / "relay" / NAMES).write_text("")
    (settings.home / "relay" / KEYS).open("a").write("# a remark\n")
    assert [(route.site, route.name) for route in routes_in(settings.home / "relay")] == [("north", ""), ("south", "")]


@contextmanager
def haproxy(folder: Path, names: dict[str, str]) -> Iterator[list[str]]:
    """The part of HAProxy's runtime API that we use, as its management guide has it (section 9.3); one command a connection."""
    said: list[str] = []

    def answer(command: str) -> str:
        verb, _, file, *words = command.split()
        assert file == NAMES
        if verb == "show":
            return "".join(f"0x55d0 {name} {port}\n" for name, port in names.items()) + "\n"
        said.append(command)
        if verb == "del":
            del names[words[0]]
        else:
            assert (words[0] in names) is (verb == "set")
            names[words[0]] = words[1]
        return "\n"

    def serve() -> None:
        while True:
            opened, _ = door.accept()
            with opened:
                command = opened.recv(1000).decode().strip()
                if command == "quit":
                    return
                opened.sendall(answer(command).encode())

    here = Path.cwd()
    os.chdir(folder)  # as HAProxy does it: the socket's whole path may be too long for the kernel
    door = socket.socket(socket.AF_UNIX)
    door.bind(SOCKET)
    os.chdir(here)
    door.listen()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield said
    ask(folder, "quit")
    thread.join(5)
    door.close()


def test_a_running_haproxy_is_told_the_differences_and_nothing_else(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    names = {"north.example": "20001", "gone.example": "20009", "south.example": "1"}
    with haproxy(deep, names) as said:
        follow(deep, plan_of([NORTH, SOUTH]))
        first = len(said)
        follow(deep, plan_of([NORTH, SOUTH]))
    assert names == {"north.example": "20001", "south.example": "20002"}
    assert first == len(said) == 2


def test_a_haproxy_that_does_not_answer_is_said_so(tmp_path: Path) -> None:
    assert code_of(lambda: follow(tmp_path, Plan())) is Code.PEER_UNREACHABLE


LISTENS = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True); s.accept()"


def test_a_tunnel_is_seen_and_cut_and_nothing_of_another_family_is() -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", LISTENS, str(port)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with socket.create_server(("127.0.0.1", 0)) as own:
            ours = own.getsockname()[1]
            assert open_ports({port, ours, 1}) == {port, ours}
            assert not cut(ours)  # this process's own listener is no tunnel
            assert cut(port)
            child.wait(10)
            assert open_ports({port, ours}) == {ours}
    assert not cut(port)


# What it says.


def test_its_state_is_there_while_it_runs(settings: CentreSettings) -> None:
    assert relay_state(settings) is None
    relay = Relay(settings, MemoryRegistry(NORTH, site("west", 3, tunnel_key=None)))
    folder = settings.home / "relay"
    with only_supervisor(folder):
        assert relay_state(settings) is None
        relay._ask()
        relay._show()
        state = relay_state(settings)
    assert state == {"parts": {}, "sites": {"north": False}, "unrouted": {"west": NO_TUNNEL}}
    assert relay_state(settings) is None
    lines = cli.relay_lines(state)
    assert "tunnel north: not open" in lines
    assert f"no tunnel for west: {NO_TUNNEL}" in lines
    assert cli.relay_lines(None) == []


def test_the_doctor_looks_at_a_relay_where_there_is_one(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(_relay(settings)) == []
    write_config(settings)
    key = next(finding for finding in _relay(settings) if "key" in finding.what)
    assert key.well
    (settings.home / "pki" / "relay.key").chmod(0o644)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    findings = list(_relay(settings))
    assert [finding.well for finding in findings] == [False, False, False]
    assert any("package openssh-server" in finding.advice for finding in findings)


def test_the_command_writes_the_configuration_and_says_who_has_a_route(
    settings: CentreSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.home / "centre.toml").write_text("")
    monkeypatch.setattr(
        "server.runtime.open_registry", lambda _: MemoryRegistry(NORTH, site("west", 3, tunnel_port=None))
    )
    monkeypatch.setattr(sys, "argv", ["acinus-centre", "--home", str(settings.home), "relay", "config", "--json"])
    mask = os.umask(0o077)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        os.umask(mask)
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["routes"] == {"north": {"name": "north.example", "port": 20_001}}
    assert document["unrouted"] == {"west": NO_TUNNEL}
    assert document["host_key"] == (settings.home / "pki" / "relay.pub").read_text().strip()
    assert (settings.home / "relay" / "haproxy.cfg").exists()
