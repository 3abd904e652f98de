"""A sender that is nothing but a socket: says what a test tells it to say, true or not."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import

from tests.fakes.ct_series import as_bytes
from tests.fakes.dicom_peer import CALLER

CT_CONTEXT, ECHO_CONTEXT = 1, 3
ABORT = 7


def association_request(caller: str = CALLER, called: str = "ACINUS") -> bytes:
    asked = A_ASSOCIATE()
    asked.application_context_name = UID("1.2.840.10008.3.1.1.1")
    asked.calling_ae_title, asked.called_ae_title = caller, called
    size, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    size.maximum_length_received = 16_384
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    asked.user_information = [size, implementation]
    contexts = [
        build_context(CTImageStorage, ExplicitVRLittleEndian),
        build_context(Verification, ExplicitVRLittleEndian),
    ]
    for number, context in zip((CT_CONTEXT, ECHO_CONTEXT), contexts, strict=True):
        context.context_id = number
    asked.presentation_context_definition_list = contexts
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(asked)
    return bytes(pdu.encode())


def pdu(kind: int, body: bytes, *, claim: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if claim is None else claim) + body


def pdv(control: int, content: bytes, *, context: int = CT_CONTEXT, claim: int | None = None) -> bytes:
    return struct.pack(">LBB", len(content) + 2 if claim is None else claim, context, control) + content


def command(field: int = 1, *, data: bool = True, sop_class: str = CTImageStorage, instance: str = "1.2.3") -> bytes:
    out = b""
    for element, value in ((0x0002, _uid(sop_class)), (0x0100, struct.pack("<H", field)), (0x0110, b"\7\0"),
                           (0x0700, b"\0\0"), (0x0800, b"\1\0" if data else b"\1\1"), (0x1000, _uid(instance))):  # fmt: skip
        out += struct.pack("<HHL", 0, element, len(value)) + value
    return struct.pack("<HHLL", 0, 0, 4, len(out)) + out


def data_set(dataset: Dataset) -> bytes:
    """The data set of a file without its meta group."""
    content = as_bytes(dataset)  # type: ignore[arg-type] # a data set with its meta group
    file = BytesIO(content)
    file.seek(132 + 12 + int.from_bytes(content[140:144], "little"))
    return file.read()


@contextmanager
def associated(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.settimeout(30)
        line.sendall(association_request())
        assert read_pdu(line)[0] == 2, "accepted"
        yield line


def read_pdu(line: socket.socket) -> tuple[int, bytes]:
    """The next PDU; (0, b"") if the peer has hung up."""
    try:
        head = _exactly(line, 6)
        return (head[0], _exactly(line, int.from_bytes(head[2:], "big"))) if head else (0, b"")
    except ConnectionResetError:
        return 0, b""


def status_of(line: socket.socket) -> int:
    """The status in the next response."""
    kind, body = read_pdu(line)
    assert kind == 4
    at = body.index(struct.pack("<HHL", 0, 0x0900, 2))
    return int.from_bytes(body[at + 8 : at + 10], "little")


def _exactly(line: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        piece = line.recv(size - len(out))
        if not piece:
            break
        out += piece
    return out


def _uid(value: str) -> bytes:
    content = value.encode()
    return content + b"\0" * (len(content) % 2)
