"""Peers that lie, stall or vanish: each is cut off, nothing of theirs stays, and an honest sender is served all the while."""

import resource
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.receive import association, doorway, spooling
from tests.fakes.ct_series import plain_series
from tests.fakes.dicom_peer import CALLER, echo, receiving, send, wait_for
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port
from tests.fakes.raw_dicom import (
    ABORT,
    ECHO_CONTEXT,
    associated,
    association_request,
    command,
    data_set,
    pdu,
    pdv,
    read_pdu,
    status_of,
)

COMMAND, LAST = 0b01, 0b10
WHOLE = data_set(plain_series(1, 64).dataset(0))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])


def spool_of(home: Home) -> list[Path]:
    return list((home.settings.instances.parent / "incoming").iterdir())


def data(*values: bytes) -> bytes:
    return pdu(4, b"".join(values))


def store_request(**rest: object) -> bytes:
    return data(pdv(COMMAND | LAST, command(**rest)))  # type: ignore[arg-type]


LIES: dict[str, bytes] = {
    "an empty P-DATA": pdu(4, b""),
    "a value of no length": data(pdv(COMMAND, b"", claim=0)),
    "a value of one byte": data(pdv(COMMAND, b"", claim=1)),
    "a value longer than its PDU": data(pdv(COMMAND | LAST, command(), claim=0x7FFFFFFF)),
    "a cut value head": pdu(4, b"\0\0"),
    "a data set before its command": data(pdv(LAST, b"x")),
    "a command in the midst of a data set": store_request() + data(pdv(0, WHOLE[:100])) + store_request(),
    "two contexts in one message": data(pdv(COMMAND, command()[:20]), pdv(COMMAND | LAST, b"", context=ECHO_CONTEXT)),
    "a context that was never agreed on": data(pdv(COMMAND | LAST, command(), context=77)),
    "a command without end": b"".join(data(pdv(COMMAND, bytes(60_000))) for _ in range(3)),
    "a command of noise": data(pdv(COMMAND | LAST, b"\xff" * 100)),
    "a command element longer than the command": data(pdv(COMMAND | LAST, struct.pack("<HHL", 0, 0x100, 0xFFFFFFFF))),
    "an empty command": data(pdv(COMMAND | LAST, b"")),
    "a second request": association_request(),
    "an answer to nothing": pdu(2, bytes(68)),
    "a release in the midst of a message": store_request() + pdu(5, bytes(4)),
    "an unknown PDU": pdu(9, b"?"),
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "a PDU of 4 GiB": pdu(4, bytes(100), claim=0xFFFFFFF0),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_ends_the_association_and_nothing_else(home: Home, lie: bytes) -> None:
    with receiving(home):
        with associated(home.settings.dicom.port) as line:
            line.sendall(lie)
            kind, _ = read_pdu(line)
            assert kind in {ABORT, 0}
            assert read_pdu(line)[0] == 0, "and it is closed"
        assert echo(home.settings.dicom.port)
        wait_for(lambda: spool_of(home) == [], 10)
    assert home.store().studies() == []


@pytest.mark.parametrize(
    "opening",
    [
        pdu(1, b""), pdu(1, bytes(68)), pdu(1, bytes(200_000)), pdu(1, bytes(10), claim=1 << 20), pdu(4, b"x"), pdu(5, bytes(4)),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", association_request()[:40], association_request().replace(b"\x10\0\0\x15", b"\x10\0\xff\xff"),
        pdu(1, association_request()[6:].replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.9.9.9")),
        pdu(1, b"\0\2" + association_request()[8:]),
    ],
    ids=lambda value: value[:8].hex(),
)  # fmt: skip
def test_an_opening_that_is_none_is_turned_away(home: Home, opening: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "ACSE_SECONDS", 1.0)
    monkeypatch.setattr(doorway, "PDU_SECONDS", 1.0)
    with receiving(home):
        with socket.create_connection(("127.0.0.1", home.settings.dicom.port)) as line:
            line.settimeout(10)
            line.sendall(opening)
            assert read_pdu(line)[0] in {ABORT, 3, 0}
        assert echo(home.settings.dicom.port)


def test_fragments_may_be_as_small_as_they_like(home: Home) -> None:
    with receiving(home), associated(home.settings.dicom.port) as line:
        whole = command()
        line.sendall(b"".join(data(pdv(COMMAND, whole[n : n + 1])) for n in range(len(whole) - 1)))
        line.sendall(data(pdv(COMMAND | LAST, whole[-1:])))
        pieces = [WHOLE[n : n + 500] for n in range(0, len(WHOLE), 500)]
        line.sendall(data(*(pdv(0, piece) for piece in pieces)) + data(pdv(LAST, b"")))
        assert status_of(line) == 0
    assert len(home.store().studies()) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (command(0x0021), 0x0211), (command(sop_class="1.2.840.10008.5.1.4.1.1.4"), 0x0122), (command(instance="x" * 200), 0xC000),
        (command(instance="../../etc/passwd"), 0x0000),
    ],
)  # fmt: skip
def test_an_odd_request_is_answered_and_the_association_goes_on(home: Home, request_: bytes, status: int) -> None:
    content = WHOLE if status != 0xC000 else WHOLE[:50]
    with receiving(home), associated(home.settings.dicom.port) as line:
        line.sendall(data(pdv(COMMAND | LAST, request_)) + data(pdv(LAST, content)))
        assert status_of(line) in {status, 0xA900 if status == 0xC000 else status}
        line.sendall(data(pdv(COMMAND | LAST, command(0x30, data=False), context=ECHO_CONTEXT)))
        assert status_of(line) == 0
    assert all("passwd" not in str(path) for path in home.settings.home.rglob("*"))


def test_a_store_request_without_a_data_set_is_an_error(home: Home) -> None:
    with receiving(home), associated(home.settings.dicom.port) as line:
        line.sendall(store_request(data=False))
        assert status_of(line) == 0xC000


@pytest.mark.parametrize(
    "begun",
    [b"", store_request()[:20], store_request(), store_request() + data(pdv(0, WHOLE[:3000])), pdu(4, b"", claim=5000)],
    ids=["silence", "half a command", "a command", "half a data set", "a PDU that does not come"],
)
def test_a_peer_that_stalls_is_left(home: Home, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(association, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(doorway, "PDU_SECONDS", 0.5)
    with receiving(home):
        with associated(home.settings.dicom.port) as line:
            line.sendall(begun)
            line.settimeout(10)
            assert read_pdu(line)[0] == ABORT
        wait_for(lambda: spool_of(home) == [], 10)
    assert home.store().studies() == []


@pytest.mark.parametrize("leave", ["close", "half", "reset"])
def test_a_peer_that_vanishes_leaves_nothing(home: Home, leave: str) -> None:
    def go(line: socket.socket) -> None:
        if leave == "half":
            line.shutdown(socket.SHUT_WR)
            return
        if leave == "reset":
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()

    with receiving(home):
        with associated(home.settings.dicom.port) as line:
            line.sendall(store_request() + data(pdv(0, WHOLE[:3000])))
            wait_for(lambda: len(spool_of(home)) == 1, 10)
            go(line)
            wait_for(lambda: spool_of(home) == [], 10)
        assert send(home, plain_series(1, 64).datasets()) == [0]


def test_silent_strangers_give_way_to_an_honest_sender(home: Home) -> None:
    with receiving(home):
        silent = [socket.create_connection(("127.0.0.1", home.settings.dicom.port)) for _ in range(200)]
        began = time.monotonic()
        assert echo(home.settings.dicom.port)
        assert time.monotonic() - began < 5
        for line in silent:
            line.close()


def test_more_associations_than_there_is_room_for_are_told_to_come_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "MOST_ASSOCIATIONS", 2)
    port = home.settings.dicom.port
    with (
        receiving(home), associated(port), associated(port), socket.create_connection(("127.0.0.1", port)) as third,
    ):  # fmt: skip
        third.settimeout(10)
        third.sendall(association_request())
        kind, body = read_pdu(third)
        assert (kind, body[1:]) == (3, bytes([2, 3, 2])), "transient, local limit exceeded"


def stored(line: socket.socket, content: bytes) -> int:
    line.sendall(store_request())
    for at in range(0, len(content), 4000):
        piece = content[at : at + 4000]
        line.sendall(data(pdv(LAST if at + 4000 >= len(content) else 0, piece)))
    return status_of(line)


@pytest.mark.parametrize("fail", ["limit", "write"])
def test_a_disk_that_fills_in_the_midst_of_a_transfer_is_said_at_its_end(
    home: Home, monkeypatch: pytest.MonkeyPatch, fail: str
) -> None:
    monkeypatch.setattr(spooling, "_LOOK_EVERY_BYTES", 8_000)
    calls: list[int] = []

    def shrinking(_folder: Path) -> int:
        calls.append(1)
        return 100 if len(calls) < 3 else 0

    def full(_descriptor: int, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with receiving(home), associated(home.settings.dicom.port) as line:
        assert stored(line, WHOLE) == 0
        patched: Callable[..., int] = shrinking if fail == "limit" else full
        monkeypatch.setattr(
            *(("client.receive.spooling.free_mb", patched) if fail == "limit" else ("os.write", patched))
        )
        other = data_set(plain_series(1, 128, study="other").dataset(0))
        assert stored(line, other) == 0xA700
        monkeypatch.undo()
        assert spool_of(home) == []
        assert stored(line, other) == 0, "and on the same association, once there is room"
    assert len(home.store().studies()) == 2


def test_an_instance_without_end_is_cut_off(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "MOST_FILE_BYTES", 20_000)
    with receiving(home):
        with associated(home.settings.dicom.port) as line:
            line.sendall(store_request() + b"".join(data(pdv(0, bytes(4000))) for _ in range(6)))
            assert read_pdu(line)[0] == ABORT
        wait_for(lambda: spool_of(home) == [], 10)


def test_memory_does_not_grow_with_what_is_announced_or_sent(home: Home) -> None:
    """Forty peers announce 4 GiB each, ten send 8 MiB without an end."""
    content = data(pdv(0, bytes(100_000))) * 80
    with receiving(home):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(40):
            with associated(home.settings.dicom.port) as line:
                line.sendall(pdu(4, bytes(64), claim=0xFFFFFFF0))
                assert read_pdu(line)[0] == ABORT
        for _ in range(10):
            with associated(home.settings.dicom.port) as line:
                line.sendall(store_request() + content)
        wait_for(lambda: spool_of(home) == [], 30)
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 64
