"""What the SuperNode does for its runner: it rings when a message is whole, and sends to the centre what tickets stand for."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from strategies.flower import FOLDER_VARIABLE, desk
from strategies.flower import superlink as superlink_program
from strategies.flower import supernode as program
from strategies.flower.desk import TaskDesk
from strategies.flower.objects import STIRRED, SharedObjectStoreFactory
from strategies.flower.pieces import SMALL_BYTES, Pieces
from strategies.flower.state import LinkState

STORED = "ab" * 32


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    return Pieces(tmp_path)


# Messages on their way to the centre.


def test_the_centre_is_sent_what_tickets_stand_for(pieces: Pieces) -> None:
    (pieces.folder / STORED).write_bytes(b"w" * 2 * SMALL_BYTES)
    sent: list[tuple[str, bytes]] = []
    options: list[Any] = []

    def push(contents: Iterable[tuple[str, bytes]], **others: Any) -> None:
        sent.extend(contents)
        options.append(others)

    objects = [(STORED, pieces.ticket(STORED)), ("e" * 64, b"Message  2\x00{}")]
    program.redeemed(push, pieces)(iter(objects), push_object_fn=print)
    assert sent == [(STORED, b"w" * 2 * SMALL_BYTES), ("e" * 64, b"Message  2\x00{}")]
    assert options == [{"push_object_fn": print}]


def test_each_object_is_read_when_its_turn_comes(pieces: Pieces) -> None:
    for name in ("a" * 64, "b" * 64):
        (pieces.folder / name).write_bytes(name.encode())
    read: list[bytes] = []

    def push(contents: Iterable[tuple[str, bytes]]) -> None:
        for _, content in contents:
            read.append(content)
            (pieces.folder / ("b" * 64)).write_bytes(b"written meanwhile")

    program.redeemed(push, pieces)([(name, pieces.ticket(name)) for name in ("a" * 64, "b" * 64)])
    assert read == [b"a" * 64, b"written meanwhile"]


def test_a_reply_whose_object_has_gone_is_not_sent_in_part_as_if_it_were_whole(pieces: Pieces) -> None:
    def push(contents: Iterable[tuple[str, bytes]]) -> None:
        list(contents)

    with pytest.raises(FileNotFoundError):
        program.redeemed(push, pieces)([(STORED, pieces.ticket(STORED))])


# The runner's rests.


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pieces | None], TaskDesk]:
    monkeypatch.setattr(desk, "run_clientapp", SimpleNamespace())

    def made(pieces: Pieces | None) -> TaskDesk:
        found = TaskDesk("127.0.0.1:1", b"s" * 32, pieces)
        found.close()
        return found

    return made


Desks = Callable[[Pieces | None], TaskDesk]


class Stop(threading.Event):
    """Notes how long somebody waits for it instead of waiting; on `ring_at`, the number of a wait, something happens."""

    def __init__(self, ring_at: int = -1, ring: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self.ring_at, self.ring = ring_at, ring

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if len(self.waits) == self.ring_at:
            self.ring()
        return self.is_set()


def test_a_runner_without_a_bell_rests_as_long_as_it_is_told(connected: Desks) -> None:
    stop = Stop()
    connected(None).rest(0.4, stop)
    assert stop.waits == [0.4]


def test_a_runner_with_a_bell_rests_until_it_rings(connected: Desks, pieces: Pieces) -> None:
    stop = Stop(3, lambda: pieces.whole().ring())
    connected(pieces).rest(0.4, stop)
    assert stop.waits == [desk.TICK_SECONDS] * 3


def test_a_ring_while_the_runner_worked_ends_its_next_rest_at_once(connected: Desks, pieces: Pieces) -> None:
    found, stop = connected(pieces), Stop()
    pieces.whole().ring()
    found.rest(0.4, stop)
    assert stop.waits == []
    stop.ring_at, stop.ring = 2, stop.set
    found.rest(0.4, stop)
    assert len(stop.waits) == 2, "that ring is over"


def test_a_runner_that_is_asked_to_end_does_not_rest_on(connected: Desks, pieces: Pieces) -> None:
    stop = Stop()
    stop.set()
    connected(pieces).rest(0.4, stop)
    assert len(stop.waits) == 1


def test_a_runner_looks_after_a_while_although_nobody_rang(
    connected: Desks, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "LONGEST_REST_SECONDS", 0.1)
    began = time.monotonic()
    connected(pieces).rest(30, threading.Event())
    assert 0.1 <= time.monotonic() - began < 10


def test_a_runner_that_is_there_before_its_supernode_hears_it_all_the_same(connected: Desks, tmp_path: Path) -> None:
    pieces = Pieces(tmp_path / "not yet")
    found = connected(pieces)
    pieces.folder.mkdir()
    pieces.whole().ring()
    stop = Stop()
    found.rest(0.4, stop)
    assert stop.waits == []


def test_both_connections_of_a_runner_share_the_folder(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[Pieces | None] = []
    client = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(desk, "run_clientapp", SimpleNamespace())
    monkeypatch.setattr(desk, "share", lambda _, folder: shared.append(folder) or client)
    found = TaskDesk("127.0.0.1:1", b"s" * 32, pieces)
    found._connect("flwr-clientapp", object())  # type: ignore[arg-type]
    TaskDesk("127.0.0.1:1", b"s" * 32)
    assert shared == [pieces, pieces, None]


# The two programs, as what they start.


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Flower's modules, as far as a SuperNode's program changes them."""
    loop = SimpleNamespace(
        time=None, pull_objects=None, register_signal_handlers=signal.signal,
        _pull_and_store_message=lambda **_: 7, push_object_contents_from_iterable=None,
    )  # fmt: skip
    monkeypatch.setattr(program, "supernode_loop", loop)
    monkeypatch.setattr(program, "supernode_app", SimpleNamespace(create_app=lambda: None))
    monkeypatch.setattr(program, "flower_supernode", FunctionType((lambda: None).__code__, {}))
    return loop


def test_a_supernode_with_a_folder_redeems_and_keeps_its_objects_there(
    loop: SimpleNamespace, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(pieces.folder))
    program.run_supernode()
    assert program.flower_supernode.__globals__["ObjectStoreFactory"] is SharedObjectStoreFactory
    assert loop.push_object_contents_from_iterable.__qualname__.startswith("redeemed")
    assert loop._pull_and_store_message(state=None, object_store=None, receive=lambda: None) == 7
    assert loop.time._stirred is STIRRED
    assert program.supernode_app.create_app.__qualname__.startswith("chained")


def test_a_supernode_without_one_does_neither(
    loop: SimpleNamespace, pieces: Pieces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    program.run_supernode()
    assert "ObjectStoreFactory" not in program.flower_supernode.__globals__
    assert loop.push_object_contents_from_iterable is None
    assert loop._pull_and_store_message(state=None, object_store=None, receive=lambda: None) == 7
    assert loop.time._stirred is None


def test_a_supernode_that_fails_ends_although_its_server_runs_on() -> None:
    """As it is when the fleet gateway does not know its certificate yet: then whoever keeps it starts it again."""
    script = """
import threading, time
from strategies.flower.supernode import ending_at_a_fault

def fail():
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise ValueError("403 Forbidden")

ending_at_a_fault(fail)()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1
    assert "ValueError: 403 Forbidden" in ended.stderr


def test_our_superlink_is_the_stock_one_with_our_store_state_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Any, ...]] = []
    loader, factory = SimpleNamespace(ObjectStoreFactory=None), SimpleNamespace(SqlLinkState=None)
    app = SimpleNamespace(create_app=lambda: None)
    monkeypatch.setattr(superlink_program, "config_loader", loader)
    monkeypatch.setattr(superlink_program, "linkstate_factory", factory)
    monkeypatch.setattr(superlink_program, "superlink_app", app)

    def stock() -> None:
        started.append((loader.ObjectStoreFactory, factory.SqlLinkState, app.create_app.__qualname__.split(".")[0]))

    monkeypatch.setattr(superlink_program, "flower_superlink", stock)
    superlink_program.run_superlink()
    assert started == [(SharedObjectStoreFactory, LinkState, "chained")]
