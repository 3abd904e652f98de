"""De-identification: scored on canaries in the seven classes of MIDI-B's answer key, and by a foreign checker."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage

from client.deidentify.export import deidentify_file
from client.deidentify.profile import PROFILE_CODES, capped_age, deidentify, shifted
from client.deidentify.pseudonyms import Pseudonyms
from client.store.part10 import read_part10
from protocol.codes import Code
from tests.fakes.ct_series import as_bytes, plain_series
from tests.fakes.outcomes import code_of
from tests.shared import SHARED, needs_shared

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


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, Code.BURNED_IN),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, Code.BURNED_IN),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, Code.NOT_CT),
        ({"Modality": "SR"}, Code.NOT_CT),
    ],
)
def test_pixels_hidden_by_refusal(changes: dict[str, object], code: Code) -> None:
    dataset = told()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    assert code_of(lambda: deidentify(dataset, NAMES)) is code


@pytest.mark.parametrize("group", [0x6000, 0x601E, 0x5000])
def test_overlays_and_curves_are_refused(group: int) -> None:
    dataset = told()
    dataset.add_new((group, 0x3000), "OW", b"\0\0")
    assert code_of(lambda: deidentify(dataset, NAMES)) is Code.BURNED_IN


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


@given(st.dates(date(1901, 1, 1), date(2100, 1, 1)), st.integers(-365, -1))
def test_intervals_survive(day: date, days: int) -> None:
    text = day.strftime("%Y%m%d")
    moved = shifted(text, days)
    back = date(int(moved[:4]), int(moved[4:6]), int(moved[6:]))
    assert (back - day).days == days


@pytest.mark.parametrize("value", ["", "unknown", "00000000", "2026"])
def test_what_is_no_date_is_not_kept(value: str) -> None:
    assert shifted(value, -3) == ""


@pytest.mark.parametrize(("age", "out"), [("089Y", "089Y"), ("090Y", "090Y"), ("104Y", "090Y"), ("011M", "011M")])
def test_great_ages_are_capped(age: str, out: str) -> None:
    assert capped_age(age) == out


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("which", ["made", "real"])
def test_no_new_error_by_a_foreign_checker(tmp_path: Path, which: str) -> None:
    if which == "real" and not SHARED.is_dir():
        pytest.skip("no real images here")
    source = (
        as_bytes(told())
        if which == "made"
        else (SHARED / "data/tcga_ct_slices/ID_0002_AGE_0074_CONTRAST_1_CT.dcm").read_bytes()
    )
    _, content = deidentify_file(source, NAMES)
    found = []
    for name, body in (("before.dcm", source), ("after.dcm", content)):
        (tmp_path / name).write_bytes(body)
        said = subprocess.run(["dciodvfy", "-new", str(tmp_path / name)], capture_output=True, text=True, check=False)
        found.append({line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")})
    assert found[1] - found[0] == set()


@needs_shared
def test_real_files_keep_their_pixels_and_lose_their_names() -> None:
    for path in sorted((SHARED / "data" / "covid_ct_slices").glob("*.dcm")):
        _, content = deidentify_file(path, NAMES)
        before, after = read_part10(path, pixels=True), read_part10(content, pixels=True)
        assert after.PixelData == before.PixelData
        for keyword in ("PatientID", "StudyInstanceUID", "StudyDate"):
            assert str(before[keyword].value).encode() not in content, keyword
