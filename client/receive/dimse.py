"""Command sets of DIMSE messages (PS3.7 section 6.3 and annex E): the few elements that a storage provider reads and writes."""

import struct
from dataclasses import dataclass

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
_RESPONSE = 0x8000
_NO_DATA_SET = 0x0101

_SOP_CLASS, _FIELD, _MESSAGE_ID, _RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
_DATA_SET_TYPE, _STATUS, _SOP_INSTANCE = 0x0800, 0x0900, 0x1000
_GROUP_LENGTH = 0x0000
_HEAD = struct.Struct("<HHL")

MOST_COMMAND_BYTES = 16 << 10
"""No honest command set comes near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A request. UIDs are as the sender wrote them, without padding: to be hashed or written, never believed."""

    field: int
    message_id: int
    sop_class: str
    sop_instance: str
    has_data: bool


def read_command(content: bytes) -> Command:
    """Read a command set, which is always implicit VR little endian (PS3.7 section 6.3.1).

    Raises:
        ValueError: If it is none.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        if at + _HEAD.size > len(content):
            raise ValueError("cut")
        group, element, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if group != 0 or at + size > len(content):
            raise ValueError("no command set")
        found[element] = content[at : at + size]
        at += size
    return Command(
        field=_number(found, _FIELD), message_id=_number(found, _MESSAGE_ID, 0), sop_class=_uid(found, _SOP_CLASS),
        sop_instance=_uid(found, _SOP_INSTANCE), has_data=_number(found, _DATA_SET_TYPE) != _NO_DATA_SET,
    )  # fmt: skip


def response(command: Command, status: int) -> bytes:
    """Return the command set that answers `command`."""
    content = b"".join(
        [
            _uid_element(_SOP_CLASS, command.sop_class),
            _short_element(_FIELD, command.field | _RESPONSE),
            _short_element(_RESPONDED_TO, command.message_id),
            _short_element(_DATA_SET_TYPE, _NO_DATA_SET),
            _short_element(_STATUS, status),
            _uid_element(_SOP_INSTANCE, command.sop_instance),
        ]
    )
    return _HEAD.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(content)) + content


def as_pdu(context_id: int, command_set: bytes) -> bytes:
    """Return a P-DATA-TF PDU with `command_set` as its one fragment (PS3.8 section 9.3.5 and annex E.2)."""
    size = len(command_set) + 2
    return struct.pack(">BBLLBB", 4, 0, size + 4, size, context_id, 0b11) + command_set


def _number(found: dict[int, bytes], element: int, default: int | None = None) -> int:
    content = found.get(element)
    if content is None and default is not None:
        return default
    if content is None or len(content) != 2:  # noqa: PLR2004 - VR US
        raise ValueError("a number is missing")
    return int.from_bytes(content, "little")


def _uid(found: dict[int, bytes], element: int) -> str:
    return found.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def _short_element(element: int, value: int) -> bytes:
    return _HEAD.pack(0, element, 2) + struct.pack("<H", value)


def _uid_element(element: int, uid: str) -> bytes:
    """Return a UID's element; nothing if there is none to repeat."""
    if not uid:
        return b""
    content = uid.encode("ascii", "replace")
    content += b"\0" * (len(content) % 2)
    return _HEAD.pack(0, element, len(content)) + content
