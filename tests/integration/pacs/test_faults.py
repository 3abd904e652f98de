"""What goes wrong between a node and a PACS: nothing is lost, nothing hangs, everything has a code."""

import os
import signal
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from client.gate.keys import make_gateway_certificate
from client.rooms.pacs import open_outgoing, open_pulled, open_puller, open_sender
from client.sections import PullRule
from protocol.codes import Code
from protocol.errors import FederationError
from tests.fakes.ct_series import as_bytes, plain_series, uid
from tests.fakes.dicom_peer import wait_for
from tests.fakes.front import answering
from tests.fakes.orthanc import Orthanc
from tests.fakes.pacs_site import TOKEN, Site
from tests.fakes.scans import chest_series

ROOT = Path(__file__).resolve().parents[3]
RULES = (PullRule(days=36_500),)
SERIES = b"/series/" + str(uid("study", "series")).encode()
WHOLE = SERIES + b" "
"""The head of a request for the whole series ends so; the ones for its instances go on."""


def pull(site: Site) -> tuple[int, int, int]:
    done = open_puller(site.settings).by_rule(RULES, 100)
    return done.studies, done.instances, done.postponed


def later(site: Site) -> None:
    """Let the time between tries pass."""
    open_pulled(site.settings)._connection.execute("UPDATE pulled_study SET due_s = 0")


def code_of(site: Site) -> str | None:
    row = open_pulled(site.settings)._connection.execute("SELECT code FROM pulled_study").fetchone()
    return None if row is None else row["code"]


def refused(site: Site) -> Code:
    with pytest.raises(FederationError) as caught:
        pull(site)
    assert open_pulled(site.settings).state().code == caught.value.code.value
    return caught.value.code


# Pulling


def test_a_pacs_that_is_down(site: Site, orthanc: Orthanc) -> None:
    orthanc.keep(plain_series(2))
    orthanc.front.down = True
    assert refused(site) is Code.PEER_UNREACHABLE
    orthanc.front.down = False
    assert pull(site) == (1, 2, 0)


def test_a_wrong_password(site: Site) -> None:
    (site.home / "keys" / "pacs.password").write_text("acinus:wrong", encoding="utf-8")
    assert refused(site) is Code.UNAUTHENTICATED


def test_a_wrong_authority(site: Site, tmp_path: Path) -> None:
    make_gateway_certificate(tmp_path / "others", site_name="x", gateway="https://localhost", now=datetime.now(UTC))
    strange = site.changed(pacs={"ca": str(tmp_path / "others" / "gateway-ca.pem")})
    assert refused(strange) is Code.PEER_UNTRUSTED
    assert refused(site.changed(pacs={"ca": "keys/nowhere.pem"})) is Code.MISSING_CERTIFICATE


def test_a_slow_pacs_is_not_waited_for(site: Site, orthanc: Orthanc) -> None:
    orthanc.front.fault = lambda _head, _client: time.sleep(3) is None
    began = time.monotonic()
    assert refused(site.changed(pacs={"timeout_seconds": 0.5})) is Code.PEER_UNREACHABLE
    assert time.monotonic() - began < 2.5


GARBAGE = bytes(range(256)) * (3 * 4096)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (GARBAGE, "application/dicom+json"), (b"[" * 200_000, "application/dicom+json"), (b'{"a": 1}', "application/json"),
        (b"[1, 2]", "application/dicom+json"), (b"<html>login</html>", "text/html"),
    ],
    ids=["3 MB of noise", "nested", "an object", "numbers", "a page"],
)  # fmt: skip
def test_a_search_answered_with_nonsense(site: Site, orthanc: Orthanc, content: bytes, kind: str) -> None:
    assert len(GARBAGE) == 3 << 20
    orthanc.front.fault = answering(content, kind)
    assert refused(site) is Code.PEER_GARBLED


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", 'multipart/related; type="application/dicom"; boundary=x', "multipart/related"]
)
def test_a_series_answered_with_nonsense(site: Site, orthanc: Orthanc, kind: str) -> None:
    orthanc.keep(plain_series(2))
    noise = answering(GARBAGE, kind)
    orthanc.front.fault = lambda head, client: WHOLE in head.split(b"\r\n")[0] and noise(head, client)
    assert pull(site) == (0, 0, 1)
    assert code_of(site) == "peer-garbled"
    assert not list((site.home / "store" / "pulled").glob("*.dcm"))
    orthanc.front.fault = None
    assert pull(site) == (0, 0, 0), "not before its time"
    later(site)
    assert pull(site) == (1, 2, 0)


def test_a_packed_answer_is_not_opened(site: Site, orthanc: Orthanc) -> None:
    """Zeros packed a thousandfold: no packed answer was asked for."""
    import gzip

    def bomb(_head: bytes, client: ssl.SSLSocket) -> bool:
        content = gzip.compress(bytes(20 << 20))
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(content)}\r\n\r\n"
        client.sendall(head.encode() + content)
        return True

    orthanc.front.fault = bomb
    assert refused(site) is Code.PEER_GARBLED


def test_a_body_cut_off_in_the_middle_goes_on_where_it_broke(site: Site, orthanc: Orthanc) -> None:
    series = plain_series(8, 64)
    orthanc.keep(series)
    orthanc.front.cuts, orthanc.front.cut = WHOLE, 4 * len(as_bytes(series.dataset(0)))
    studies, came, postponed = pull(site)
    assert (studies, postponed) == (0, 1)
    assert 1 <= came < 8
    assert site.held() == came, "what came whole is kept"
    assert site.store().due(-1, 600) == [], "and nobody measures half a series"
    orthanc.front.cut = 0
    orthanc.front.cuts = b"\0"
    later(site)
    orthanc.front.heads.clear()
    assert pull(site) == (1, 8 - came, 0)
    fetched = [head for head in orthanc.front.heads if b"/instances/" in head]
    assert len(fetched) == 8 - came, "only what was missing"


def test_one_bad_study_does_not_hold_up_the_others(site: Site, orthanc: Orthanc) -> None:
    for name in ("study", "b", "c"):
        orthanc.keep(plain_series(2, study=name))
    noise = answering(b"no", "text/plain", "500 Broken")
    orthanc.front.fault = lambda head, client: SERIES in head.split(b"\r\n")[0] and noise(head, client)
    assert pull(site) == (2, 4, 1)


def test_no_space_ends_the_round_and_loses_nothing(site: Site, orthanc: Orthanc) -> None:
    orthanc.keep(plain_series(2))
    assert refused(site.changed(dicom={"minimum_free_mb": 10**9})) is Code.DISK_FULL
    assert pull(site) == (1, 2, 0)


# Taking


def post(site: Site, body: bytes, **headers: str) -> httpx.Response:
    usual = {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
    }
    context = ssl.create_default_context(cafile=str(site.home / "keys" / "gateway-ca.pem"))
    address = f"https://localhost:{site.settings.stow.port}/dicom-web/studies"
    kept = {key: value for key, value in (usual | headers).items() if value}
    return httpx.post(address, content=body, headers=kept, verify=context, timeout=30, trust_env=False)


def body_of(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    head = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part + b"\r\n" for part in parts) + end


def reasons(answer: httpx.Response) -> list[int]:
    said = answer.json()
    items = said.get("00081198", {}).get("Value", []) + said.get("0008119A", {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]


def test_what_the_door_refuses(site: Site) -> None:
    one = as_bytes(plain_series(1).dataset(0))
    with site.running("stow", site.settings.stow.port):
        wrong = post(site, body_of(one), Authorization="Bearer " + "f" * 40)
        assert (wrong.status_code, wrong.json()["code"]) == (401, "unauthenticated")
        assert wrong.headers["www-authenticate"] == "Bearer"
        assert post(site, body_of(one), Authorization="").status_code == 401
        assert post(site, b"{}", **{"Content-Type": "application/dicom+json"}).status_code == 415
        assert post(site, body_of(one), **{"Content-Type": "multipart/related"}).status_code == 400
        assert post(site, GARBAGE).status_code == 400
        assert post(site, b"").status_code == 400
    small = site.changed(stow={"most_request_mb": 1})
    with small.running("stow", small.settings.stow.port):
        assert post(small, body_of(bytes(2 << 20))).status_code == 413
    assert site.held() == 0
    assert not list((site.home / "store" / "stowed").iterdir())


def test_mixed_parts_are_answered_one_by_one(site: Site) -> None:
    good, odd = plain_series(2).datasets(), plain_series(1, study="mr", header={"Modality": "MR"}).dataset(0)
    first, second = good
    with site.running("stow", site.settings.stow.port):
        mixed = post(site, body_of(as_bytes(first), as_bytes(odd), b"no dicom", as_bytes(second)))
        assert mixed.status_code == 202
        assert sorted(reasons(mixed)) == [0x0122, 0xC000]
        stored = [item["00081155"]["Value"][0] for item in mixed.json()["00081199"]["Value"]]
        assert stored == [str(first.SOPInstanceUID), str(second.SOPInstanceUID)]
        none = post(site, body_of(as_bytes(odd)))
        assert (none.status_code, reasons(none)) == (409, [0x0122])
    assert site.held() == 2
    assert sorted(one.code for one in site.store().quarantined()) == ["not-ct", "unreadable"]


def test_a_post_that_breaks_off_keeps_what_came_whole(site: Site) -> None:
    series = plain_series(3, 64)
    whole = body_of(*(as_bytes(one) for one in series.datasets()))
    with site.running("stow", site.settings.stow.port):
        answer = post(site, whole[: len(whole) // 2])
        assert answer.status_code == 202
        assert reasons(answer) == [0xC000]
        assert site.held() == 1
        assert post(site, whole).status_code == 200
        assert site.held() == 3
        assert not list((site.home / "store" / "stowed").iterdir())


def test_a_full_disk_is_said_and_comes_right(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from client.pacs import stow

    whole = body_of(*(as_bytes(one) for one in plain_series(3).datasets()))
    left = iter([10**9, 10**9, 0, 0, 0])
    with site.running("stow", site.settings.stow.port):
        monkeypatch.setattr(stow, "free_mb", lambda _folder: next(left))
        full = post(site, whole)
        assert (full.status_code, full.json()["code"]) == (503, "disk-full")
        assert int(full.headers["retry-after"]) > 0
        assert site.held() == 1, "the one before"
        monkeypatch.undo()
        assert post(site, whole).status_code == 200
    assert site.held() == 3


def test_a_store_that_cannot_write_never_acknowledges(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = body_of(as_bytes(plain_series(1).dataset(0)))
    with site.running("stow", site.settings.stow.port):
        monkeypatch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "I/O")))
        assert post(site, whole).status_code == 503
        monkeypatch.undo()
    assert site.held() == 0


def test_a_silent_sender_is_let_go(site: Site) -> None:
    quick = site.changed(stow={"silence_seconds": 0.5})

    def slowly() -> Any:
        yield body_of(as_bytes(plain_series(1).dataset(0)), end=b"--x\r\n")
        time.sleep(2)
        yield b"\r\n--x--\r\n"

    with quick.running("stow", quick.settings.stow.port):
        assert post(quick, slowly()).status_code == 408
        assert quick.held() == 1


def client_certificate(authority: Path, folder: Path) -> Path:
    """Write a client's key and certificate under the hospital's authority."""
    ca = x509.load_pem_x509_certificate((authority / "gateway-ca.pem").read_bytes())
    ca_key = load_pem_private_key((authority / "gateway-ca.key").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "modality 3")])
    draft = x509.CertificateBuilder().subject_name(name).issuer_name(ca.subject).public_key(key.public_key())
    draft = draft.serial_number(7).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    draft = draft.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    signed = draft.sign(ca_key, hashes.SHA256())
    both = folder / "client.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return both


def test_a_client_certificate_can_be_asked_for(site: Site, tmp_path: Path) -> None:
    locked = site.changed(stow={"client_ca": "keys/gateway-ca.pem", "token_file": ""})
    context = ssl.create_default_context(cafile=str(site.home / "keys" / "gateway-ca.pem"))
    address = f"https://localhost:{locked.settings.stow.port}/dicom-web/studies"
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    body = body_of(as_bytes(plain_series(1).dataset(0)))
    with locked.running("stow", locked.settings.stow.port):
        with pytest.raises(httpx.TransportError):
            httpx.post(address, content=body, headers=headers, verify=context, trust_env=False)
        context.load_cert_chain(client_certificate(site.orthanc.keys, tmp_path))
        assert httpx.post(address, content=body, headers=headers, verify=context, trust_env=False).status_code == 200


def test_no_answer_or_log_names_a_patient_but_by_its_own_uid(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    odd = plain_series(1, patient="CANARY-ID-77", header={"Modality": "MR", "StudyDescription": "CANARY-TEXT"}).dataset(
        0
    )
    with site.running("stow", site.settings.stow.port):
        answers = [post(site, body_of(as_bytes(odd))).text, post(site, body_of(as_bytes(odd)[:900])).text]
    logged = "\n".join(str(vars(record)) for record in caplog.records if record.name.startswith("client"))
    for secret in ("CANARY", "20260112", str(odd.StudyInstanceUID), str(odd.PatientID)):
        assert secret not in "".join(answers)
        assert secret not in logged
    assert str(odd.SOPInstanceUID) in answers[0], "the standard wants it back"
    assert str(odd.SOPInstanceUID) not in logged


# Sending


def test_a_permanent_refusal_is_parked_with_a_code_and_keeps_the_report_that_names_it(
    site: Site, orthanc: Orthanc
) -> None:
    site = site.changed(pacs={"send": "stow", "objects": ["seg", "sr", "picture"]})
    outgoing = open_outgoing(site.settings)
    outgoing.since()
    orthanc.keep(chest_series())
    pull(site)
    key = site.measure()
    answer = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [290]}}]}}'
    seen = []

    def refuse_first(head: bytes, client: ssl.SSLSocket) -> bool:
        if not head.startswith(b"POST") or seen:
            return False
        seen.append(1)
        while len(head) < 10_000_000 and not head.rstrip().endswith(b"--"):
            head += client.recv(1 << 16)
        return answering(answer, status="409 Conflict")(head, client)

    orthanc.front.fault = refuse_first
    sender = open_sender(site.settings)
    assert sender.queue(key)
    assert (sender.step(), sender.step(), sender.step()) == (1, 1, 0), (
        "the SEG is refused, the picture goes, the SR waits"
    )
    (stuck,) = outgoing.stuck()
    assert (stuck.object, stuck.code, outgoing.counts()["sent"]) == ("seg", "peer-refused", 1)
    assert outgoing.retry_parked() == 1
    assert sender.step() == 2
    assert outgoing.counts() == {"waiting": 0, "sent": 3, "parked": 0}


def test_a_wrong_token_waits_and_is_not_parked(site: Site, orthanc: Orthanc) -> None:
    site = site.changed(pacs={"send": "stow"})
    open_outgoing(site.settings).since()
    orthanc.keep(chest_series())
    pull(site)
    key = site.measure()
    (site.home / "keys" / "pacs.password").write_text("acinus:wrong", encoding="utf-8")
    sender = open_sender(site.settings)
    sender.queue(key)
    with pytest.raises(FederationError) as caught:
        sender.step()
    assert caught.value.code is Code.UNAUTHENTICATED
    assert open_outgoing(site.settings).counts()["waiting"] == 2


# Killed

PART = """
import json, sys, threading
from pathlib import Path
from client.runtime import run_part
from client.settings import NodeSettings
run_part("pacs", NodeSettings.model_validate(json.loads(sys.argv[1])), threading.Event())
"""


def start(site: Site) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", PART, site.settings.model_dump_json()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_puller_killed_in_the_middle_loses_and_doubles_nothing(site: Site, orthanc: Orthanc) -> None:
    series = plain_series(60, 128)
    orthanc.keep(series)
    site = site.changed(pull={"rules": [{"days": 36_500}], "poll_seconds": 0.2})
    for reached in (3, 25):
        process = start(site)
        wait_for(lambda: site.held() >= reached or process.poll() is not None)  # noqa: B023 - waited for at once
        kill(process)
        assert all(
            path.stat().st_size > 128 * 128 * 2
            for study in site.store().studies()
            for path in site.store().instances(study.study_key)
        )
    process = start(site)
    wait_for(lambda: open_pulled(site.settings).state().complete == 1)
    kill(process)
    (study,) = site.store().studies()
    assert (site.held(), study.revision) == (60, 60)
    assert site.store().quarantined() == []


@pytest.mark.slow
def test_a_sender_killed_in_the_middle_sends_all_of_it_once(site: Site, orthanc: Orthanc) -> None:
    names = ("a", "b", "c")
    site = site.changed(pacs={"send": "c-store"})
    open_outgoing(site.settings).since()
    studies = [orthanc.keep(chest_series(study=name)) for name in names]
    pull(site)
    site.measure()
    for reached in (1, 3):
        process = start(site)
        wait_for(lambda: open_outgoing(site.settings).counts()["sent"] >= reached)  # noqa: B023 - waited for at once
        kill(process)
    process = start(site)
    wait_for(lambda: open_outgoing(site.settings).counts() == {"waiting": 0, "sent": 6, "parked": 0})
    kill(process)
    for study in studies:
        assert (len(orthanc.tags(study, "SEG")), len(orthanc.tags(study, "SR"))) == (1, 1)
