import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from deploy.local.failures import StepFailed
from deploy.local.sender import Receiver, dicom_files, send


def a_file(path: Path, number: int) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = CTImageStorage, f"2.25.{number}", "Doe^Jane"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


class Archive:
    """A receiver that stores UIDs, and breaks the association at the third message if it is told to."""

    def __init__(self, *, breaks: bool) -> None:
        self.stored: list[str] = []
        self.calls = 0
        entity = AE(ae_title="ARCHIVE")
        entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        self.breaks = breaks
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)])
        self.port = self.server.socket.getsockname()[1]

    def take(self, event: evt.Event) -> int:
        self.calls += 1
        if self.breaks and self.calls == 3:
            event.assoc.abort()
            return 0xC000
        self.stored.append(str(event.dataset.SOPInstanceUID))
        return 0x0000


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    server = Archive(breaks=getattr(request, "param", False))
    yield server
    server.server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [a_file(tmp_path / "pacs" / f"{number}.dcm", number) for number in range(1, 6)]


def test_every_file_is_sent_and_answered_once(archive: Archive, files: list[Path]) -> None:
    assert list(send(files, Receiver(archive.port, "ARCHIVE"))) == [(path, 0) for path in files]
    assert archive.stored == [f"2.25.{number}" for number in range(1, 6)]


@pytest.mark.parametrize("archive", [True], indirect=True)
def test_what_was_not_acknowledged_is_sent_again_and_nothing_is_lost(archive: Archive, files: list[Path]) -> None:
    answers = list(send(files, Receiver(archive.port, "ARCHIVE")))
    assert [status for path, status in answers if path == files[2]] == [None, 0]
    assert archive.stored == [f"2.25.{number}" for number in range(1, 6)]


def test_a_receiver_that_never_answers_ends_in_a_sentence(files: list[Path]) -> None:
    with pytest.raises(StepFailed, match="did not answer for 1 s"):
        list(send(files, Receiver(9, "NOBODY"), patience_s=1.0))


def test_dicom_is_found_in_folders_and_zips_and_names_inside_zips_are_not_trusted(
    tmp_path: Path, files: list[Path]
) -> None:
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    a_file(source / "deep" / "no-suffix", 7)
    (source / "README.txt").write_text("not DICOM")
    with zipfile.ZipFile(source / "study.zip", "w") as archive:
        archive.write(files[0], "../../escape.dcm")
        archive.writestr("notes.txt", io.StringIO("x").getvalue())
    found = dicom_files(source, unpacked)
    assert found == [source / "deep" / "no-suffix", unpacked / "study" / "000000.dcm"]
    assert not (tmp_path.parent / "escape.dcm").exists()
