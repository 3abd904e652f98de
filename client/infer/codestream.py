"""Looks at the size that a compressed frame itself claims. Decoders allocate by it, whatever the DICOM header says. Pure."""

import struct

_SOI, _SOS, _EOI = 0xD8, 0xDA, 0xD9
_LSE = 0xF8
_OVERSIZE = 4
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF markers of JPEG (ITU-T T.81 table B.1) and of JPEG-LS (T.87); not DHT, JPG, DAC."""

_J2K_SIZ = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_BOX_HEAD, _LONG_BOX_HEAD = 8, 16
_SIZ_BYTES = 38
_MOST_TILES, _MOST_COMPONENTS = 4096, 4


def claimed_size(frame: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream claims; `None` if it claims none that can be trusted."""
    if frame[:2] == b"\xff\xd8":
        return _jpeg_size(frame)
    start = _codestream_start(frame)
    return _j2k_size(frame[start + len(_J2K_SIZ) :]) if frame[start : start + len(_J2K_SIZ)] == _J2K_SIZ else None


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Walk the marker segments up to the start of the frame."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:  # noqa: PLR2004 - every marker begins so
        marker = frame[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - fill bytes
            at += 1
            continue
        if marker in {_SOS, _EOI, _SOI} or (marker == _LSE and frame[at + 4] == _OVERSIZE):
            return None
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack(">HH", frame[at + 5 : at + 9])
            return int(rows), int(columns)
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _codestream_start(frame: bytes) -> int:
    """Return where the JPEG 2000 codestream begins: at once, or in the `jp2c` box of a JP2 file (ISO 15444-1 annex I).

    DICOM wants the bare codestream (PS3.5 A.4.4); some senders wrap it all the same.
    """
    at = 0
    while frame.startswith(_JP2_SIGNATURE) and at + _LONG_BOX_HEAD <= len(frame):
        length, kind = int.from_bytes(frame[at : at + 4], "big"), frame[at + 4 : at + _BOX_HEAD]
        head = _BOX_HEAD
        if length == 1:
            length, head = int.from_bytes(frame[at + _BOX_HEAD : at + _LONG_BOX_HEAD], "big"), _LONG_BOX_HEAD
        if kind == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    return 0


def _j2k_size(siz: bytes) -> tuple[int, int] | None:
    """Read the SIZ segment (ISO 15444-1 A.5.1); a stream cut into thousands of tiles is a bomb, not a slice."""
    if len(siz) < _SIZ_BYTES:
        return None
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, parts = struct.unpack(
        ">8IH", siz[4:_SIZ_BYTES]
    )
    if min(tile_width, tile_height, parts) < 1 or left >= width or top >= height or parts > _MOST_COMPONENTS:
        return None
    tiles = -(-(width - min(tile_left, width)) // tile_width) * -(-(height - min(tile_top, height)) // tile_height)
    return (height - top, width - left) if tiles <= _MOST_TILES else None
