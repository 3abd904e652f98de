"""Reads a few top-level elements from the beginning of a data set that is still in memory: a tenth of the time of a whole reading.

Only the walk from element to element is done here; values are decoded by pydicom, so that a name reads the same on either way. Whatever is
out of the ordinary is left to `part10.read_part10`, which knows how to refuse.
"""

import struct

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian as Deflated
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_MOST_DEPTH = 8
_CHARSET = Tag("SpecificCharacterSet")
_TAG, _SHORT, _LONG = struct.Struct("<HH"), struct.Struct("<H"), struct.Struct("<L")
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT_VRS = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM",
    b"UI", b"UL", b"US",
}  # fmt: skip
"""PS3.5 tables 7.1-1 and 7.1-2."""


def read_head(head: bytes, syntax: str, tags: list[str]) -> Dataset | None:
    """Return the named elements of a data set of which only the beginning is at hand.

    Args:
        head: Begins with the data set's first element.
        syntax: Its transfer syntax UID.
        tags: Top-level keywords.

    Returns:
        `None` if `head` ends before the last of them can have come, or holds anything that is not plain.
    """
    if syntax in {ExplicitVRBigEndian, Deflated}:
        return None
    wanted = {int(Tag(tag)) for tag in tags} | {int(_CHARSET)}
    implicit = syntax == ImplicitVRLittleEndian
    found: dict[BaseTag, RawDataElement] = {}
    last, at = max(wanted), 0
    while at + 8 <= len(head):
        group, element = _TAG.unpack_from(head, at)
        tag = group << 16 | element
        if tag > last:
            return Dataset(found)  # type: ignore[arg-type] # raw elements are decoded when they are asked for
        vr, start, size = _measured(head, at, implicit=implicit)
        end = (
            start + size if size != _UNDEFINED else _behind_items(head, start, vr, implicit=implicit, depth=_MOST_DEPTH)
        )
        if end is None or end > len(head):
            return None
        if tag in wanted:
            name = BaseTag(tag)
            found[name] = RawDataElement(name, vr, size, head[start:end], start, implicit, True)  # noqa: FBT003 - a named tuple of pydicom's
        at = end
    return None


def _behind_items(head: bytes, at: int, vr: str | None, *, implicit: bool, depth: int) -> int | None:
    """Return where a sequence of undefined length ends (PS3.5 section 7.5.2); `None` if it is no plain one."""
    if depth == 0 or vr not in {"SQ", None}:
        return None
    while at + 8 <= len(head):
        group, element = _TAG.unpack_from(head, at)
        size = _LONG.unpack_from(head, at + 4)[0]
        at += 8
        if (group, element) == _SEQUENCE_END:
            return at
        if (group, element) != _ITEM:
            return None
        behind = at + size if size != _UNDEFINED else _behind_item(head, at, implicit=implicit, depth=depth)
        if behind is None:
            return None
        at = behind
    return None


def _behind_item(head: bytes, at: int, *, implicit: bool, depth: int) -> int | None:
    while at + 8 <= len(head):
        if _TAG.unpack_from(head, at) == _ITEM_END:
            return at + 8
        vr, start, size = _measured(head, at, implicit=implicit)
        behind = start + size
        if size == _UNDEFINED:
            inner = _behind_items(head, start, vr, implicit=implicit, depth=depth - 1)
            if inner is None:
                return None
            behind = inner
        at = behind
    return None


def _measured(head: bytes, at: int, *, implicit: bool) -> tuple[str | None, int, int]:
    """Return VR, where the value begins, and its length; a VR that no sequence has for what is not understood."""
    if implicit:
        return None, at + 8, int(_LONG.unpack_from(head, at + 4)[0])
    vr = head[at + 4 : at + 6]
    if vr in _SHORT_VRS:
        return vr.decode(), at + 8, int(_SHORT.unpack_from(head, at + 6)[0])
    if vr in _LONG_VRS and at + 12 <= len(head):
        return vr.decode(), at + 12, int(_LONG.unpack_from(head, at + 8)[0])
    return "UN", at, _UNDEFINED
