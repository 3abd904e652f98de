"""SEG and SR: valid by a foreign checker, true to the mask and the numbers, readable by a foreign reader."""

import json
import shutil
import subprocess
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from pydicom.dataset import Dataset

from client.infer.outputs import dicom_objects, write_outputs
from client.infer.quantify import Result, measure_scan
from client.infer.scan import dicom_scan
from client.report.seg import make_segmentation
from client.report.sr import make_report
from client.store.part10 import as_part10, read_part10
from tests.fakes.ct_series import CtSeries, as_bytes
from tests.fakes.scans import chest_series, untrained

CHECKER = shutil.which("dciodvfy")
FEET_UP = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.2)), float(np.sin(0.2)))


def measured(series: CtSeries, *, skip: tuple[int, ...] = ()) -> Result:
    contents = [as_bytes(dataset) for index, dataset in enumerate(series.datasets()) if index not in skip]
    return measure_scan(dicom_scan(contents, allow_gaps=True), untrained, device="cpu")


@cache
def usual() -> Result:
    return measured(chest_series())


def objects(result: Result) -> tuple[Dataset, Dataset]:
    files = dicom_objects(result)
    return pydicom.dcmread(BytesIO(files["seg.dcm"])), pydicom.dcmread(BytesIO(files["sr.dcm"]))


def mask_of(segmentation: Dataset, source_uids: list[str]) -> np.ndarray:
    """Read the frames back by hand: bits, segment number, and the source image that each frame names."""
    frames = segmentation.pixel_array
    out = np.zeros((len(source_uids), *frames.shape[1:]), np.uint8)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        out[source_uids.index(source)][frame > 0] = number
    return out


@pytest.mark.parametrize("reverse", [False, True])
def test_every_frame_lies_on_its_slice(reverse: bool) -> None:
    series = chest_series(orientation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)) if reverse else chest_series()
    result = measured(series) if reverse else usual()
    segmentation, _ = objects(result)
    stack = result.scan.stack
    assert stack is not None
    expected = result.scan.on_own_grid(result.measurement.opacity)
    assert np.array_equal(mask_of(segmentation, [one.instance_uid for one in stack.slices]), expected)
    assert int(segmentation.NumberOfFrames) == 2 * len(stack.slices), "empty frames are kept"


def test_bridged_slices_have_no_frame() -> None:
    result = measured(chest_series(), skip=(7,))
    segmentation, _ = objects(result)
    assert int(segmentation.NumberOfFrames) == 2 * 15
    assert result.scan.volume.hu.shape[0] == 16


def test_codes_are_standard() -> None:
    segmentation, _ = objects(usual())
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in segmentation.SegmentSequence]
    assert [(kind.CodeValue, kind.CodingSchemeDesignator) for kind in kinds] == [("112120", "DCM"), ("95436008", "SCT")]
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "ggo@0"


def test_the_report_says_the_numbers_the_flags_and_the_banner() -> None:
    result = usual()
    _, report = objects(result)
    parsed = highdicom.sr.ComprehensiveSR.from_dataset(report)
    groups = parsed.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["Both lungs", "right lung", "left lung"]
    values = {m.name.value: (m.value, m.unit.value) for m in groups[0].get_measurements()}
    document = result.document
    assert values["112120"] == (pytest.approx(100 * document["ggo_fraction"], abs=0.006), "%")
    assert values["118565006"] == (pytest.approx(document["lung_volume_ml"], abs=0.06), "mL")
    assert values["246112005"][0] == document["severity"]["score"]
    flags = [item.value.meaning for item in groups[0].get_qualitative_evaluations()]
    assert flags == [flag.replace("-", " ") for flag in document["quality"]]
    assert any("Measurement aid, not a diagnosis" in str(element.value) for element in report.iterall())


def test_the_report_says_how_sure_the_opacity_is() -> None:
    """Ranges above and below (TID 310), in the unit of the measurement, on the opacity of both lungs alone."""
    document = usual().document
    low, high = document["opacity_interval"]
    _, report = objects(usual())
    ranges = {}
    for group in highdicom.sr.ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups():
        for measurement in group.get_measurements():
            for item in measurement[0].get("ContentSequence", []):
                if item.RelationshipType == "HAS PROPERTIES":
                    (said,) = item.MeasuredValueSequence
                    (unit,), (name,) = said.MeasurementUnitsCodeSequence, item.ConceptNameCodeSequence
                    place = (group.tracking_identifier, measurement.name.value, name.CodeValue)
                    ranges[place] = (float(said.NumericValue), unit.CodeValue)
    above, below = high - document["opacity_fraction"], document["opacity_fraction"] - low
    assert ranges == {
        ("Both lungs", "112001", "371886008"): (pytest.approx(100 * above, abs=0.006), "%"),
        ("Both lungs", "112001", "371885007"): (pytest.approx(100 * below, abs=0.006), "%"),
    }


def test_the_report_points_at_slices_and_segmentation() -> None:
    segmentation, report = objects(usual())
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    classes = {item.ReferencedSOPSequence[0].ReferencedSOPClassUID for item in series}
    assert segmentation.SOPClassUID in classes
    assert len(classes) == 2


@pytest.mark.skipif(shutil.which("dcm2json") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize(
    "changes", [{}, {"orientation": FEET_UP}, {"orientation": OBLIQUE}], ids=["usual", "feet", "oblique"]
)
def test_foreign_readers_find_the_same_mask_in_the_same_place(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Pixels as GDCM decodes them (in ITK), geometry and segments as dcmtk parses them."""
    result = measured(chest_series(**changes)) if changes else usual()
    path = tmp_path / "seg.dcm"
    path.write_bytes(dicom_objects(result)["seg.dcm"])
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
    said = json.loads(subprocess.run(["dcm2json", str(path)], capture_output=True, check=True).stdout)
    (shared,), own = said["52009229"]["Value"], said["52009230"]["Value"]
    assert result.scan.stack is not None
    affine, mask = result.scan.stack.affine, result.scan.on_own_grid(result.measurement.opacity)
    across, down = np.reshape(_of(shared, "00209116", "00200037"), (2, 3))
    row_mm, column_mm = _of(shared, "00289110", "00280030")
    assert np.allclose(affine[:3, 1:3].T, [down * row_mm, across * column_mm], atol=1e-4)
    assert _of(shared, "00289110", "00180088") == [pytest.approx(np.linalg.norm(affine[:3, 0]), abs=1e-4)]
    seen = set()
    for frame, groups in zip(frames, own, strict=True):
        position, (number,) = _of(groups, "00209113", "00200032"), _of(groups, "0062000A", "0062000B")
        slot, *inside = np.linalg.solve(affine, [*position, 1.0])[:3]
        assert (inside, slot) == (pytest.approx([0, 0], abs=1e-3), pytest.approx(round(slot), abs=1e-3))
        assert np.array_equal(frame, mask[round(slot)] == number)
        seen.add((round(slot), number))
    assert len(seen) == 2 * len(mask)


def _of(groups: dict[str, Any], sequence: str, tag: str) -> list[Any]:
    """The values of an attribute in a functional group (DICOM JSON)."""
    return list(groups[sequence]["Value"][0][tag]["Value"])


NAMES = [
    ("", "CANARY^NAME"), ("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Ωμέγα^漢字"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"), (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东"), ("ISO_IR 144", "Люкceмбypг"), ("NO SUCH SET", "CANARY^NAME"),
]  # fmt: skip


@pytest.mark.parametrize(("character_set", "name"), NAMES)
def test_names_in_any_writing_reach_the_objects(character_set: object, name: str) -> None:
    """The report must find its patient in the PACS again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom on the set that does not exist
        series = chest_series(header={"SpecificCharacterSet": character_set, "PatientName": name})
        headers = [read_part10(as_bytes(dataset), pixels=False) for dataset in series.datasets()]
    mask = usual().scan.on_own_grid(usual().measurement.opacity)
    segmentation = make_segmentation(headers, mask, release="ggo@0", software="1")
    report = make_report(headers, segmentation, usual().document, software="1")
    for written in (segmentation, report):
        one = pydicom.dcmread(BytesIO(as_part10(written)))
        assert str(one.PatientName) == name
        assert one.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.skipif(CHECKER is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"AccessionNumber": None, "StudyID": None, "PositionReferenceIndicator": None, "FrameOfReferenceUID": None},
        {"ClinicalTrialSubjectID": "", "ClinicalTrialProtocolID": "X"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    ],
)
def test_a_foreign_checker_finds_no_error(tmp_path: Path, changes: dict[str, object]) -> None:
    result = usual() if not changes else measured(chest_series(header=changes))
    for name, content in dicom_objects(result).items():
        path = tmp_path / name
        path.write_bytes(content)
        said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
        assert errors == [], name


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_the_report(tmp_path: Path) -> None:
    write_outputs(usual(), tmp_path)
    said = subprocess.run(["dsrdump", str(tmp_path / "sr.dcm")], capture_output=True, text=True, check=True)
    assert "Ground glass opacity" in said.stdout
    assert "Imaging Measurement Report" in said.stdout
