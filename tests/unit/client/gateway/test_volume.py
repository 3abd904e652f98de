"""The gzip header in all its forms is left behind, and what is no gzip file is refused."""

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gateway.volume import bare, bare_size
from protocol.codes import Code
from protocol.errors import InvalidInputError

CONTENT = bytes(range(256)) * 40
DEFLATED = gzip.compress(CONTENT, mtime=0)[10:]


def header(*, extra: bytes | None, name: bytes | None, comment: bytes | None, checked: bool) -> bytes:
    """Write a gzip header with the given parts (RFC 1952 section 2.3)."""
    flags = 4 * (extra is not None) + 8 * (name is not None) + 16 * (comment is not None) + 2 * checked
    head = b"\x1f\x8b\x08" + bytes([flags]) + struct.pack("<I", 1_700_000_000) + b"\x02\x03"
    if extra is not None:
        head += struct.pack("<H", len(extra)) + extra
    for text in (name, comment):
        head += text + b"\0" if text is not None else b""
    return head + (b"\xab\xcd" if checked else b"")


texts = st.none() | st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"x"))


@given(extra=st.none() | st.binary(max_size=60), name=texts, comment=texts, checked=st.booleans())
def test_every_optional_part_of_the_header_is_left_behind(
    tmp_path_factory: pytest.TempPathFactory,
    extra: bytes | None,
    name: bytes | None,
    comment: bytes | None,
    checked: bool,
) -> None:
    path = tmp_path_factory.mktemp("gzip") / "ct.nii.gz"
    path.write_bytes(header(extra=extra, name=name, comment=comment, checked=checked) + DEFLATED)
    sent = b"".join(bare(path))
    assert len(sent) == bare_size(path)
    assert sent[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert sent[10:] == DEFLATED
    assert gzip.decompress(sent) == CONTENT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x08" + b"x" * 100,
        b"\x1f\x8b\x08\x10" + b"x" * 100,
        b"\x1f\x8b\x08\x04" + b"\0" * 6,
        b"\x1f\x8b\x08",
    ],
)
def test_what_is_no_gzip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as refused:
        bare_size(path)
    assert refused.value.code is Code.UNREADABLE


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        list(bare(tmp_path / "ct.nii.gz"))
