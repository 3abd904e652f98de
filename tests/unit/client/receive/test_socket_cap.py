"""No peer makes us read or hold more than one PDU's worth, and honest peers notice nothing."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from client.receive.socket_cap import cap_pdu, read_exactly
from tests.fakes.dicom_peer import associate, echo, free_port

CAP = 1 << 16
ASSOCIATE_RQ = 1


@contextmanager
def capped_server() -> Iterator[tuple[int, list[int]]]:
    """Serve C-ECHO behind the cap; yields the port, and TCP_NODELAY of each connection as it was after `cap_pdu`."""
    no_delay: list[int] = []

    def opened(event: evt.Event) -> None:
        cap_pdu(event.assoc, CAP)
        no_delay.append(event.assoc.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    entity = AE(ae_title="ACINUS")
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_CONN_OPEN, opened), (evt.EVT_C_ECHO, lambda _event: 0x0000)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1], no_delay
    finally:
        server.shutdown()


def hung_up(line: socket.socket) -> bool:
    try:
        return line.recv(64) == b""
    except ConnectionResetError:  # the same, said more rudely: bytes of ours lay unread
        return True


def test_an_honest_peer_notices_nothing() -> None:
    with capped_server() as (port, no_delay):
        assert echo(port)
    assert no_delay == [1]


@pytest.mark.parametrize("length", [CAP + 1, 0xFFFFFFF0])
def test_a_peer_that_announces_too_much_is_cut_off_unread(length: int) -> None:
    with capped_server() as (port, _), socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(60)
        line.sendall(struct.pack(">BBL", ASSOCIATE_RQ, 0, length) + bytes(1000))
        assert hung_up(line)
        assert echo(port), "others are still served"


def test_a_closed_connection_needs_no_cap() -> None:
    association = associate(free_port())
    cap_pdu(association, CAP)
    assert not association.is_established


def test_bytes_that_come_in_pieces_are_put_together() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        content = bytes(range(256)) * 1000

        def drip() -> None:
            for start in range(0, len(content), 7919):
                theirs.sendall(content[start : start + 7919])

        sender = threading.Thread(target=drip)
        sender.start()
        assert read_exactly(ours, len(content)) == content
        sender.join()


def test_a_peer_that_hangs_up_leaves_what_came() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"half")
        theirs.close()
        assert read_exactly(ours, 100) == b"half"
        assert read_exactly(ours, 100) == b""
    assert read_exactly(None, 100) == b""
