import json
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from deploy.local.planted import Identifier, Kind, Planted, file_identifiers, header_identifiers


def a_header() -> Dataset:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "2.25.77"
    header = Dataset()
    header.PatientName, header.PatientID, header.PatientBirthDate = "Doe^Jane", "MRN-1", "19400131"
    header.OtherPatientIDs = ["A-77", "B-88"]
    header.SOPClassUID, header.StudyInstanceUID = CTImageStorage, "2.25.5"
    header.SeriesDescription, header.StudyID = "LUNG 1.0", ""
    header.ReferencedImageSequence = Sequence([inner])
    block = header.private_block(0x29, "NOTES", create=True)
    block.add_new(0x10, "PN", "Doe^Private")
    return header


def test_names_numbers_dates_and_uids_are_taken_also_nested_and_private() -> None:
    assert set(header_identifiers(a_header())) == {
        Identifier(Kind.NAME, "Doe^Jane"),
        Identifier(Kind.NAME, "Doe^Private"),
        Identifier(Kind.NUMBER, "MRN-1"),
        Identifier(Kind.NUMBER, "A-77"),
        Identifier(Kind.NUMBER, "B-88"),
        Identifier(Kind.DATE, "19400131"),
        Identifier(Kind.UID, "2.25.5"),
        Identifier(Kind.UID, "2.25.77"),
    }


def test_a_file_is_read_without_its_pixels_and_another_file_gives_nothing(tmp_path: Path) -> None:
    header = a_header()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPInstanceUID = "2.25.6"
    header.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    (tmp_path / "other.txt").write_text("no DICOM")
    assert Identifier(Kind.UID, "2.25.6") in file_identifiers(tmp_path / "one.dcm")
    assert file_identifiers(tmp_path / "other.txt") == []


def test_each_identifier_is_kept_once_and_can_be_saved(tmp_path: Path) -> None:
    planted = Planted()
    planted.add(header_identifiers(a_header()))
    planted.add(header_identifiers(a_header()))
    planted.save(tmp_path / "planted.json")
    assert len(planted) == 8
    assert {"kind": "name", "value": "Doe^Jane"} in json.loads((tmp_path / "planted.json").read_text())
