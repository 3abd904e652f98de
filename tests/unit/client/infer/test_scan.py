"""One body in many files: the volume that is measured, and masks brought back, must not depend on how it was stored."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from client.infer.nifti import read_mask, read_volume, write_nifti
from client.infer.scan import dicom_scan, read_scan
from protocol.case import QualityFlag
from protocol.codes import Code
from tests.fakes.ct_series import CtSeries
from tests.fakes.outcomes import code_of
from tests.fakes.scans import random_volume
from tests.shared import SHARED, needs_shared

BODY = random_volume(3, (4, 5, 6))
SPACING = (5.0, 2.0, 1.5)
AFFINE_RAS = np.array([[-1.5, 0, 0, 90.0], [0, -2.0, 0, 80.0], [0, 0, 5.0, -300.0], [0, 0, 0, 1]])
"""Of (x, y, z) indices of the body: +x to the left, +y to the back, +z to the head."""


def stored(flips: tuple[int, ...], order: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The body as NIfTI (x, y, z), some axes reversed, then reordered; the affine follows."""
    data, affine = BODY.transpose(2, 1, 0), AFFINE_RAS.copy()
    for axis in flips:
        data = np.flip(data, axis)
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
    reordered = affine.copy()
    reordered[:, :3] = affine[:, list(order)]
    return np.ascontiguousarray(data.transpose(order)), reordered


CASES = [
    (flips, order) for flips in ((), (0,), (1,), (2,), (0, 1), (0, 1, 2)) for order in itertools.permutations(range(3))
]


@pytest.mark.parametrize(("flips", "order"), CASES)
def test_any_nifti_orientation_gives_one_volume_and_masks_go_home(
    tmp_path: Path, flips: tuple[int, ...], order: tuple[int, ...]
) -> None:
    data, affine = stored(flips, order)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(Nifti1Image(data, affine), path)
    scan = read_scan(path)
    assert np.array_equal(scan.volume.hu, BODY)
    assert scan.volume.spacing_mm == pytest.approx(SPACING)
    mask = (scan.volume.hu > 0).astype(np.uint8)
    scan.write_on_own_grid(tmp_path / "mask.nii.gz", mask)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), data > 0)
    assert np.allclose(written.affine, affine, atol=1e-4)


@pytest.mark.parametrize(
    "orientation", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0)]
)
def test_dicom_and_nifti_of_one_body_agree(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    series = CtSeries(hu=BODY, orientation=orientation, step_mm=5.0, pixel_mm=(2.0, 1.5))
    scan = dicom_scan(series.write(tmp_path / "dicom"))
    mask = (scan.volume.hu > 0).astype(np.uint8)
    scan.write_on_own_grid(tmp_path / "mask.nii.gz", mask)
    values, affine = read_mask(tmp_path / "mask.nii.gz", most=1)
    for index in np.ndindex(BODY.shape):
        k, row, column = index
        place = series.position(k) + 2.0 * row * np.array(orientation[3:]) + 1.5 * column * np.array(orientation[:3])
        home = np.rint(np.linalg.inv(affine) @ [*place, 1.0]).astype(int)[:3]
        assert values[tuple(home)] == (BODY[index] > 0)


def test_nifti_oddities(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    floats = BODY.transpose(2, 1, 0).astype(np.float32)
    floats[0, 0, 0] = np.nan
    nibabel.save(Nifti1Image(floats, AFFINE_RAS), path)
    values, _ = read_volume(path)
    assert values[0, 0, 0] == -2048
    nibabel.save(Nifti1Image(floats[..., None], AFFINE_RAS), path)
    assert read_volume(path)[0].shape == floats.shape
    nibabel.save(Nifti1Image(np.stack([floats, floats], axis=-1), AFFINE_RAS), path)
    assert code_of(lambda: read_volume(path)) is Code.MIXED_GEOMETRY
    sheared = AFFINE_RAS.copy()
    sheared[1, 2] = 3.0
    nibabel.save(Nifti1Image(floats, sheared), path)
    assert code_of(lambda: read_scan(path)) is Code.GANTRY_TILT
    nibabel.save(Nifti1Image(floats, np.diag([500.0, 1.0, 1.0, 1.0])), path)
    assert code_of(lambda: read_scan(path)) is Code.UNREADABLE


@pytest.mark.parametrize("cut", [0.2, 0.9])
def test_truncated_nifti_is_unreadable(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "x.nii.gz"
    write_nifti(path, np.zeros((20, 20, 20), np.int16) + random_volume(1, (20, 20, 20)), np.eye(4))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    assert code_of(lambda: read_scan(path)) is Code.UNREADABLE


def test_a_header_that_claims_the_moon_is_refused_before_reading(tmp_path: Path) -> None:
    image = Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header["dim"][1:4] = 32_000
    raw = bytearray(Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes())
    raw[40:56] = bytes(image.header["dim"])
    path = tmp_path / "moon.nii"
    path.write_bytes(raw)
    assert code_of(lambda: read_scan(path)) is Code.UNREADABLE


def test_thick_and_unknown_are_flagged(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    nibabel.save(Nifti1Image(BODY.transpose(2, 1, 0), AFFINE_RAS), path)
    assert read_scan(path).flags == (QualityFlag.THICK_SLICES, QualityFlag.UNKNOWN_ACQUISITION)


def test_a_gap_can_be_allowed_and_its_masks_fit_the_bridged_grid(tmp_path: Path) -> None:
    paths = CtSeries(hu=random_volume(1, (9, 5, 6)), step_mm=5.0).write(tmp_path / "dicom")
    del paths[4]
    assert code_of(lambda: read_scan(tmp_path / "dicom")) is None, "the folder is whole"
    scan = dicom_scan(paths, allow_gaps=True)
    assert scan.volume.hu.shape[0] == 9
    assert QualityFlag.GAP_ALLOWED in scan.flags


@needs_shared
def test_the_ricord_series_is_read_whole() -> None:
    scan = read_scan(SHARED / "data" / "ct_dicom" / "ricord1a_000082_part_dicom.zip")
    assert scan.volume.hu.shape == (84, 512, 512)
    assert scan.volume.spacing_mm == pytest.approx((1.25, 0.703, 0.703), abs=1e-3)
    assert scan.volume.hu.min() == -2048
    assert scan.series["slices"] == 84


@needs_shared
def test_lps_and_las_files_of_real_scans_turn_the_right_way() -> None:
    """In every real chest the spine is at the back and the table below it: the back half holds more bone."""
    for name in ("imlab1", "imlab2", "covidctmd_P002", "lidc_0003"):
        hu = read_scan(SHARED / "data" / "ct_nifti" / f"{name}.nii.gz").volume.hu
        middle = hu[hu.shape[0] // 3 : 2 * hu.shape[0] // 3, :, hu.shape[2] // 3 : 2 * hu.shape[2] // 3]
        front, back = np.array_split(middle > 250, 2, axis=1)
        assert back.sum() > front.sum(), name
