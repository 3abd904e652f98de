"""What the federation side asks of the registry, against a small server that answers as told; refusals keep their code."""

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import FederationError
from protocol.release import SignedManifest
from protocol.shape import canonical_json
from server.catalogue import Catalogue
from server.registry import Registry, trust
from tests.fakes.centre_home import supernode_key
from tests.fakes.outcomes import code_of
from tests.unit.server.conftest import NOW


@dataclass
class Server:
    """A TLS server under the centre's registry certificate."""

    home: Path
    status: int = 200
    body: bytes = b"[]"
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", 0))
                outer.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                self.send_response(outer.status)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.home / "pki" / "registry.pem", self.home / "pki" / "registry.key")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(made_home: Path) -> Iterator[Server]:
    running = Server(made_home)
    yield running
    running.stop()


@pytest.fixture
def registry(server: Server, made_home: Path) -> Iterator[Registry]:
    client = Registry(server.origin, "the-token", made_home / "pki" / "ca.pem")
    yield client
    client.close()


def test_sites_are_asked_for_with_the_service_token(registry: Registry, server: Server) -> None:
    entry = {
        "site": "north",
        "region": "XA",
        "supernode_key": supernode_key(),
        "active": True,
        "certificate_serials": ["ab" * 16],
    }
    server.body = json.dumps([entry]).encode()
    (site,) = registry.sites()
    assert (site.site, site.active, site.certificate_serials) == ("north", True, ("ab" * 16,))
    method, path, headers, _ = server.seen[0]
    assert (method, path) == ("GET", "/v1/sites")
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "Bearer the-token"


def test_how_a_release_does_is_asked_for_as_counts(registry: Registry, server: Server) -> None:
    server.body = b'{"ggo@1": {"steady": 3, "worse": 1}}'
    assert registry.standings() == {"ggo@1": {"steady": 3, "worse": 1}}
    assert server.seen[0][:2] == ("GET", "/v1/models/standings")


@pytest.mark.parametrize("body", [b"[]", b'{"ggo@1": {"splendid": 1}}', b"<html>"])
def test_counts_that_are_none_are_refused(registry: Registry, server: Server, body: bytes) -> None:
    server.body = body
    assert code_of(registry.standings) is Code.PEER_UNREACHABLE


def test_it_answers_or_not(registry: Registry, server: Server) -> None:
    assert registry.answers()
    server.status = 503
    assert not registry.answers()


def test_a_release_is_handed_over_whole(registry: Registry, server: Server, tmp_path: Path) -> None:
    signed = a_release(tmp_path)
    registry.publish(signed, b"\x00weights\xff")
    method, path, _, body = server.seen[0]
    assert (method, path) == ("POST", "/v1/models")
    assert canonical_json(signed) in body
    assert b"\x00weights\xff" in body


def a_release(folder: Path) -> SignedManifest:
    shelf = Catalogue(folder, Ed25519PrivateKey.generate(), lambda: NOW)
    return shelf.add(
        b"w",
        lineage="ggo",
        parent=None,
        architecture="x",
        run_id=None,
        rounds=0,
        sites=0,
        epsilon_max=None,
        scores=None,
    )


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (409, b'{"code": "already-exists", "detail": "published before"}', Code.ALREADY_EXISTS),
        (403, b'{"code": "forbidden"}', Code.FORBIDDEN),
        (401, b'{"code": "unauthenticated", "detail": "x"}', Code.UNAUTHENTICATED),
        (503, b'{"code": "disk-full", "detail": "x"}', Code.DISK_FULL),
        (500, b"Internal Server Error", Code.PEER_UNREACHABLE),
        (404, b"{}", Code.PEER_UNREACHABLE),
        (418, b'{"code": "no-such-code"}', Code.PEER_UNREACHABLE),
        (403, b'{"code": ["forbidden"]}', Code.PEER_UNREACHABLE),
        (403, b"[]", Code.PEER_UNREACHABLE),
        (403, b"\xff\xfe", Code.PEER_UNREACHABLE),
        (302, b"", Code.PEER_UNREACHABLE),
    ],
)
def test_a_refusal_keeps_its_code(registry: Registry, server: Server, status: int, body: bytes, code: Code) -> None:
    server.status, server.body = status, body
    with pytest.raises(FederationError) as caught:
        registry.sites()
    assert caught.value.code is code
    assert server.origin in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1]", b'[{"site": "north"}]', b"\xff", b"<html>"])
def test_what_answers_otherwise_is_no_registry(registry: Registry, server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(FederationError, match="not as a registry of this version"):
        registry.sites()


def test_a_registry_that_is_down_is_said_so(server: Server, registry: Registry) -> None:
    server.server.socket.close()
    with pytest.raises(FederationError, match="acinus-centre run") as caught:
        registry.sites()
    assert caught.value.code is Code.PEER_UNREACHABLE


def test_a_server_of_another_network_gets_no_token(server: Server, tmp_path: Path) -> None:
    from server.home import Plot, make_home

    make_home(tmp_path / "other", Plot(), now=NOW)
    stranger = Registry(server.origin, "the-token", tmp_path / "other" / "pki" / "ca.pem")
    assert code_of(stranger.sites) is Code.PEER_UNREACHABLE
    assert server.seen == []
    stranger.close()


def test_a_proxy_for_the_outside_world_is_not_asked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert registry.sites() == []


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(FederationError, match=r"ca\.pem is missing or damaged") as caught:
        trust(tmp_path / "ca.pem")
    assert caught.value.code is Code.MISSING_CERTIFICATE
