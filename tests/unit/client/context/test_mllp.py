"""The HL7 port over real sockets. The peer is the `hl7` library's client, and plain sockets for what no library would send."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import hl7
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hl7.client import MLLPClient

from client.context.part import line_of, run_context
from client.gate.keys import load_certificate, make_gateway_certificate
from client.gateway.serve import serve
from client.rooms.border import utc_now
from client.sections import Hl7Settings
from client.settings import NodeSettings
from protocol.errors import FederationError
from tests.fakes.hl7_messages import imaging_order, result
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port


class Port:
    """A running HL7 port on a home of its own."""

    def __init__(self, home: Home, settings: NodeSettings) -> None:
        self.home, self.settings, self.failed = home, settings, list[FederationError]()

    def client(self) -> MLLPClient:
        return MLLPClient("127.0.0.1", self.settings.hl7.port)

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.settings.hl7.port), timeout=10)


@contextmanager
def listening(folder: Path, **hl7_settings: object) -> Iterator[Port]:
    home = Home(folder / "home")
    home.clock.now = time.time()
    make_gateway_certificate(home.settings.keys, site_name="test", gateway="https://localhost:9443", now=utc_now())
    said = {"enabled": True, "port": free_port(), "senders": ("127.0.0.0/8",), **hl7_settings}
    settings = home.settings.model_copy(update={"hl7": Hl7Settings.model_validate(said)})
    port, stop = Port(home, settings), threading.Event()

    def run() -> None:
        try:
            run_context(settings, home.desk, stop, serve)
        except FederationError as error:
            port.failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        _wait_for_port(settings.hl7.port, port)
        yield port
    finally:
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive()


def _wait_for_port(number: int, port: Port) -> None:
    for _ in range(200):
        with closing(socket.socket()) as probe:
            if port.failed or probe.connect_ex(("127.0.0.1", number)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the port never opened")


def answer_of(raw: bytes) -> hl7.Message:
    assert raw.startswith(b"\x0b")
    assert raw.endswith(b"\x1c\r")
    return hl7.parse(raw.strip(b"\x0b\x1c\r").decode())


def test_a_foreign_library_is_answered_and_what_it_said_is_on_the_disk(tmp_path: Path) -> None:
    with listening(tmp_path) as port, port.client() as client:
        first = answer_of(client.send_message(result()))
        again = answer_of(client.send_message(result()))
        other = answer_of(client.send_message(imaging_order(control="ORD|^~\\&1".replace("|", "\\F\\"))))
        refused = answer_of(client.send_message(result().replace(b"ORU^R01", b"SIU^S12")))
    assert [str(one["MSA"][0][1]) for one in (first, again, other, refused)] == ["AA", "AA", "AA", "AR"]
    assert str(first["MSA"][0][2]) == "MSG-1"
    assert str(refused["ERR"][0][3]) == "200^Unsupported message type^HL70357"
    assert port.home.context().counts()["facts"] == 5


@pytest.mark.parametrize("senders", [(), ("10.0.0.0/8",), ("::1",)])
def test_strangers_are_hung_up_on(tmp_path: Path, senders: tuple[str, ...]) -> None:
    with listening(tmp_path, senders=senders) as port, closing(port.plain()) as line:
        try:
            line.sendall(b"\x0b" + result() + b"\x1c\r")
            assert line.recv(100) == b""
        except ConnectionError:
            pass
        assert port.home.context().counts()["facts"] == 0


def test_too_long_a_message_ends_its_connection_and_no_other(tmp_path: Path) -> None:
    with listening(tmp_path, most_kb=16) as port, closing(port.plain()) as greedy:
        try:
            for _ in range(40):
                greedy.sendall(b"\x0b" + b"MSH|" * 1000)
            assert greedy.recv(100) == b""
        except ConnectionError:
            pass
        with port.client() as client:
            assert b"MSA|AA" in client.send_message(result())


def test_messages_that_come_in_pieces_or_together_are_told_apart(tmp_path: Path) -> None:
    with listening(tmp_path) as port, closing(port.plain()) as line:
        framed = b"".join(b"\x0b" + result(control=f"M-{n}") + b"\x1c\r" for n in range(3))
        for at in range(0, len(framed), 97):
            line.sendall(framed[at : at + 97])
        line.settimeout(20)
        received = b""
        while received.count(b"\x1c\r") < 3:
            received += line.recv(4096)
        assert [f"MSA|AA|M-{n}".encode() in received for n in range(3)] == [True] * 3


def test_noise_before_a_message_ends_the_connection(tmp_path: Path) -> None:
    with listening(tmp_path) as port, closing(port.plain()) as line:
        try:
            line.sendall(b"GET / HTTP/1.1\r\nHost: a.hospital.example\r\nUser-Agent: something long enough\r\n\r\n")
            assert line.recv(100) == b""
        except ConnectionError:
            pass


def test_with_tls_only_the_hospitals_own_certificates_are_answered(tmp_path: Path) -> None:
    with listening(tmp_path, tls=True, senders_ca="keys/gateway-ca.pem") as port:
        keys = port.settings.keys
        context = ssl.create_default_context(cafile=str(keys / "gateway-ca.pem"))
        assert _exchange(port, context) == b""
        assert port.home.context().counts()["facts"] == 0
        sender_certificate(keys, keys / "sender.pem")
        context.load_cert_chain(keys / "sender.pem")
        assert b"MSA|AA" in _exchange(port, context)


def sender_certificate(keys: Path, target: Path) -> None:
    """What the hospital's authority gives to an interface engine: a certificate for clients."""
    authority = load_certificate(keys / "gateway-ca.pem")
    signer = serialization.load_pem_private_key((keys / "gateway-ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), utc_now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interface engine")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    written = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    target.write_bytes(written + certificate.public_bytes(serialization.Encoding.PEM))


def _exchange(port: Port, context: ssl.SSLContext) -> bytes:
    """Return the answer; nothing if the peer does not want to speak (TLS 1.3 says so only after the handshake)."""
    try:
        with closing(port.plain()) as plain, context.wrap_socket(plain, server_hostname="localhost") as line:
            line.sendall(b"\x0b" + result() + b"\x1c\r")
            return line.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_a_port_that_is_taken_or_a_certificate_that_is_missing_is_said(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with listening(tmp_path, port=other.getsockname()[1]) as port:
            for _ in range(100):
                if port.failed:
                    break
                time.sleep(0.1)
            assert [error.code.value for error in port.failed] == ["port-taken"]
    settings = NodeSettings(home=tmp_path / "none", hl7=Hl7Settings(enabled=True, tls=True))
    with pytest.raises(FederationError) as raised:
        line_of(settings)
    assert raised.value.code.value == "missing-certificate"


def test_the_disk_is_full_so_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from client.store.context import ContextStore
    from protocol.codes import Code
    from protocol.errors import UnavailableError

    def full(*_: object, **__: object) -> bool:
        raise UnavailableError(Code.DISK_FULL)

    monkeypatch.setattr(ContextStore, "put", full)
    home = Home(tmp_path / "home")
    assert b"\rMSA|AE|MSG-1\rERR|||207^" in home.desk().hear_hl7(result())
