"""One file that tells everything about its patient, and what is left of it."""

from datetime import date
from io import BytesIO

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client.deidentify.engine import deidentify
from client.deidentify.export import deidentify_file
from client.deidentify.profile import PROFILE_CODES, Options
from client.deidentify.pseudonyms import Pseudonyms
from client.deidentify.values import shifted
from client.store.part10 import read_part10
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of

NAMES = Pseudonyms(b"k" * 32)
CANARY = "Wexelblatt"


def told() -> FileDataset:
    """A slice whose header tells everything about its patient, in every kind of attribute."""
    ds = plain_series(1, 16).dataset(0)
    ds.PatientName, ds.PatientID, ds.OtherPatientIDs = f"{CANARY}^Jane", f"{CANARY}-1", f"{CANARY}-2"
    ds.PatientAge, ds.PatientBirthDate, ds.PatientAddress = "093Y", "19330105", f"1 {CANARY} St"
    ds.PatientComments = ds.ImageComments = ds.StudyDescription = ds.SeriesDescription = f"for {CANARY}"
    ds.ProtocolName = ds.RequestedProcedureDescription = ds.AdmittingDiagnosesDescription = CANARY
    ds.InstitutionName = ds.StationName = ds.OperatorsName = ds.PerformingPhysicianName = CANARY
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName, ds.DeviceSerialNumber = CANARY, CANARY, CANARY, CANARY
    ds.ContrastBolusAgent = ds.RequestingPhysician = ds.IssuerOfPatientID = CANARY
    ds.RetrieveURL = f"https://{CANARY}.example"
    ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260112"
    ds.AcquisitionDateTime = "20260112101500.000+0100"
    inner = Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator, inner.CodeMeaning = "1", "99X", CANARY
    ds.PersonIdentificationCodeSequence = Sequence([inner])
    ds.ReferringPhysicianIdentificationSequence = Sequence([inner])
    ds.RequestAttributesSequence = Sequence([inner])
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3.4"
    source.add_new(0x00291010, "LO", CANARY)
    ds.SourceImageSequence = Sequence([source])
    block = ds.private_block(0x0029, CANARY, create=True)
    block.add_new(0x10, "LO", CANARY)
    ds.file_meta.SourceApplicationEntityTitle = "WEXELBLATT"
    return ds


def clean() -> Dataset:
    return deidentify(told(), NAMES)


def test_text_removed() -> None:
    assert CANARY not in str(clean())
    _, content = deidentify_file(as_bytes(told()), NAMES)
    for spelling in (CANARY, CANARY.upper(), CANARY.lower()):
        assert spelling.encode() not in content
        assert spelling.encode("utf-16-le") not in content
    assert b"1933" not in content


def test_private_removed_at_every_depth() -> None:
    assert not any(element.tag.is_private for element in clean().iterall())


def test_uid_changed_and_references_follow() -> None:
    before, after = told(), clean()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert after[keyword].value == NAMES.uid(before[keyword].value) != before[keyword].value
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == NAMES.uid("1.2.3.4")
    assert after.SOPClassUID == before.SOPClassUID


def test_date_shifted_alike_for_one_patient() -> None:
    after = clean()
    days = NAMES.shift_days(f"{CANARY}-1", CANARY)
    expected = date.fromordinal(date(2026, 1, 12).toordinal() + days).strftime("%Y%m%d")
    assert {after.StudyDate, after.SeriesDate, after.AcquisitionDate, after.ContentDate} == {expected}
    assert after.AcquisitionDateTime == f"{expected}101500.000+0100"


def test_text_notnull_and_patient_consistent() -> None:
    after = clean()
    assert after.PatientID == NAMES.patient_id(f"{CANARY}-1", CANARY)
    assert str(after.PatientName) == after.PatientID
    again = told()
    again.StudyInstanceUID = "1.2.9"
    assert deidentify(again, NAMES).PatientID == after.PatientID


def test_tag_and_text_retained() -> None:
    before, after = told(), clean()
    kept = (
        "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "KVP", "Modality",
        "RescaleSlope", "RescaleIntercept", "RescaleType", "Manufacturer", "ConvolutionKernel", "PatientSex", "PixelData", "ImageType",
        "StudyTime", "InstanceNumber",
    )  # fmt: skip
    assert {keyword: after[keyword].value for keyword in kept} == {keyword: before[keyword].value for keyword in kept}
    assert (after.PatientBirthDate, after.AccessionNumber, after.StudyID) == ("", "", "")


def test_what_was_done_is_declared() -> None:
    after = clean()
    assert (after.PatientIdentityRemoved, after.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [item.CodeValue for item in after.DeidentificationMethodCodeSequence] == [code for code, _ in PROFILE_CODES]
    assert after.DeidentificationMethod


def test_the_source_is_not_changed() -> None:
    dataset = told()
    before = as_bytes(dataset)
    deidentify(dataset, NAMES)
    assert as_bytes(dataset) == before


def test_two_sites_cannot_be_joined() -> None:
    there = deidentify(told(), Pseudonyms(b"x" * 32))
    assert not {there.PatientID, there.StudyInstanceUID, there.StudyDate} & {
        clean().PatientID, clean().StudyInstanceUID,
    }  # fmt: skip


def test_nothing_of_the_sender_is_left_around_the_data_set() -> None:
    dataset = told()
    dataset.preamble = CANARY.encode().ljust(128, b"\0")
    dataset.file_meta.ImplementationVersionName = "WEXEL_1"
    dataset.file_meta.SendingApplicationEntityTitle = dataset.file_meta.ReceivingApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.9"
    dataset.file_meta.PrivateInformation = CANARY.encode()
    _, content = deidentify_file(as_bytes(dataset), NAMES)
    assert content[:132] == bytes(128) + b"DICM"
    meta = read_part10(content, pixels=False).file_meta
    assert {element.keyword for element in meta} == {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID",
        "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
    }  # fmt: skip
    assert meta.ImplementationVersionName == "ACINUS_1"
    assert b"WEXEL" not in content.upper()


def test_the_device_stays_where_the_hospital_says_so() -> None:
    dataset = told()
    dataset.DeviceSerialNumber, dataset.StationName, dataset.DeviceUID = "SN-4711", "CT-EAST", "1.2.3.5"
    dataset.DateOfLastCalibration, dataset.GantryID = "20260101", f"for {CANARY}"
    kept = deidentify(dataset, NAMES, Options(keep_device=True))
    assert (kept.DeviceSerialNumber, kept.StationName, kept.DeviceUID) == ("SN-4711", "CT-EAST", "1.2.3.5")
    assert kept.DateOfLastCalibration == shifted("20260101", NAMES.shift_days(f"{CANARY}-1", CANARY))
    assert "GantryID" not in kept, "a device's name that spells the patient goes all the same"
    assert kept.DeidentificationMethodCodeSequence[-1].CodeValue == "113109"
    assert not {"DeviceSerialNumber", "StationName", "GantryID"} & {
        element.keyword for element in deidentify(dataset, NAMES)
    }


def test_codes_keep_the_dictionarys_words_and_private_codes_go() -> None:
    dataset = told()
    known, unknown = Dataset(), Dataset()
    known.CodeValue, known.CodingSchemeDesignator, known.CodeMeaning = "T-D3000", "SRT", f"Chest of {CANARY}"
    unknown.CodeValue, unknown.CodingSchemeDesignator, unknown.CodeMeaning = CANARY, "99HERE", CANARY
    dataset.AnatomicRegionSequence = Sequence([known, unknown])
    dataset.CTDIPhantomTypeCodeSequence = Sequence([unknown])
    after = deidentify(dataset, NAMES)
    (code,) = after.AnatomicRegionSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("T-D3000", "SRT")
    assert code.CodeMeaning.startswith("Thoracic structure")
    assert "CTDIPhantomTypeCodeSequence" not in after


@pytest.mark.parametrize(
    "keyword", ["BodyPartExamined", "Manufacturer", "ConvolutionKernel", "SoftwareVersions", "ScanOptions"]
)
def test_a_name_where_a_word_belongs_goes(keyword: str) -> None:
    dataset = told()
    setattr(dataset, keyword, CANARY.upper())
    assert str(deidentify(dataset, NAMES).get(keyword) or "") == ""


def test_a_number_of_the_patient_among_the_measurements_goes() -> None:
    dataset = told()
    dataset.PatientID, dataset.ReconstructionDiameter, dataset.AcquisitionNumber = "88-123-456", "88123456", 88123456
    dataset.SoftwareVersions, dataset.PatientBirthDate = "VB20A", "19330105"
    after = deidentify(dataset, NAMES)
    assert not {"ReconstructionDiameter", "AcquisitionNumber"} & {element.keyword for element in after}
    assert after.SoftwareVersions == "VB20A"


@pytest.mark.parametrize("number", ["10000", "10240", "00000", "1024", "200000"])
def test_a_short_or_common_number_costs_no_geometry(number: str) -> None:
    dataset = told()
    dataset.PatientID, dataset.RescaleIntercept, dataset.ImagePositionPatient = (
        number,
        "-1024.0",
        ["-1000.0", "0.00000", "-20.0000"],
    )
    after = deidentify(dataset, NAMES)
    assert (after.RescaleIntercept, after.ImagePositionPatient) == (
        dataset.RescaleIntercept,
        dataset.ImagePositionPatient,
    )


def test_an_empty_value_among_others_is_no_fault() -> None:
    dataset = told()
    dataset.WindowCenter = ["40", "", "-600"]
    _, content = deidentify_file(as_bytes(dataset), NAMES)
    assert str(read_part10(content, pixels=False).WindowCenter[2]) == "-600"


def test_an_attribute_in_the_wrong_vr_goes() -> None:
    dataset = told()
    dataset.add_new(0x00189345, "LO", CANARY)  # CTDIvol is a double
    assert "CTDIvol" not in deidentify(dataset, NAMES)


def test_a_claim_about_the_pixels_is_not_made_up() -> None:
    assert "BurnedInAnnotation" not in clean()
    dataset = told()
    dataset.BurnedInAnnotation = "NO"
    assert deidentify(dataset, NAMES).BurnedInAnnotation == "NO"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_plain_syntax_is_written_as_it_came(syntax: UID) -> None:
    dataset = told()
    dataset.file_meta.TransferSyntaxUID = syntax
    out = BytesIO()
    little = syntax != ExplicitVRBigEndian
    plain = FileDataset(out, Dataset(dataset), file_meta=dataset.file_meta, preamble=bytes(128), is_implicit_VR=syntax.is_implicit_VR,
                        is_little_endian=little)  # fmt: skip
    plain.save_as(out, enforce_file_format=True)
    _, content = deidentify_file(out.getvalue(), NAMES)
    after = read_part10(content, pixels=True)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert (after.PixelData, after.Rows) == (dataset.PixelData, dataset.Rows)


def test_a_makers_own_syntax_is_refused() -> None:
    dataset = told()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.113619.5.2")
    content = as_bytes(told()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0")
    assert code_of(lambda: deidentify_file(content, NAMES)) is Code.UNSUPPORTED_TRANSFER_SYNTAX


def test_pixel_data_longer_than_its_picture_is_refused() -> None:
    dataset = told()
    dataset.PixelData += b"Jane was here"
    assert code_of(lambda: deidentify_file(as_bytes(dataset), NAMES)) is Code.UNREADABLE


def test_no_error_quotes_the_header() -> None:
    for change in (
        {"BurnedInAnnotation": "YES"},
        {"Modality": "MR"},
        {"SeriesDescription": f"Dose report of {CANARY}"},
    ):
        dataset = told()
        for keyword, value in change.items():
            setattr(dataset, keyword, value)
        with pytest.raises(InvalidInputError) as caught:
            deidentify(dataset, NAMES)
        assert CANARY not in str(caught.value)


def test_a_table_of_offsets_stays_only_if_it_is_one() -> None:
    dataset = told()
    dataset.add_new(0x7FE00001, "OV", (0).to_bytes(8, "little") + (16).to_bytes(8, "little"))
    dataset.add_new(0x7FE00002, "OV", CANARY.encode().ljust(16, b"\0"))
    after = deidentify(dataset, NAMES)
    assert after.ExtendedOffsetTable == dataset.ExtendedOffsetTable
    assert "ExtendedOffsetTableLengths" not in after
