"""The first contact: until the CA is known anybody may be answering, and what a stranger sends has an end."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.gate import enrol as joining
from client.gate import keys as making
from client.gate.enrol import fetch_ca, reach, unverified
from protocol.codes import Code
from protocol.errors import FederationError
from tests.fakes.outcomes import code_of

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
MEGABYTE = b"x" * 1_000_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    making.make_gateway_certificate(folder, site_name="X", gateway="https://localhost:1", now=datetime.now(UTC))
    return folder


@contextmanager
def answering(keys: Path, head: bytes, body: Iterator[bytes]) -> Iterator[str]:
    """Somebody who answers one request under a certificate of his own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "gateway.pem", keys / "gateway.key")
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            try:
                with context.wrap_socket(door.accept()[0], server_side=True) as line:
                    line.recv(65_536)
                    line.sendall(head + b"\r\n")
                    for piece in body:
                        line.sendall(piece)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://localhost:{door.getsockname()[1]}"
        thread.join(10)


def test_a_stranger_who_sends_without_end_fills_no_memory(keys: Path) -> None:
    sent = list[int]()

    def flood() -> Iterator[bytes]:
        for _ in range(60):
            sent.append(len(MEGABYTE))
            yield MEGABYTE

    with answering(keys, OK, flood()) as origin:
        assert code_of(lambda: fetch_ca(origin, "0" * 64)) is Code.PEER_UNREACHABLE
    assert sum(sent) < 20_000_000


def test_a_stranger_who_sends_a_byte_now_and_then_keeps_nobody(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_SECONDS", 0.5)

    def trickle() -> Iterator[bytes]:
        for _ in range(40):
            time.sleep(0.1)
            yield b"x"

    began = time.monotonic()
    with answering(keys, OK, trickle()) as origin:
        assert code_of(lambda: fetch_ca(origin, "0" * 64)) is Code.PEER_UNREACHABLE
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("date", ["", "Date: yesterday\r\n"])
def test_a_clock_that_cannot_be_read_is_none(keys: Path, date: str) -> None:
    head = OK + date.encode() + b"Content-Length: 2\r\n"
    with answering(keys, head, iter([b"{}"])) as origin:
        assert reach(origin, unverified()) is None


def test_a_clock_without_a_zone_is_read_as_utc(keys: Path) -> None:
    head = OK + b"Date: Sun, 01 Mar 2026 12:00:00 -0000\r\nContent-Length: 2\r\n"
    with answering(keys, head, iter([b"{}"])) as origin:
        assert reach(origin, unverified()) == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "code", "next_step"),
    [
        (b'{"code": "already-exists"}', Code.ALREADY_EXISTS, "origin"),
        (b'{"code": "invite-used"}', Code.INVITE_USED, "doctor"),
        (b"<html>blocked by policy", Code.PEER_UNREACHABLE, "proxy"),
        (b'["\xff"]', Code.PEER_UNREACHABLE, "proxy"),
    ],
)
def test_every_refusal_says_what_to_do_next(keys: Path, body: bytes, code: Code, next_step: str) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"
    with answering(keys, head, iter([body])) as origin, pytest.raises(FederationError, match=next_step) as raised:
        fetch_ca(origin, "0" * 64)
    assert raised.value.code is code
