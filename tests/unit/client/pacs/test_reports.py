"""Final reports on their way to the hospital's own systems: durable, the same bytes at every try, an amended one behind the first."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from client.gate.backoff import Backoff
from client.pacs.mllp import MllpLine, control_id
from client.pacs.reports import ORU, SCHEMA, SR, ReportQueue, ReportSender
from client.sections import ReportsSettings
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import FederationError
from tests.fakes.certificates import make_certificate
from tests.fakes.ports import free_port

CLAIM, STUDY = "c" * 32, "s" * 32
DROP, SILENT = "DROP", "SILENT"


def message(control: str, text: str = "impression") -> bytes:
    return f"MSH|^~\\&|ACINUS|north|RIS|H|20260301||ORU^R01^ORU_R01|{control}|P|2.5.1\rOBX|1|TX|i||{text}\r".encode()


@dataclass
class System:
    """A hospital's system behind MLLP. Each message takes the next of `words`; after them all are AA."""

    port: int = 0
    words: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def answer(self, content: bytes) -> bytes | None:
        self.heard.append(content)
        word = self.words.pop(0) if self.words else "AA"
        if word == DROP:
            return None
        if word == SILENT:
            return b"\x0bMSH|^~\\&|RIS\r\x1c\r"
        word, _, other = word.partition(" ")
        return f"\x0bMSH|^~\\&|RIS\rMSA|{word}|{other or control_id(content)}\r\x1c\r".encode()


class Server(socketserver.ThreadingTCPServer):
    """Listens for one system."""

    daemon_threads, block_on_close = True, False

    def __init__(self, system: System) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.system = system
        system.port = self.server_address[1]

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Handler(socketserver.StreamRequestHandler):
    """Takes message after message until the client hangs up, or the system does."""

    server: Server

    def handle(self) -> None:
        while (received := self.read()) and (answer := self.server.system.answer(received)) is not None:
            self.wfile.write(answer)

    def read(self) -> bytes:
        content = b""
        while not content.endswith(b"\x1c\r"):
            more = self.rfile.read(1)
            if not more:
                return b""
            content += more
        return content[1:-2]


@pytest.fixture
def system() -> Iterator[Callable[..., System]]:
    """Start a system, with TLS if a certificate is given."""
    running: list[Server] = []

    def start(certificate: Path | None = None) -> System:
        server = Server(System())
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server.system

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


class Node:
    """A node's queue and its sender of ORU, on a clock that tests move."""

    def __init__(self, home: Path, port: int, **said: object) -> None:
        self.home, self.now = home, 1000.0
        self.settings = ReportsSettings.model_validate({"host": "localhost", "port": port, "timeout_seconds": 5} | said)
        self.queue = self.opened()

    def opened(self) -> ReportQueue:
        database = connect(self.home / "node.db", SCHEMA)
        return ReportQueue(database, self.home / "outgoing", lambda: self.now, Backoff(first=60, ceiling=60))

    def step(self) -> int:
        return ReportSender(self.queue, {ORU: lambda: MllpLine(self.settings, self.home)}).step()

    def put(self, sha256: str, content: bytes, claim_id: str = CLAIM) -> list[str]:
        return self.queue.put(claim_id, sha256, study_key=STUDY, contents={ORU: content})


def test_a_report_is_sent_once_and_its_file_goes(system: Callable[..., System], tmp_path: Path) -> None:
    ris = system()
    node = Node(tmp_path, ris.port)
    assert node.put("a" * 64, message("A1")) == [ORU]
    assert node.step() == 1
    assert node.step() == 0
    assert node.put("a" * 64, message("A1", "another")) == []
    assert node.step() == 0
    assert ris.heard == [message("A1")]
    assert node.queue.counts() == {"waiting": 0, "sent": 1, "parked": 0}
    assert [path for path in (tmp_path / "outgoing").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (DROP, Code.PEER_UNREACHABLE),
        (SILENT, Code.PEER_GARBLED),
        ("AA OTHER", Code.PEER_GARBLED),
        ("AR", Code.PEER_REFUSED),
    ],
)
def test_what_is_not_taken_now_is_sent_again_word_for_word(
    system: Callable[..., System], tmp_path: Path, word: str, code: Code
) -> None:
    ris = system()
    ris.words = [word]
    node = Node(tmp_path, ris.port)
    node.put("a" * 64, message("A1"))
    assert node.step() == 0
    (waits,) = node.queue.stuck()
    assert (waits.attempts, waits.code) == (1, code.value)
    assert node.step() == 0, "its time has not come"
    node.now += 60
    assert node.step() == 1
    assert ris.heard == [message("A1")] * 2


def test_what_is_wrong_for_good_is_parked_and_keeps_nothing_back(system: Callable[..., System], tmp_path: Path) -> None:
    ris = system()
    ris.words = ["AE"]
    node = Node(tmp_path, ris.port)
    node.put("a" * 64, message("A1"))
    node.put("b" * 64, message("B1"), claim_id="d" * 32)
    assert node.step() == 2
    assert node.queue.counts() == {"waiting": 0, "sent": 1, "parked": 1}
    assert [one.code for one in node.queue.stuck()] == ["peer-refused"]
    assert node.queue.retry() == 1
    assert node.step() == 1
    assert [control_id(one) for one in ris.heard] == ["A1", "B1", "A1"]


def test_an_amended_report_waits_behind_the_first_and_others_do_not(
    system: Callable[..., System], tmp_path: Path
) -> None:
    ris = system()
    ris.words = [DROP]
    node = Node(tmp_path, ris.port)
    node.put("a" * 64, message("A1"))
    node.put("b" * 64, message("A2"))
    node.put("d" * 64, message("D1"), claim_id="d" * 32)
    node.step()
    node.step()
    assert [control_id(one) for one in ris.heard] == ["A1", "D1"]
    node.now += 60
    assert node.step() == 2
    assert [control_id(one) for one in ris.heard[2:]] == ["A1", "A2"]


def test_a_node_that_starts_again_sends_what_waited(system: Callable[..., System], tmp_path: Path) -> None:
    away = free_port()
    node = Node(tmp_path, away)
    node.put("a" * 64, message("A1"))
    assert node.step() == 0
    ris = system()
    again = Node(tmp_path, ris.port)
    again.now += 60
    assert again.step() == 1
    assert ris.heard == [message("A1")]


def test_under_tls_only_the_named_authority_is_trusted(system: Callable[..., System], tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "keys")
    ris = system(certificate)
    for ca, settled in (("keys/gateway.pem", 1), ("", 0)):
        node = Node(tmp_path / str(settled), ris.port, tls=True, ca=str(tmp_path / ca) if ca else "")
        node.put("a" * 64, message("A1"))
        assert node.step() == settled
    assert node.queue.stuck()[0].code == Code.PEER_UNTRUSTED.value
    assert len(ris.heard) == 1


def test_one_system_that_is_away_keeps_nothing_from_the_other(system: Callable[..., System], tmp_path: Path) -> None:
    node = Node(tmp_path, free_port())
    node.queue.put(CLAIM, "a" * 64, study_key=STUDY, contents={ORU: message("A1"), SR: b"dicom"})
    sent: list[bytes] = []

    class Pacs:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def send(self, path: Path) -> Code | None:
            sent.append(path.read_bytes())
            return None

    ways = {ORU: lambda: MllpLine(node.settings, tmp_path), SR: Pacs}
    assert ReportSender(node.queue, ways).step() == 1  # type: ignore[arg-type]
    assert sent == [b"dicom"]
    assert node.queue.counts()["waiting"] == 1


def test_a_deleted_study_leaves_no_report_behind(tmp_path: Path) -> None:
    node = Node(tmp_path, free_port())
    node.put("a" * 64, message("A1"))
    node.queue.forget(STUDY)
    assert node.queue.counts() == {"waiting": 0, "sent": 0, "parked": 0}
    assert [path for path in (tmp_path / "outgoing").rglob("*") if path.is_file()] == []


def test_a_system_that_says_nothing_is_left_after_the_time_of_the_settings(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        said = ReportsSettings(host="127.0.0.1", port=deaf.getsockname()[1], timeout_seconds=0.1)
        (tmp_path / "one").write_bytes(message("A1"))
        with pytest.raises(FederationError) as silent, MllpLine(said, tmp_path) as line:
            line.send(tmp_path / "one")
    assert silent.value.code is Code.PEER_UNREACHABLE
