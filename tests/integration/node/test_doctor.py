"""`acinus-node doctor` against real peers that fail: each says, in one sentence, what is to be put right."""

import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from client.commands import checkup, outward
from client.commands.check import Check, Look, looked
from client.ledger.account import Event
from client.ledger.store import Kind, Limit, Spend
from client.settings import NodeSettings
from protocol.codes import Code
from protocol.enrolment import Invite
from tests.fakes.centre_home import make_centre_home
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.enrolled import EnrolledNode
from tests.fakes.ledgers import open_ledger
from tests.fakes.ports import free_port
from tests.fakes.rough_price import rough_price

PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def ask(look: Look, node: EnrolledNode | Path, **tables: dict[str, Any]) -> Check:
    home = node if isinstance(node, Path) else node.folder
    return looked(look, NodeSettings.model_validate({"home": home, **tables}))


# The centre.


@contextmanager
def registry(pki: Path, *, fast_s: float = 0.0) -> Iterator[str]:
    """An HTTPS server under the centre's certificate whose clock is fast by so many seconds."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (pki / "ca.pem").read_bytes() if self.path == "/v1/ca.pem" else b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            import time

            return super().date_time_string((time.time() if timestamp is None else timestamp) + fast_s)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "registry.pem", pki / "registry.key")
    with serving(Handler, context) as port:
        yield f"https://localhost:{port}"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_a_registry_that_answers_with_the_same_clock_is_well(node: EnrolledNode) -> None:
    with registry(node.centre.folder / "pki") as origin:
        node.know(registry=origin)
        check = ask(outward.registry, node)
    assert check.holds
    assert "clocks agree" in check.said


@pytest.mark.parametrize(("fast_s", "said"), [(600, "behind"), (-600, "ahead of")])
def test_a_clock_that_differs_is_said_with_its_side(node: EnrolledNode, fast_s: float, said: str) -> None:
    with registry(node.centre.folder / "pki", fast_s=fast_s) as origin:
        node.know(registry=origin)
        check = ask(outward.registry, node)
    assert check.code is Code.NODE_FAULT
    assert f"s {said} the centre's" in check.said
    assert "NTP" in check.said


def test_a_registry_that_is_down_is_no_connection(node: EnrolledNode) -> None:
    node.know(registry=f"https://localhost:{free_port()}")
    check = ask(outward.registry, node)
    assert (check.name, check.code) == ("registry", Code.PEER_UNREACHABLE)
    assert "no connection to localhost:" in check.said


def test_a_name_that_this_machine_does_not_know_is_said_so(node: EnrolledNode) -> None:
    node.know(registry="https://centre.invalid:8443")
    check = ask(outward.registry, node)
    assert check.code is Code.PEER_UNREACHABLE
    assert "the name centre.invalid is not known" in check.said


def test_somebody_else_under_the_registrys_name_is_not_the_centre(node: EnrolledNode, tmp_path: Path) -> None:
    stranger = make_centre_home(tmp_path / "stranger")
    with registry(stranger / "pki") as origin:
        node.know(registry=origin)
        check = ask(outward.registry, node)
    assert check.code is Code.PEER_UNREACHABLE
    assert "is not the centre" in check.said


# Before enrolment, by an invite.


def an_invite(pki: Path, origin: str) -> Invite:
    ca = x509.load_pem_x509_certificate((pki / "ca.pem").read_bytes())
    return Invite(registry=origin, ca_sha256=ca.fingerprint(hashes.SHA256()).hex(), site="northport", token="t" * 43)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return make_centre_home(tmp_path / "centre") / "pki"


def ask_before(invite: Invite, home: Path) -> tuple[Check, Check]:
    proxy, registry = (ask(look, home) for look in outward.invited(invite))
    assert (proxy.name, registry.name) == ("proxy", "registry")
    return proxy, registry


def test_the_way_to_the_centre_is_looked_at_before_enrolment(pki: Path, tmp_path: Path) -> None:
    with registry(pki) as origin:
        proxy, found = ask_before(an_invite(pki, origin), tmp_path)
    assert proxy.said == "none on the way to the centre"
    assert found.said == f"{origin} answers; clocks agree"


def test_a_clock_that_differs_is_said_before_enrolment(pki: Path, tmp_path: Path) -> None:
    with registry(pki, fast_s=600) as origin:
        _, found = ask_before(an_invite(pki, origin), tmp_path)
    assert found.code is Code.NODE_FAULT
    assert "behind the centre's" in found.said


def test_another_centre_than_the_invites_is_told_before_enrolment(pki: Path, tmp_path: Path) -> None:
    with registry(make_centre_home(tmp_path / "stranger") / "pki") as origin:
        _, found = ask_before(an_invite(pki, origin), tmp_path)
    assert found.code is Code.INVITE_INVALID
    assert "its CA certificate is another" in found.said


def test_what_is_in_the_way_is_named_before_enrolment(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invite = an_invite(pki, f"https://localhost:{(closed := free_port())}")
    assert f"no connection to localhost:{closed}" in ask_before(invite, tmp_path)[1].said
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{(port := free_port())}")
    assert f"nothing answers at 127.0.0.1:{port}" in ask_before(invite, tmp_path)[0].said


def test_doors_that_are_closed_are_named(node: EnrolledNode) -> None:
    node.know(fleet_address=f"localhost:{(closed := free_port())}")
    assert f"no connection to localhost:{closed}" in ask(outward.centre_ports, node).said
    node.know(fleet_address=f"localhost:{node.centre.port}")
    check = ask(outward.centre_ports, node)
    assert check.holds
    assert check.said.endswith("directly")


def test_a_node_that_is_let_in_hears_so(node: EnrolledNode) -> None:
    before = node.serial()
    assert ask(outward.admission, node).holds
    assert node.centre.admits(before)


def test_a_site_that_was_shut_out_learns_it_although_tls_still_takes_its_certificate(node: EnrolledNode) -> None:
    node.centre.revoke()
    node.know(fleet_address=f"localhost:{node.centre.port}")
    assert ask(outward.centre_ports, node).holds
    check = ask(outward.admission, node)
    assert check.code is Code.FORBIDDEN
    assert "does not let this node in" in check.said
    assert "coordinator" in check.said


def test_a_link_that_does_not_answer_admits_nobody(node: EnrolledNode) -> None:
    node.centre.stop()
    assert ask(outward.admission, node).code is Code.PEER_UNREACHABLE


# The proxy.


def test_no_proxy_is_no_fault(node: EnrolledNode) -> None:
    assert ask(outward.proxy, node).said == "none on the way to the centre"


def test_a_proxy_that_is_down_is_named(node: EnrolledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{(port := free_port())}")
    check = ask(outward.proxy, node)
    assert (check.name, check.code) == ("proxy", Code.PEER_UNREACHABLE)
    assert f"nothing answers at 127.0.0.1:{port}" in check.said


def test_a_proxy_in_other_words_is_a_setting_to_correct(node: EnrolledNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    assert ask(outward.proxy, node).code is Code.BAD_SETTING


def test_a_proxy_that_lets_nothing_through_is_told_from_one_that_is_down(
    node: EnrolledNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = ConnectProxy({})
    running.start()
    try:
        monkeypatch.setenv("HTTPS_PROXY", running.address)
        assert ask(outward.proxy, node).holds
        check = ask(outward.registry, node)
    finally:
        running.close()
    assert check.code is Code.PEER_UNREACHABLE
    assert "answers 403" in check.said
    assert "CONNECT" in check.said


# The PACS.


@contextmanager
def dimse(*classes: str, callers: tuple[str, ...] = (), echo: int = 0x0000) -> Iterator[dict[str, Any]]:
    """A PACS on loopback; gives the settings that name it."""
    entity, port = AE(ae_title="PACS"), free_port()
    entity.require_calling_aet = list(callers)
    for one in classes:
        entity.add_supported_context(one)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _: echo)])
    try:
        yield {"host": "127.0.0.1", "port": port, "send": "c-store", "timeout_seconds": 5}
    finally:
        server.shutdown()


ALL = (Verification, SegmentationStorage, ComprehensiveSRStorage, EnhancedSRStorage)


def test_a_pacs_that_echoes_and_takes_findings_is_well(tmp_path: Path) -> None:
    with dimse(*ALL) as pacs:
        check = ask(outward.pacs_dimse, tmp_path, pacs=pacs)
    assert check.holds
    assert "answers C-ECHO" in check.said


def test_a_pacs_without_verification_may_still_take_findings(tmp_path: Path) -> None:
    with dimse(*ALL[1:]) as pacs:
        assert ask(outward.pacs_dimse, tmp_path, pacs=pacs).holds


def test_a_pacs_that_is_down_is_said_so(tmp_path: Path) -> None:
    pacs = {"host": "127.0.0.1", "port": free_port(), "send": "c-store"}
    check = ask(outward.pacs_dimse, tmp_path, pacs=pacs)
    assert (check.name, check.code) == ("pacs dimse", Code.PEER_UNREACHABLE)
    assert "[pacs] host and port" in check.said


def test_a_pacs_that_does_not_know_us_says_which_title_to_enter(tmp_path: Path) -> None:
    with dimse(*ALL, callers=("SOMEBODY",)) as pacs:
        check = ask(outward.pacs_dimse, tmp_path, pacs=pacs)
    assert check.code is Code.PEER_REFUSED
    assert "AE title" in check.said


def test_a_pacs_that_takes_no_segmentations_is_told_which_class_to_allow(tmp_path: Path) -> None:
    with dimse(Verification, ComprehensiveSRStorage, EnhancedSRStorage) as pacs:
        check = ask(outward.pacs_dimse, tmp_path, pacs=pacs)
        only_reports = ask(outward.pacs_dimse, tmp_path, pacs=pacs | {"objects": ["sr"]})
    assert check.code is Code.PEER_REFUSED
    assert "no Segmentation Storage from ACINUS" in check.said
    assert only_reports.holds


def test_a_pacs_whose_echo_fails_is_not_well(tmp_path: Path) -> None:
    with dimse(*ALL, echo=0x0210) as pacs:
        check = ask(outward.pacs_dimse, tmp_path, pacs=pacs)
    assert check.code is Code.PEER_UNREACHABLE
    assert "C-ECHO" in check.said


def test_ways_that_are_not_used_are_not_tried(tmp_path: Path) -> None:
    for look in (outward.pacs_dimse, outward.pacs_dicomweb):
        check = ask(look, tmp_path)
        assert check.holds
        assert "not used" in check.said


def web_pacs(status: int, content: bytes, kind: str = "application/dicom+json") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.mark.parametrize(
    ("status", "content", "code"),
    [
        (200, b"[]", None),
        (401, b"", Code.UNAUTHENTICATED),
        (403, b"", Code.FORBIDDEN),
        (404, b"", Code.PEER_REFUSED),
        (503, b"", Code.PEER_UNREACHABLE),
        (200, b"<html>a page</html>", Code.PEER_GARBLED),
    ],
)
def test_what_a_pacs_answers_over_dicomweb_is_named(
    tmp_path: Path, status: int, content: bytes, code: Code | None
) -> None:
    with serving(web_pacs(status, content)) as port:
        check = ask(outward.pacs_dicomweb, tmp_path, pacs={"dicomweb": f"http://localhost:{port}/dicom-web"})
    assert (check.name, check.code) == ("pacs dicomweb", code)
    assert check.said


def test_a_dicomweb_that_is_down_or_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    address = f"http://localhost:{free_port()}/dicom-web"
    assert ask(outward.pacs_dicomweb, tmp_path, pacs={"dicomweb": address}).code is Code.PEER_UNREACHABLE
    check = ask(outward.pacs_dicomweb, tmp_path, pacs={"dicomweb": address, "ca": "keys/none.pem"})
    assert check.code is Code.MISSING_CERTIFICATE
    assert "[pacs] ca" in check.said


# This machine.


def test_too_little_disk_is_said_in_numbers(tmp_path: Path) -> None:
    check = ask(checkup._disk, tmp_path, dicom={"minimum_free_mb": 10**9})
    assert check.code is Code.DISK_FULL
    assert "[dicom] minimum_free_mb" in check.said


def test_a_gpu_that_is_demanded_and_not_there_is_a_setting_to_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check = ask(checkup._device, tmp_path, compute={"device": "cuda"})
    assert check.code is Code.BAD_SETTING
    assert "driver" in check.said
    assert ask(checkup._device, tmp_path).holds


def test_a_ledger_whose_end_was_cut_off_is_named(tmp_path: Path) -> None:
    event = Event(noise_multiplier=4.0, sample_rate=0.25, steps=1, clipping_norm=1.0)
    spend = Spend(run_id="a" * 32, round=1, kind=Kind.UPDATE, lineage="ggo", event=event)
    limit = Limit(epsilon_total=8.0, epsilon_per_run=8.0, delta=1e-5)
    open_ledger(tmp_path / "node.db", lambda: datetime.now(UTC), price=rough_price).charge(spend, limit=limit)
    assert "1 charges verify" in ask(checkup._ledger, tmp_path).said
    sqlite3.connect(tmp_path / "node.db").executescript("DROP TRIGGER spend_is_kept; DELETE FROM spend;")
    check = ask(checkup._ledger, tmp_path)
    assert check.code is Code.AUDIT_BROKEN
    assert "charge 1" in check.said


def test_every_look_is_taken_even_if_all_fail(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[pacs]\nsend = "c-store"\nhost = "127.0.0.1"\nport = 9\n', encoding="utf-8")
    names = [check.name for check in checkup.examine(tmp_path)]
    assert len(names) == len(set(names)) == 17
    assert {"pacs dimse", "pacs dicomweb", "disk", "device", "enrolment"} <= set(names)
    invite = Invite(registry="https://localhost:9", ca_sha256="0" * 64, site="northport", token="t" * 43)
    assert {check.name for check in checkup.examine(tmp_path, invite)} == {*names, "proxy", "registry"}
