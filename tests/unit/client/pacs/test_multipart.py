"""A body in any chunks gives the same parts; a body that is none gives a code and leaves no file."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.pacs.multipart import PartSpool, boundary_of
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

HEAD = b"Content-Type: application/dicom\r\nContent-Length: 5\r\n\r\n"
LOCAL = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def body(*parts: bytes, boundary: bytes = b"b0") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + HEAD + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def read(folder: Path, content: bytes, step: int, most: int = 1 << 20) -> list[bytes]:
    found: list[bytes] = []
    with PartSpool(b"b0", folder, lambda path: found.append(path.read_bytes()), most_part_bytes=most) as spool:
        for at in range(0, len(content), step):
            spool.feed(content[at : at + step])
        spool.finish()
    return found


@LOCAL
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 64))
def test_any_cut_gives_the_same_parts(tmp_path: Path, parts: list[bytes], step: int) -> None:
    assert read(tmp_path, body(*parts), step) == parts
    assert list(tmp_path.iterdir()) == []


@LOCAL
@given(st.binary(max_size=2000), st.integers(1, 200))
def test_noise_is_refused_and_leaves_nothing(tmp_path: Path, noise: bytes, step: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, b"x" + noise, step)
    assert caught.value.code is Code.BAD_REQUEST
    assert list(tmp_path.iterdir()) == []


@LOCAL
@given(st.integers(0, 400))
def test_a_body_that_breaks_off_is_said(tmp_path: Path, end: int) -> None:
    whole = body(bytes(100), bytes(100))
    end = min(end, len(whole) - 4)
    with pytest.raises(InvalidInputError):
        read(tmp_path, whole[:end], 7)
    assert list(tmp_path.iterdir()) == []


def test_boundaries_within_a_part_are_data(tmp_path: Path) -> None:
    parts = [b"\r\n--b", b"\r\n--b1\r\n", b"--b", b"\r\n-", b"\r\r\n--"]
    for step in (1, 2, 3, 1000):
        assert read(tmp_path, body(*parts), step) == parts


def test_the_preamble_is_emptied(tmp_path: Path) -> None:
    program = b"MZ" * 64 + b"DICM" + b"rest"
    assert read(tmp_path, body(program), 50) == [bytes(128) + b"DICMrest"]


def test_a_part_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        read(tmp_path, body(bytes(5000)), 1000, most=4000)
    assert list(tmp_path.iterdir()) == []


def test_headers_have_a_limit(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        read(tmp_path, b"--b0\r\n" + b"X: " + b"y" * 100_000, 1000)


def test_what_the_taker_says_comes_out(tmp_path: Path) -> None:
    def full(_path: Path) -> None:
        raise UnavailableError(Code.DISK_FULL)

    with PartSpool(b"b0", tmp_path, full) as spool, pytest.raises(UnavailableError):
        spool.feed(body(b"one", b"two"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ('Multipart/Related; boundary="a b\'c"; type=application/dicom', b"a b'c"),
        ("multipart/related; boundary=abc", b"abc"),
        ('multipart/related; type="application/dicom+json"; boundary=abc', None),
        ("multipart/form-data; boundary=abc", None),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_content_types(said: str, expected: bytes | None) -> None:
    assert boundary_of(said) == expected


@pytest.mark.parametrize("said", ["multipart/related", "multipart/related; boundary=" + "x" * 500])
def test_no_boundary_is_a_bad_request(said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        boundary_of(said)
    assert caught.value.code is Code.BAD_REQUEST
