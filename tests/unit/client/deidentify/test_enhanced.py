"""A multi-frame CT that another library made of slices: its functional groups keep geometry and dates, and lose names."""

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import dcmread
from pydicom.dataset import FileDataset

from client.deidentify.export import deidentify_file
from client.deidentify.pseudonyms import Pseudonyms
from client.deidentify.values import shifted
from tests.fakes.ct_series import as_bytes, plain_series

NAMES = Pseudonyms(b"k" * 32)
CANARY = "Wexelblatt"

pytestmark = pytest.mark.filterwarnings("ignore")


def enhanced() -> FileDataset:
    slices = list(plain_series(3).datasets())
    for index, one in enumerate(slices):
        one.AcquisitionDate, one.AcquisitionTime, one.Laterality, one.RescaleType = (
            "20260112",
            f"10150{index}",
            "",
            "HU",
        )
        one.ImageComments = f"{CANARY} moved {index}"
        one.PatientOrientation, one.DeviceSerialNumber, one.SoftwareVersions = ["L", "P"], CANARY, "VB20A"
        one.ManufacturerModelName, one.BodyPartExamined = "SOMATOM Force", "CHEST"
    made = LegacyConvertedEnhancedCTImage(
        legacy_datasets=slices,
        series_instance_uid="1.2.3.77",
        series_number=9,
        sop_instance_uid="1.2.3.78",
        instance_number=1,
    )
    made.PatientName = f"{CANARY}^Jane"
    for frame in made.PerFrameFunctionalGroupsSequence:
        frame.FrameContentSequence[0].FrameComments = frame.FrameContentSequence[0].FrameLabel = f"{CANARY} moved"
    return made


def test_every_frame_keeps_its_place_and_loses_its_words() -> None:
    source = enhanced()
    content = deidentify_file(as_bytes(source), NAMES)[1]
    after = dcmread(BytesIO(content))
    assert CANARY.encode() not in content
    assert len(after.PerFrameFunctionalGroupsSequence) == 3
    days = NAMES.shift_days(str(source.PatientID))
    for before, frame in zip(
        source.PerFrameFunctionalGroupsSequence, after.PerFrameFunctionalGroupsSequence, strict=True
    ):
        position = [one.PlanePositionSequence[0].ImagePositionPatient for one in (before, frame)]
        assert position[0] == position[1]
        moment = [one.FrameContentSequence[0].FrameAcquisitionDateTime for one in (before, frame)]
        assert moment[1] == shifted(str(moment[0]), days)
        reference = [one.ConversionSourceAttributesSequence[0].ReferencedSOPInstanceUID for one in (before, frame)]
        assert reference[1] == NAMES.uid(reference[0]), "it leads to the copy of the slice"
    assert after.PixelData == source.PixelData
    assert (after.DeviceSerialNumber, after.SoftwareVersions) == ("REMOVED", "VB20A")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_it_is_as_valid_as_it_was(tmp_path: Path) -> None:
    source = as_bytes(enhanced())
    found = []
    for content in (source, deidentify_file(source, NAMES)[1]):
        (tmp_path / "checked.dcm").write_bytes(content)
        said = subprocess.run(
            ["dciodvfy", "-new", str(tmp_path / "checked.dcm")], capture_output=True, text=True, check=False
        )
        found.append({line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")})
    assert found[1] - found[0] == set()
