"""The gateway's own TLS: what it refuses to start with, and what it refuses to speak."""

import socket
import ssl
import threading
from pathlib import Path

import pytest
from fastapi import FastAPI

from client.gateway.serve import serve
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.certificates import make_certificate
from tests.fakes.ports import free_port
from tests.integration.gateway.conftest import LiveGateway


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_without_a_certificate_it_says_which(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        for name in ("gateway.pem", "gateway.key"):
            (tmp_path / name).write_bytes(content)
    with pytest.raises(UnavailableError) as refused:
        serve(FastAPI(), host="127.0.0.1", port=free_port(), keys=tmp_path, stop=threading.Event())
    assert refused.value.code is Code.MISSING_CERTIFICATE
    assert "gateway.pem" in str(refused.value)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    make_certificate(tmp_path / "keys")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as refused:
            serve(FastAPI(), host="127.0.0.1", port=port, keys=tmp_path / "keys", stop=threading.Event())
    assert refused.value.code is Code.PORT_TAKEN
    assert str(port) in str(refused.value)


def test_only_tls_1_3_is_spoken(live: LiveGateway) -> None:
    context = ssl.create_default_context(cafile=str(live.ca))
    address = ("127.0.0.1", live.port)
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as spoken,
    ):
        assert spoken.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")
