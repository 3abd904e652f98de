"""The receiver on loopback with real senders: pynetdicom, dcmtk, and peers that mean harm."""

import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, RLELossless, SecondaryCaptureImageStorage
from pynetdicom import AE

from bench.peers import system_program
from client.receive import spooling
from client.receive.scp import Receiver
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.dicom_peer import CALLER, echo, receiving, send
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port


def cut_off(line: socket.socket) -> bool:
    """Whether the peer's last word is A-ABORT, or nothing, and then the end."""
    said = b""
    try:
        while piece := line.recv(64):
            said += piece
    except ConnectionResetError:  # the same, said more rudely: bytes of ours lay unread
        return True
    return said == b"" or said[0] == 7


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])


def test_a_series_arrives_and_is_acknowledged_when_durable(home: Home) -> None:
    with receiving(home):
        assert echo(home.settings.dicom.port)
        assert send(home, plain_series(6).datasets()) == [0x0000] * 6
        store = home.store()
        (study,) = store.studies()
        assert len(store.instances(study.study_key)) == 6
        assert send(home, plain_series(6).datasets()) == [0x0000] * 6, "sent again"
        assert store.study(study.study_key) == study, "nothing has changed"
    assert list((home.settings.instances.parent / "incoming").iterdir()) == []


def test_no_uid_or_name_stands_in_a_file_name_or_the_index(home: Home) -> None:
    series = plain_series(2, patient="CANARY-ID-77")
    with receiving(home):
        send(home, series.datasets())
    secrets = [str(series.dataset(0).StudyInstanceUID), "CANARY", "20260112", "ACC-77"]
    names = " ".join(str(path) for path in home.settings.home.rglob("*"))
    database = b"".join(path.read_bytes() for path in home.settings.home.glob("node.db*"))
    for secret in secrets:
        assert secret not in names
        assert secret.encode() not in database


def test_strangers_are_turned_away(home: Home) -> None:
    with receiving(home):
        assert not echo(home.settings.dicom.port, caller="STRANGER")


def test_without_an_allow_list_nobody_is_let_in(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", port=free_port())
    with receiving(home):
        assert not echo(home.settings.dicom.port)


def test_a_taken_port_is_said_clearly(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", home.settings.dicom.port))
        other.listen()
        with pytest.raises(UnavailableError) as caught:
            Receiver(home.store, home.pseudonyms, home.settings).run(threading.Event())
    assert caught.value.code is Code.PORT_TAKEN
    assert caught.value.exit_code == 5
    assert str(home.settings.dicom.port) in str(caught.value)


def test_without_space_the_sender_is_told_to_come_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(home):
        monkeypatch.setattr(spooling, "free_mb", lambda _folder: 0)
        assert send(home, plain_series(1).datasets()) == [0xA700]
        assert home.store().studies() == []
        monkeypatch.undo()
        assert send(home, plain_series(1).datasets()) == [0x0000], "well again without a restart"


def test_a_store_that_cannot_write_never_acknowledges(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(home):
        monkeypatch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError(5, "I/O")))
        assert send(home, plain_series(1).datasets()) == [0xA700]
        monkeypatch.undo()
        assert home.store().studies() == []


def test_what_is_no_ct_goes_to_quarantine(home: Home) -> None:
    odd = plain_series(1, header={"Modality": "MR"})
    with receiving(home):
        assert send(home, odd.datasets()) == [0xA900]
    assert [one.code for one in home.store().quarantined()] == ["not-ct"]


def test_another_slice_under_the_same_uid_is_kept_aside(home: Home) -> None:
    with receiving(home):
        send(home, plain_series(1).datasets())
        assert send(home, plain_series(1, header={"AccessionNumber": "CHANGED"}).datasets()) == [0x0000]
    store = home.store()
    assert [one.code for one in store.quarantined()] == ["already-exists"]
    assert len(store.instances(store.studies()[0].study_key)) == 1


def test_secondary_captures_are_not_negotiated(home: Home) -> None:
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(SecondaryCaptureImageStorage)
    with receiving(home):
        assert not entity.associate("127.0.0.1", home.settings.dicom.port, ae_title="ACINUS").is_established


def test_a_path_as_uid_stays_inside(home: Home) -> None:
    series = plain_series(1, header={"SOPInstanceUID": "../../../../tmp/evil", "StudyInstanceUID": "../up"})
    with receiving(home):
        assert send(home, series.datasets()) == [0x0000]
    kept = list(home.settings.home.rglob("*.dcm"))
    assert len(kept) == 1
    assert kept[0].resolve().is_relative_to(home.settings.instances.resolve())
    assert "evil" not in str(kept[0])


def test_several_associations_at_once(home: Home) -> None:
    with receiving(home):
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: statuses.extend(send(home, plain_series(5, study=f"s{n}").datasets())))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert statuses == [0x0000] * 20
    assert len(home.store().studies()) == 4


def test_a_huge_pdu_is_cut_off_and_silent_peers_disturb_nobody(home: Home) -> None:
    port = home.settings.dicom.port
    with receiving(home):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        with socket.create_connection(("127.0.0.1", port)) as hostile:
            hostile.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFF0) + bytes(64))
            hostile.settimeout(60)
            assert cut_off(hostile), "a PDU of 4 GiB is not waited for"
        assert echo(port)
        for line in silent:
            line.close()


def test_a_compressed_series_is_kept_bit_for_bit(home: Home, tmp_path: Path) -> None:
    dataset = plain_series(1, 32).dataset(0)
    dataset.compress(RLELossless, generate_instance_uid=False)
    path = tmp_path / "rle.dcm"
    path.write_bytes(as_bytes(dataset))
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(CTImageStorage, RLELossless)
    with receiving(home):
        association = entity.associate("127.0.0.1", home.settings.dicom.port, ae_title="ACINUS")
        assert int(association.send_c_store(path).Status) == 0
        association.release()
    store = home.store()
    kept = store.instances(store.studies()[0].study_key)[0].read_bytes()
    assert kept[kept.index(b"\xe0\x7f\x10\x00") :] == (whole := path.read_bytes())[whole.index(b"\xe0\x7f\x10\x00") :]


@pytest.mark.skipif(system_program("storescu") is None, reason="dcmtk is not installed")
def test_dcmtk_sends_and_echoes(home: Home, tmp_path: Path) -> None:
    paths = plain_series(5).write(tmp_path / "series")
    port = str(home.settings.dicom.port)
    with receiving(home):
        subprocess.run(
            [str(system_program("echoscu")), "-aet", CALLER, "-aec", "ACINUS", "127.0.0.1", port],
            check=True,
            timeout=120,
        )
        subprocess.run(
            [str(system_program("storescu")), "-aet", CALLER, "-aec", "ACINUS", "127.0.0.1", port, *map(str, paths)],
            check=True,
            timeout=120,
        )
    store = home.store()
    assert len(store.instances(store.studies()[0].study_key)) == 5


def test_the_spool_of_a_killed_receiver_is_swept(home: Home) -> None:
    left = home.settings.instances.parent / "incoming" / "tmpabc.dcm"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a patient")
    with receiving(home):
        assert not left.exists()
