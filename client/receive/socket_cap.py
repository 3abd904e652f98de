"""A limit on what one PDU may hold. pynetdicom reads as many bytes as a peer's length field claims, up to 4 GiB, into memory."""

import socket

from pynetdicom.association import Association


def cap_pdu(association: Association, most_bytes: int) -> None:
    """Make `association` read at most `most_bytes` for one PDU; a peer that announces more is cut off.

    Also reads in large steps: pynetdicom's own loop takes 4 KiB at a time.

    Args:
        association: One whose connection has just been opened (`EVT_CONN_OPEN`).
        most_bytes: The cap.
    """
    connection = association.dul.socket
    if connection is None or connection.socket is None:
        return
    line: socket.socket = connection.socket
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(count: int) -> bytearray:
        if count > most_bytes:
            raise OSError(
                "the peer announced a larger PDU than is allowed"
            )  # pynetdicom ends the connection on OSError
        return read_exactly(connection.socket, count)

    connection.recv = receive  # type: ignore[method-assign,assignment] # the library has no setting for it


def read_exactly(line: socket.socket | None, count: int) -> bytearray:
    """Read `count` bytes from `line`, or fewer if the peer hangs up."""
    received = bytearray(count)
    view, done = memoryview(received), 0
    while line is not None and done < count:
        step = line.recv_into(view[done:])
        if step == 0:
            break
        done += step
    view.release()
    del received[done:]
    return received
