"""No peer makes us read or hold more than one PDU's worth, or wait for one longer than its deadline; honest peers notice nothing."""

import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from client.receive.line import CLOSED, LATE, NO_PDU, TOO_LARGE, Kind, Line, LineEndedError

CAP = 1 << 16


@pytest.fixture
def ends() -> Iterator[tuple[Line, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Line(ours, most_bytes=CAP, pdu_seconds=0.3), theirs


def why(line: Line, **rest: int) -> str:
    with pytest.raises(LineEndedError) as caught:
        line.read(0.3, **rest)
    return caught.value.why


def pdu(kind: int, body: bytes, *, claim: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if claim is None else claim) + body


def test_a_whole_pdu_is_read_and_the_next_one_too(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    peer.sendall(pdu(4, b"first") + pdu(5, b""))
    kind, body = line.read(1)
    assert (kind, bytes(body)) == (Kind.DATA, b"first")
    assert line.read(1)[0] is Kind.RELEASE_RQ


def test_bytes_that_come_in_pieces_are_put_together(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    content = bytes(range(256)) * 200

    def drip() -> None:
        whole = pdu(4, content)
        for start in range(0, len(whole), 7919):
            peer.sendall(whole[start : start + 7919])

    sender = threading.Thread(target=drip)
    sender.start()
    assert bytes(line.read(5)[1]) == content
    sender.join()


@pytest.mark.parametrize("claim", [CAP + 1, 0xFFFFFFF0])
def test_more_than_the_cap_is_refused_unread(ends: tuple[Line, socket.socket], claim: int) -> None:
    line, peer = ends
    peer.sendall(pdu(4, b"x", claim=claim))
    tracemalloc.start()
    assert why(line) == TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_smaller_cap_can_be_asked_for(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    peer.sendall(pdu(1, bytes(200)))
    assert why(line, most_bytes=100) == TOO_LARGE


@pytest.mark.parametrize("kind", [0, 8, 0x47])
def test_what_is_no_pdu_is_said(ends: tuple[Line, socket.socket], kind: int) -> None:
    line, peer = ends
    peer.sendall(pdu(kind, b"GET / HTTP"))
    assert why(line) == NO_PDU


def test_silence_and_half_a_pdu_are_late(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    assert why(line) == LATE
    peer.sendall(pdu(4, b"half", claim=100))
    assert why(line) == LATE


def test_a_byte_now_and_then_is_no_progress(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    stop = threading.Event()

    def drip() -> None:
        peer.sendall(pdu(4, b"", claim=1000))
        while not stop.wait(0.05):
            peer.sendall(b"x")

    sender = threading.Thread(target=drip)
    sender.start()
    began = time.monotonic()
    assert why(line) == LATE
    assert time.monotonic() - began < 5
    stop.set()
    sender.join()


def test_a_peer_that_hangs_up_is_gone(ends: tuple[Line, socket.socket]) -> None:
    line, peer = ends
    peer.sendall(pdu(4, b"half", claim=100))
    peer.close()
    assert why(line) == CLOSED
    with pytest.raises(LineEndedError) as caught:
        line.send(bytes(1 << 20))
    assert caught.value.why == CLOSED


def test_a_peer_that_takes_nothing_is_late(ends: tuple[Line, socket.socket]) -> None:
    line, _ = ends
    with pytest.raises(LineEndedError) as caught:
        line.send(bytes(8 << 20))
    assert caught.value.why == LATE
