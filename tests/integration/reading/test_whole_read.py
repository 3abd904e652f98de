"""A read across two sites by a program without a browser, and what is found at the centre afterwards."""

import json
import ssl
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest

from client.gate.policy import ReadingPolicy
from client.gateway.records import Stage
from client.gateway.requests import acknowledge_read, post_read
from client.settings import NodeSettings
from client.store.labelling import Kind, Labelling
from client.store.studies import StudyStore
from protocol.case import AgeBand, Sex
from protocol.reading import Priority, ReadPost, ReportStatus
from registry_api.reading import grants
from registry_api.reading.lifecycle import State
from registry_api.reading.offers import ReadView, one_read
from registry_api.reading.service import accept_post
from registry_api.reading.tables import AssignmentRow, ReadRequestRow
from tests.fakes.gateway import SITE, STUDY, asymmetric_volume
from tests.integration.gateway.conftest import wait_for
from tests.integration.reading.conftest import Network, a_measured_study, now
from tests.unit.client.gateway.test_app import REPORT

pytestmark = pytest.mark.e2e

PROGRAM = Path(__file__).parents[3] / "examples" / "read_without_browser.py"
SECRET = "Peripheral opacities, Mrs Wolkenstein-Abrahamian recalled."


def post(network: Network, *, reads: int = 1) -> str:
    """Post the measured study and wait until the centre offers it."""
    node = network.node
    a_measured_study(node)
    store = StudyStore(node.book.connection, NodeSettings(home=network.node_home))
    wish = ReadingPolicy(posts=True, jurisdiction="XA-N", reads=reads)
    request = post_read(node.book, node.gate, store, study_key=STUDY, wish=wish, priority=Priority.STAT)
    wait_for(lambda: state(network, request.request_id) is State.OPEN)
    return request.request_id


def view(network: Network, request_id: str) -> ReadView:
    with network.runtime.database.reading() as session:
        return one_read(session, request_id, None, now=now())


def state(network: Network, request_id: str) -> State | None:
    """Return where the request stands at the centre; None before it got there."""
    with network.runtime.database.reading() as session:
        known = session.get(ReadRequestRow, request_id)
        return one_read(session, request_id, None, now=now()).state if known is not None else None


def program(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *words), capture_output=True, text=True, timeout=120, check=False)


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(PROGRAM), "--key", str(folder / "reader.pem"), *words]


def reads(network: Network, folder: Path, api_key: str) -> subprocess.CompletedProcess[str]:
    write_report(folder)
    return program(folder, *words_of(network, folder, api_key))


def words_of(network: Network, folder: Path, api_key: str) -> list[str]:
    """Return the program's arguments for a whole read."""
    (folder / "api.key").write_text(api_key + "\n", encoding="utf-8")
    return [
        "read", "--centre", network.registry, "--centre-ca", str(network.registry_ca),
        "--api-key-file", str(folder / "api.key"), "--hospital-ca", str(network.gateway_ca),
        "--report", str(folder / "report.json"), "--out", str(folder / "out"), "--every", "0.2",
    ]  # fmt: skip


def write_report(folder: Path) -> None:
    draft = folder / "report.json.part"
    draft.write_text(json.dumps(REPORT | {"impression": SECRET}), encoding="utf-8")
    draft.rename(folder / "report.json")


def test_a_program_reads_and_the_request_closes(network: Network, tmp_path: Path) -> None:
    request_id = post(network)
    reader_id, api_key = network.add_reader()
    jkt = program(tmp_path, "thumbprint").stdout.strip()
    assert len(jkt) == 43
    assert (tmp_path / "reader.pem").stat().st_mode & 0o777 == 0o600

    refused = reads(network, tmp_path, api_key)
    assert refused.returncode != 0
    assert "reader-not-approved" in refused.stderr

    network.node.keys.approve(jkt, name="Dr Elsewhere")
    (claim,) = (slot.claim_id for slot in view(network, request_id).slots)
    headers = {"Authorization": f"Bearer {api_key}", "If-Match": '"1"'}
    trust = ssl.create_default_context(cafile=str(network.registry_ca))
    with httpx.Client(base_url=network.registry, verify=trust, trust_env=False) as http:
        assert http.post(f"/v1/claims/{claim}:release", headers=headers).status_code == 204

    done = reads(network, tmp_path, api_key)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["state"], answer["request_id"]) == ("signed", request_id)
    fetched = nibabel.load(tmp_path / "out" / "ct.nii.gz")
    assert np.array_equal(np.asarray(fetched.dataobj).transpose(2, 1, 0), asymmetric_volume()[0])

    wait_for(lambda: state(network, request_id) is State.DELIVERED)
    (kept,) = network.node.reports.of_request(request_id)
    assert (kept.status, kept.report_sha256) == (ReportStatus.FINAL, answer["report_sha256"])
    assert kept.report.content.impression == SECRET
    assert kept.report.reader_id == reader_id
    label = Labelling(network.node.book.connection).of(STUDY)
    assert label is not None
    assert (label.kind, label.source, label.points) == (Kind.ZONE_SCORES, reader_id, ((3, 2), (2, 1), (0, 1)))
    node = network.node
    closed = acknowledge_read(node.book, node.gate, node.reports, request_id, seen=[kept.report_sha256])
    assert closed.stage is Stage.CLOSED
    wait_for(lambda: state(network, request_id) is State.CLOSED)
    refuse_leaks(network, api_key)
    network.node.gate.audit.verify()


def refuse_leaks(network: Network, api_key: str) -> None:
    """Nothing of the report's text, the study's key or the reader's API key stands in any file of the centre."""
    needles = [
        word.encode() for word in (*SECRET.replace(",", "").replace(".", "").split(), STUDY, api_key) if len(word) > 8
    ]
    assert len(needles) >= 5
    for path in network.runtime.settings.home.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert [needle for needle in needles if needle in content] == []


def test_a_node_that_is_away_at_the_signature_gets_it_later_and_once(network: Network, tmp_path: Path) -> None:
    request_id = post(network)
    _, api_key = network.add_reader()
    network.node.keys.approve(program(tmp_path, "thumbprint").stdout.strip(), name="Dr Elsewhere")
    wait_for(lambda: network.node.contact.last_heard() is not None)
    network.cut_after = "report-receipt"
    done = reads(network, tmp_path, api_key)
    assert done.returncode == 0, done.stderr
    assert state(network, request_id) is State.SIGNED
    assert network.node.reports.of_request(request_id)[0].status is ReportStatus.PRELIMINARY
    network.cut_after = None
    network.away.clear()
    wait_for(lambda: state(network, request_id) is State.DELIVERED)
    events = [event.event for event in view(network, request_id).events]
    assert events == ["posted", "claimed", "opened", "submitted", "signed", "delivered"]


def test_a_program_stays_until_the_report_is_written_and_takes_what_was_set_aside(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The radiologist needs longer than a grant lives, and a case that is due sooner waits that is not theirs to read next."""
    monkeypatch.setattr(grants, "GRANT_SECONDS_MAX", 20)
    monkeypatch.setattr(grants, "RENEW_BEFORE", timedelta(seconds=19))
    request_id = post(network)
    reader_id, api_key = network.add_reader()
    network.node.keys.approve(program(tmp_path, "thumbprint").stdout.strip(), name="Dr Elsewhere")
    wait_for(lambda: network.node.contact.last_heard() is not None)
    with network.runtime.database.writing() as session:
        accept_post(session, SITE, earlier_post(), now() - timedelta(minutes=30))
        aside = {
            "request_id": request_id,
            "reader_id": reader_id,
            "made_at": now(),
            "until": now() + timedelta(minutes=9),
        }
        session.add(AssignmentRow(**aside))
    words = command(tmp_path, *words_of(network, tmp_path, api_key))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reading:
        try:
            wait_for(lambda: state(network, request_id) is State.READING)
            ends = session_ends(network)
            wait_for(lambda: session_ends(network) > ends)
            write_report(tmp_path)
            said, complaint = reading.communicate(timeout=60)
        finally:
            reading.kill()
    assert reading.returncode == 0, complaint
    assert json.loads(said) | {"files": []} == {
        "request_id": request_id, "claim_id": view(network, request_id).slots[0].claim_id, "state": "signed",
        "report_sha256": network.node.reports.of_request(request_id)[0].report_sha256, "files": [],
    }  # fmt: skip


def session_ends(network: Network) -> int:
    (row,) = network.node.book.connection.execute("SELECT expires_s FROM gateway_sessions").fetchall()
    return int(row[0])


def earlier_post() -> ReadPost:
    """A request that is due sooner than the one under test, for whoever is not told what to read."""
    return ReadPost(
        request_id="0" * 32, priority=Priority.STAT, age_band=AgeBand.FROM_60, sex=Sex.FEMALE, slices=9, megabytes=1,
        ggo_percent=0, jurisdiction="XA-N",
    )  # fmt: skip
