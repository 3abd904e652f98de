"""The one door: durable and indexed, or in quarantine with a code; the spool stays for its owner, whatever happens."""

from pathlib import Path

import pytest
from pydicom.config import disable_value_validation
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from client.receive.intake import Intake, spool, sweep, take_bytes
from client.store.records import Admission
from protocol.codes import Code
from protocol.errors import UnavailableError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.node_home import Home

ONE = plain_series(1, 16)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def intake(home: Home) -> Intake:
    return Intake(home.store(), home.pseudonyms)


def content(**changes: object) -> bytes:
    with disable_value_validation():  # some of them are wrong on purpose
        return as_bytes(ONE.dataset(0, **changes))


def test_an_instance_is_stored_under_keyed_names(home: Home, intake: Intake) -> None:
    taken = take_bytes(intake, content(), home.settings.home / "spool")
    assert (taken.admission, taken.code) == (Admission.STORED, None)
    (path,) = home.store().instances(str(taken.study_key))
    assert path.read_bytes() == content()
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(ONE.dataset(0).StudyInstanceUID) not in str(path)
    assert list((home.settings.home / "spool").iterdir()) == []


def test_sent_again_it_is_known_even_by_another_sender(home: Home, intake: Intake) -> None:
    first = take_bytes(intake, content(), home.settings.home / "spool")
    again = ONE.dataset(0)
    again.file_meta.SourceApplicationEntityTitle = "OTHERPACS"
    taken = take_bytes(intake, as_bytes(again), home.settings.home / "spool")
    assert (taken.study_key, taken.admission) == (first.study_key, Admission.KNOWN)


def test_other_bytes_under_one_uid_are_kept_aside(home: Home, intake: Intake) -> None:
    first = take_bytes(intake, content(), home.settings.home / "spool")
    taken = take_bytes(intake, content(AccessionNumber="OTHER"), home.settings.home / "spool")
    assert (taken.study_key, taken.admission, taken.code) == (
        first.study_key, Admission.CONFLICTING, Code.ALREADY_EXISTS,
    )  # fmt: skip
    (aside,) = home.store().quarantined()
    assert aside.path.read_bytes() == content(AccessionNumber="OTHER")
    assert home.store().instances(str(first.study_key))[0].read_bytes() == content()


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (content(Modality="MR"), Code.NOT_CT),
        (content(SOPClassUID=SecondaryCaptureImageStorage), Code.NOT_CT),
        (content(SOPClassUID=None), Code.NOT_CT),
        (content(StudyInstanceUID=None), Code.UNREADABLE),
        (content(SeriesInstanceUID=""), Code.UNREADABLE),
        (content(SOPInstanceUID="1." + "2" * 63), Code.UNREADABLE),
        (b"no DICOM at all", Code.UNREADABLE),
        (b"", Code.UNREADABLE),
        (content()[:300], Code.NOT_CT),
    ],
)
def test_what_cannot_be_used_is_kept_with_its_reason(home: Home, intake: Intake, bad: bytes, code: Code) -> None:
    taken = take_bytes(intake, bad, home.settings.home / "spool")
    assert (taken.study_key, taken.admission, taken.code) == (None, None, code)
    (aside,) = home.store().quarantined()
    assert (aside.code, aside.path.read_bytes()) == (code.value, bad)
    assert home.store().studies() == []


def test_a_ct_that_does_not_say_its_modality_is_taken_by_its_class(home: Home, intake: Intake) -> None:
    taken = take_bytes(intake, content(Modality=None, SOPClassUID=CTImageStorage), home.settings.home / "spool")
    assert taken.admission is Admission.STORED


def test_one_patient_is_one_subject_and_an_issuer_makes_another(home: Home, intake: Intake) -> None:
    studies = {
        (study, issuer): plain_series(1, study=study, header={"IssuerOfPatientID": issuer}).dataset(0)
        for study, issuer in (("a", "X"), ("b", "X"), ("c", "Y"))
    }
    keys = [take_bytes(intake, as_bytes(one), home.settings.home / "spool").study_key for one in studies.values()]
    subjects = [home.store().study(str(key)).subject_key for key in keys]
    assert subjects[0] == subjects[1] != subjects[2]


def test_names_that_are_paths_name_nothing(home: Home, intake: Intake) -> None:
    evil = content(StudyInstanceUID="../../up", SOPInstanceUID="/etc/passwd", PatientID="../x")
    taken = take_bytes(intake, evil, home.settings.home / "spool")
    (path,) = home.store().instances(str(taken.study_key))
    assert path.resolve().is_relative_to(home.settings.instances.resolve())
    assert path.stem.replace("-", "").isalnum()


def test_a_program_in_the_preamble_does_not_get_in(tmp_path: Path) -> None:
    spooled = spool(b"MZ" + b"\x90" * 126 + content()[128:], tmp_path / "spool")
    assert spooled.read_bytes() == content()
    assert spooled.stat().st_mode & 0o777 == 0o600
    assert spooled.parent.stat().st_mode & 0o777 == 0o700


def test_a_disk_that_refuses_is_said_and_nothing_is_indexed(
    home: Home, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UnavailableError) as caught:
        take_bytes(intake, content(), home.settings.home / "spool")
    monkeypatch.undo()
    assert caught.value.code is Code.DISK_FULL
    assert "CANARY" not in str(caught.value)
    assert home.store().studies() == []
    assert list((home.settings.home / "spool").iterdir()) == []


def test_sweeping_keeps_what_it_is_told_to_keep(tmp_path: Path) -> None:
    for name in ("half.dcm", "other.dcm", "kept.dcm"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    assert sweep(tmp_path, keep=lambda path: path.stem == "kept") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "kept.dcm"]
    assert sweep(tmp_path / "new") == 0
    assert (tmp_path / "new").is_dir()
