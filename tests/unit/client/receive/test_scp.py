"""The receiver's manners: whom it talks to, what it takes, which status it answers. Associations are real, on loopback."""

import logging
from pathlib import Path

import pytest
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

from client.receive import spooling
from client.receive.scp import TRANSFER_SYNTAXES, entity_of
from client.sections import DicomSettings
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.ct_series import plain_series
from tests.fakes.dicom_peer import CALLER, associate, echo, receiving, send
from tests.fakes.node_home import Home
from tests.fakes.ports import free_port


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", port=free_port(), allowed_callers=[CALLER])


def test_the_entity_is_closed_unless_somebody_is_named() -> None:
    named = entity_of(DicomSettings(ae_title="ACINUS", allowed_callers=("PACS1", "PACS2 ")))
    assert (named.title, named.callers) == ("ACINUS", {"PACS1", "PACS2"})
    assert entity_of(DicomSettings()).callers == set()


@pytest.mark.parametrize(
    "sop_class",
    [CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage],
    ids=lambda uid: uid.name,
)
def test_every_syntax_of_ct_is_agreed_on(home: Home, sop_class: str) -> None:
    with receiving(home):
        association = associate(home.settings.dicom.port, *((sop_class, syntax) for syntax in TRANSFER_SYNTAXES))
        agreed = {context.transfer_syntax[0] for context in association.accepted_contexts}
        association.release()
    assert agreed == set(TRANSFER_SYNTAXES)


def test_what_is_no_ct_is_not_agreed_on(home: Home) -> None:
    wanted = (
        (CTImageStorage, ImplicitVRLittleEndian), (CTImageStorage, MPEG2MPML), (MRImageStorage, ExplicitVRLittleEndian),
        (SecondaryCaptureImageStorage, ExplicitVRLittleEndian),
    )  # fmt: skip
    with receiving(home):
        association = associate(home.settings.dicom.port, *wanted)
        agreed = [(context.abstract_syntax, context.transfer_syntax[0]) for context in association.accepted_contexts]
        association.release()
    assert agreed == [(CTImageStorage, ImplicitVRLittleEndian)]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 0x0000),
        ({"Modality": "MR"}, 0xA900),
        ({"StudyInstanceUID": None}, 0xC000),
    ],
)
def test_the_status_says_what_became_of_it(home: Home, header: dict[str, object], status: int) -> None:
    with receiving(home):
        assert send(home, plain_series(1, header=header).datasets()) == [status]
        assert echo(home.settings.dicom.port), "and the receiver goes on"


@pytest.mark.parametrize(("caller", "called"), [("STRANGER", "ACINUS"), (CALLER, "OTHERNODE")])
def test_strangers_and_wrong_addresses_are_rejected(home: Home, caller: str, called: str) -> None:
    with receiving(home):
        association = associate(home.settings.dicom.port, caller=caller, called=called)
        assert association.is_rejected


def test_a_store_that_fails_is_never_success(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UnavailableError(Code.DISK_FULL, "full")

    with receiving(home):
        monkeypatch.setattr(StudyStore, "admit", fail)
        assert send(home, plain_series(1).datasets()) == [0xA700]
        monkeypatch.setattr(StudyStore, "admit", lambda *_: 1 // 0)
        assert send(home, plain_series(1).datasets())[0] & 0xF000 == 0xC000, "a fault of ours is a failure too"
        monkeypatch.undo()
        assert send(home, plain_series(1).datasets()) == [0x0000]


def test_nearly_full_is_full(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    least = home.settings.dicom.minimum_free_mb
    with receiving(home):
        monkeypatch.setattr(spooling, "free_mb", lambda _folder: least - 1)
        assert send(home, plain_series(1).datasets()) == [0xA700]
        monkeypatch.setattr(spooling, "free_mb", lambda _folder: least)
        assert send(home, plain_series(1).datasets()) == [0x0000]


def test_each_association_has_a_store_of_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite connections may not be shared between threads."""
    opened: list[StudyStore] = []
    plain = Home.store

    def counting(one: Home) -> StudyStore:
        opened.append(plain(one))
        return opened[-1]

    monkeypatch.setattr(Home, "store", counting)
    with receiving(home):
        before = len(opened)
        send(home, plain_series(3).datasets())
        send(home, plain_series(3, study="other").datasets())
    assert len(opened) == before + 2


def test_headers_stay_out_of_the_logs(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(home):
        send(home, plain_series(1, patient="CANARY-ID").datasets())
        send(home, plain_series(1, patient="CANARY-ID", header={"Modality": "MR"}).datasets())
        associate(home.settings.dicom.port, caller="CANARY-CALLER")
    said = " ".join(
        f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name.startswith("client")
    )
    assert "receiver.quarantined" in said
    assert "receiver.rejected" in said
    assert "CANARY" not in said
