"""The receiver under TLS, with several senders, and with senders from other makers."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from bench.peers import system_program
from client.receive.doorway import server_context
from client.sections import DicomSettings
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.authority import Authority, Identity
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.dicom_peer import CALLER, associate, echo, receiving, send, wait_for
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port

needs_dcmtk = pytest.mark.skipif(system_program("storescu") is None, reason="dcmtk is not installed")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "Hospital")


def secure_home(folder: Path, own: Identity, callers: Authority | None) -> Home:
    return Home(
        folder, port=free_port(), allowed_callers=[CALLER], tls_certificate=own.certificate, tls_key=own.key,
        tls_callers_ca=callers.path if callers is not None else None,
    )  # fmt: skip


def client_context(trusted: Authority, own: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted.path))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def tls_statuses(home: Home, context: ssl.SSLContext, count: int = 2) -> list[int] | None:
    """What a pynetdicom client under TLS gets; `None` if there was no association."""
    entity = AE(ae_title=CALLER)
    entity.acse_timeout = entity.network_timeout = 10
    entity.add_requested_context(CTImageStorage)
    association = entity.associate(
        "127.0.0.1", home.settings.dicom.port, ae_title="ACINUS", tls_args=(context, "localhost")
    )
    if not association.is_established:
        return None
    statuses = [int(association.send_c_store(one).Status) for one in plain_series(count, 256).datasets()]
    association.release()
    return statuses


def test_a_caller_with_a_certificate_of_the_authority_sends_under_tls(tmp_path: Path, authority: Authority) -> None:
    home = secure_home(tmp_path / "home", authority.issue("node"), authority)
    with receiving(home):
        assert tls_statuses(home, client_context(authority, authority.issue("scanner"))) == [0, 0]
        stranger = Authority(tmp_path / "other", "Elsewhere").issue("stranger")
        assert tls_statuses(home, client_context(authority, stranger)) is None, "another authority's word"
        assert tls_statuses(home, client_context(authority, None)) is None, "no certificate at all"
        assert not echo(home.settings.dicom.port), "and no plain text"
    assert len(home.store().studies()) == 1


def test_without_an_authority_tls_encrypts_and_admits_by_title(tmp_path: Path, authority: Authority) -> None:
    home = secure_home(tmp_path / "home", authority.issue("node"), None)
    with receiving(home):
        assert tls_statuses(home, client_context(authority, None)) == [0, 0]


def test_a_handshake_that_never_comes_holds_up_nobody(tmp_path: Path, authority: Authority) -> None:
    home = secure_home(tmp_path / "home", authority.issue("node"), authority)
    with receiving(home):
        silent = [socket.create_connection(("127.0.0.1", home.settings.dicom.port)) for _ in range(20)]
        began = time.monotonic()
        assert tls_statuses(home, client_context(authority, authority.issue("scanner")), 1) == [0]
        assert time.monotonic() - began < 5
        for line in silent:
            line.close()


@pytest.mark.parametrize("broken", ["tls_certificate", "tls_key", "tls_callers_ca"])
def test_a_missing_file_of_tls_is_said_before_anybody_is_let_in(
    tmp_path: Path, authority: Authority, broken: str
) -> None:
    own = authority.issue("node")
    given = {"tls_certificate": own.certificate, "tls_key": own.key, "tls_callers_ca": authority.path}
    with pytest.raises(UnavailableError) as caught:
        server_context(DicomSettings.model_validate(given | {broken: tmp_path / "none.pem"}), tmp_path)
    assert caught.value.code is Code.MISSING_CERTIFICATE


@needs_dcmtk
def test_dcmtk_sends_under_tls(tmp_path: Path, authority: Authority) -> None:
    home = secure_home(tmp_path / "home", authority.issue("node"), authority)
    scanner = authority.issue("scanner")
    paths = plain_series(5, 256).write(tmp_path / "series")
    command = [
        str(system_program("storescu")),
        "-aet",
        CALLER,
        "-aec",
        "ACINUS",
        "+tls",
        scanner.key,
        scanner.certificate,
        "+cf",
        authority.path,
    ]
    with receiving(home):
        sent = subprocess.run(
            [*map(str, command), "127.0.0.1", str(home.settings.dicom.port), *map(str, paths)],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    store = home.store()
    assert len(store.instances(store.studies()[0].study_key)) == 5


@needs_dcmtk
def test_four_senders_at_once_lose_nothing(tmp_path: Path) -> None:
    """Programs of their own, as four scanners would be; each with its part of one study and a study of its own."""
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    for number in range(4):
        own = plain_series(10, 128, name=f"own{number}", study=f"study{number}").write(tmp_path / str(number))
        shared = plain_series(40, 128, name="shared", study="shared")
        for index in range(number, 40, 4):
            (tmp_path / str(number) / f"s{index}.dcm").write_bytes(as_bytes(shared.dataset(index)))
        assert len(own) == 10
    with receiving(home):
        command = [
            str(system_program("storescu")),
            "-aet",
            CALLER,
            "-aec",
            "ACINUS",
            "+sd",
            "127.0.0.1",
            str(home.settings.dicom.port),
        ]
        senders = [subprocess.Popen([*command, str(tmp_path / str(number))]) for number in range(4)]
        assert [sender.wait(120) for sender in senders] == [0] * 4
    store = home.store()
    assert sorted(len(store.instances(study.study_key)) for study in store.studies()) == [10, 10, 10, 10, 40]


@needs_dcmtk
@pytest.mark.parametrize("options", [["-xi"], ["-xe"], ["-xb"], ["--max-send-pdu", "4096"], ["-pdu", "4096"]])
def test_dcmtk_in_other_moods(tmp_path: Path, options: list[str]) -> None:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    paths = plain_series(2, 256).write(tmp_path / "series")
    with receiving(home):
        command = [
            str(system_program("storescu")),
            *options,
            "-aet",
            CALLER,
            "-aec",
            "ACINUS",
            "127.0.0.1",
            str(home.settings.dicom.port),
        ]
        subprocess.run([*command, *map(str, paths)], check=True, timeout=120, capture_output=True)
    store = home.store()
    assert len(store.instances(store.studies()[0].study_key)) == 2


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_compressed_syntax_is_agreed_on_and_kept(tmp_path: Path, syntax: str) -> None:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    dataset = plain_series(1, 64).dataset(0)
    dataset.compress(syntax, generate_instance_uid=False)
    path = tmp_path / "packed.dcm"
    path.write_bytes(as_bytes(dataset))
    with receiving(home):
        association = associate(home.settings.dicom.port, (CTImageStorage, syntax))
        assert int(association.send_c_store(path).Status) == 0
        association.release()
    store = home.store()
    kept = store.instances(store.studies()[0].study_key)[0]
    assert str(syntax).encode() in kept.read_bytes()[:1000]


def test_a_study_is_not_complete_while_its_association_is_open(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    with receiving(home):
        association = associate(home.settings.dicom.port, (CTImageStorage, ExplicitVRLittleEndian))
        for dataset in plain_series(2).datasets():
            assert int(association.send_c_store(dataset).Status) == 0
        store = home.store()
        assert store.due(0, 900) == []
        association.release()
        wait_for(lambda: len(store.due(0, 900)) == 1, 10)


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[str]:
    """An Orthanc that knows the node as the modality `node`; yields the address of its REST interface."""
    import json

    folder.mkdir()
    http = free_port()
    (folder / "orthanc.json").write_text(json.dumps({
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomAet": CALLER, "DicomPort": free_port(),
        "HttpPort": http, "AuthenticationEnabled": False,
        "DicomModalities": {"node": ["ACINUS", "127.0.0.1", node_port]},
    }))  # fmt: skip
    process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        with socket.socket() as probe:
            wait_for(lambda: probe.connect_ex(("127.0.0.1", http)) == 0 or process.poll() is not None)
        yield f"http://127.0.0.1:{http}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")
def test_orthanc_echoes_and_sends(tmp_path: Path) -> None:
    import httpx

    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    with (
        receiving(home), orthanc(tmp_path / "orthanc", home.settings.dicom.port) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):  # fmt: skip
        held = [client.post("/instances", content=as_bytes(one)).json()["ID"] for one in plain_series(4).datasets()]
        assert client.post("/modalities/node/echo").status_code == 200
        answer = client.post("/modalities/node/store", json=held)
        assert answer.status_code == 200, answer.text
    store = home.store()
    assert len(store.instances(store.studies()[0].study_key)) == 4


def test_two_contexts_and_an_echo_in_one_association(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    with receiving(home):
        association = associate(
            home.settings.dicom.port, (CTImageStorage, ExplicitVRLittleEndian), (Verification, ImplicitVRLittleEndian)
        )
        statuses: list[int] = []
        for dataset in plain_series(2).datasets():
            statuses += [int(association.send_c_store(dataset).Status), int(association.send_c_echo().Status)]
        association.release()
    assert statuses == [0] * 4


def test_a_thread_of_each_association_ends_with_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])
    with receiving(home):
        for _ in range(5):
            send(home, plain_series(1).datasets())
        wait_for(lambda: not any(thread.name == "association" for thread in threading.enumerate()), 10)
