"""Geometry and voxel values against SimpleITK (ITK's own reader), for every real series that we read and for made-up ones of every kind.

ITK stores an image as (x, y, z) with x along a row; our stack is (slot, row, column). Corners are compared in patient coordinates, and
values voxel by voxel after the one thing that we do on purpose: what no tissue has becomes air or padding (`pixels.to_hu`).
"""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everybody calls it
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from client.infer.pixels import fill, to_hu
from client.infer.scan import read_scan
from client.infer.series import choose
from client.infer.source import dicom_files
from client.infer.stack import Stack
from tests.fakes.ct_series import CtSeries, as_bytes
from tests.fakes.outcomes import code_of
from tests.fakes.scans import random_volume
from tests.shared import SHARED, needs_shared
from tests.unit.client.infer.test_slices import enhanced

OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.3)), float(np.sin(0.3)))
TWICE_OBLIQUE = (0.96, 0.28, 0.0, -0.28 * 0.8, 0.96 * 0.8, 0.6)
FEET_UP = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)


def itk_of(files: list[Path]) -> sitk.Image:
    """Read files as ITK does; several in the order of its own sorting by position."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 - ITK names no argument
    if len(files) == 1:
        return sitk.ReadImage(str(files[0]))
    reader = sitk.ImageSeriesReader()
    folder = files[0].parent
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def require_same(stack: Stack, image: sitk.Image) -> None:
    """Compare corners in patient coordinates and voxels; ITK may have counted the slices from the other end."""
    theirs = sitk.GetArrayFromImage(image)
    theirs = theirs if theirs.ndim == 3 else theirs[None]
    assert theirs.shape == stack.shape
    corners = [[n * (size - 1) for n, size in zip(index, stack.shape, strict=True)] for index in np.ndindex(2, 2, 2)]
    places = {tuple(np.round((stack.affine @ [*corner, 1.0])[:3], 2)): corner for corner in corners}
    flipped = False
    for corner in corners:
        point = image.TransformIndexToPhysicalPoint([int(n) for n in corner[::-1]][: image.GetDimension()])
        nearest = min(places, key=lambda place: float(np.linalg.norm(np.subtract(place, point))))
        assert np.allclose(nearest, point, atol=0.05)
        own = places[nearest]
        assert own[1:] == corner[1:], "rows and columns run the same way"
        flipped = own[0] != corner[0]
    spacing = np.linalg.norm(stack.affine[:3, :3], axis=0)[::-1]
    known = (
        slice(None) if stack.depth > 1 else slice(2)
    )  # how thick a single slice is, nobody can tell from its position
    assert np.allclose(spacing[known], image.GetSpacing()[known], atol=1e-3)
    assert np.allclose((stack.affine[:3, :3] / spacing[::-1])[:, ::-1], _directions(image, flipped=flipped), atol=1e-3)
    expected = to_hu(np.rint(theirs).astype(np.int32), slope=1.0, intercept=0.0, padding=None)
    assert np.array_equal(fill(stack), expected[::-1] if flipped else expected)


def _directions(image: sitk.Image, *, flipped: bool) -> NDArray[np.float64]:
    matrix = np.array(image.GetDirection()).reshape(image.GetDimension(), image.GetDimension())
    matrix[:, 2] *= -1 if flipped else 1
    return matrix


def per_slice(index: int) -> dict[str, Any]:
    """Slope and intercept as PET-CT scanners and some CTs choose them: anew for each slice."""
    return {"RescaleSlope": 1 + index % 2, "RescaleIntercept": -1024 - 10 * index}


HU = random_volume(4, (7, 12, 10))

SERIES: dict[str, CtSeries] = {
    "plain": CtSeries(hu=HU),
    "feet first": CtSeries(hu=HU, orientation=FEET_UP),
    "prone": CtSeries(hu=HU, orientation=PRONE),
    "turned": CtSeries(hu=HU, orientation=TURNED),
    "oblique": CtSeries(hu=HU, orientation=OBLIQUE),
    "twice oblique": CtSeries(hu=HU, orientation=TWICE_OBLIQUE),
    "from the head down": CtSeries(hu=HU, step_mm=-5.0, header={"SliceThickness": 5.0}),
    "pixels that are no squares": CtSeries(hu=HU, pixel_mm=(1.5, 0.75)),
    "thin": CtSeries(hu=HU, step_mm=0.625),
    "unsigned": CtSeries(hu=HU, header={"PixelRepresentation": 0}),
    "a large intercept": CtSeries(hu=HU, intercept=-8192, header={"PixelRepresentation": 0}),
    "12 bits": CtSeries(hu=HU, header={"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}),
    "far from the isocentre": CtSeries(hu=HU, origin_mm=(512.25, -1033.5, 2750.125)),
}


@pytest.mark.parametrize("series", SERIES.values(), ids=SERIES.keys())
def test_a_series_lies_where_itk_says(tmp_path: Path, series: CtSeries) -> None:
    files = series.write(tmp_path / "in")
    require_same(choose(files).stack, itk_of(files))


def test_rescale_is_each_slices_own(tmp_path: Path) -> None:
    series = CtSeries(hu=HU)
    files = []
    for index in range(len(HU)):
        files.append(tmp_path / f"{index}.dcm")
        files[-1].write_bytes(as_bytes(series.dataset(index, **per_slice(index))))
    stack = choose(files).stack
    one_by_one = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(one.content)))[0] for one in stack.slices])
    assert np.array_equal(
        fill(stack), to_hu(np.rint(one_by_one).astype(np.int32), slope=1.0, intercept=0.0, padding=None)
    )
    assert len({(one.slope, one.intercept) for one in stack.slices}) > 3


def packed(dataset: FileDataset, syntax: str) -> FileDataset:
    if syntax in {RLELossless, JPEGLSLossless}:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless],
    ids=lambda uid: uid.name,
)
def test_every_syntax_that_is_written_here(tmp_path: Path, syntax: str) -> None:
    series, files = CtSeries(hu=HU), []
    for index in range(len(HU)):
        files.append(tmp_path / f"{index}.dcm")
        files[-1].write_bytes(as_bytes(packed(series.dataset(index), syntax)))
    require_same(choose(files).stack, itk_of(files))


def test_big_endian(tmp_path: Path) -> None:
    dataset = CtSeries(hu=HU).dataset(0)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    plain = tmp_path / "big.dcm"
    dcmwrite(plain, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    require_same(choose([plain]).stack, itk_of([plain]))


def test_bits_above_the_stored_ones_are_not_the_image(tmp_path: Path) -> None:
    """Old scanners kept overlays there (PS3.5 section 8.1.2)."""
    series, files = CtSeries(hu=HU), []
    for index in range(len(HU)):
        dataset = series.dataset(index, BitsStored=12, HighBit=11, PixelRepresentation=0)
        stored = np.frombuffer(dataset.PixelData, "<u2") | np.uint16(0xA000)
        dataset.PixelData = stored.tobytes()
        files.append(tmp_path / f"{index}.dcm")
        files[-1].write_bytes(as_bytes(dataset))
    stack = choose(files).stack
    assert np.array_equal(fill(stack), to_hu(HU.astype(np.int32), slope=1.0, intercept=0.0, padding=None))
    require_same(stack, itk_of(files))


def test_an_enhanced_object_lies_where_itk_says(tmp_path: Path) -> None:
    path = tmp_path / "enhanced.dcm"
    with disable_value_validation():
        path.write_bytes(as_bytes(enhanced()))
    require_same(choose([path]).stack, sitk.ReadImage(str(path)))


# Real files.


def real_series() -> list[Path]:
    data = SHARED / "data"
    if not data.is_dir():
        return []
    found = sorted(data.glob("dicom_stress/*.dcm")) + sorted(data.glob("*_ct_slices/*.dcm"))
    return [*found, *sorted(data.glob("ct_dicom/*.zip")), *sorted(data.glob("dicom_stress/*.zip"))]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("unpacked")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@needs_shared
def test_real_dicom_lies_where_itk_says(unpacked: Path) -> None:
    compared, refused = [], {}
    for path in real_series():
        source = path
        if path.suffix == ".zip":
            source = unpacked / path.stem
            with zipfile.ZipFile(path) as archive:
                archive.extractall(source)
        code = code_of(lambda source=source: read_scan(source))
        if code is not None:
            refused[path.name] = code.value
            continue
        stack = choose(dicom_files(source)).stack
        files = sorted({one.content for one in stack.slices if isinstance(one.content, Path)})
        require_same(stack, itk_of(files))
        compared.append(path.name)
    assert len(compared) >= 30, refused
    assert "ricord1a_000082_part_dicom.zip" in compared
    assert "acrin013_axial.zip" in compared


@needs_shared
@pytest.mark.parametrize("name", ["imlab1", "cip_ct64", "covidctmd_P002", "lungdx_A0001", "lidc_0003"])
def test_real_nifti_lies_where_itk_says(name: str) -> None:
    path = SHARED / "data" / "ct_nifti" / f"{name}.nii.gz"
    scan, image = read_scan(path), sitk.ReadImage(str(path))
    theirs = sitk.GetArrayFromImage(image)
    chance = np.random.default_rng(1)
    for _ in range(200):
        index = [int(chance.integers(size)) for size in theirs.shape]  # (z, y, x) of ITK
        point = image.TransformIndexToPhysicalPoint(index[::-1])
        own = np.rint(np.linalg.inv(scan.affine) @ [*point, 1.0]).astype(int)[:3]
        expected = to_hu(np.array([round(float(theirs[tuple(index)]))]), slope=1.0, intercept=0.0, padding=None)[0]
        assert scan.volume.hu[tuple(own)] == expected
    spacing = np.sort(scan.volume.spacing_mm)
    assert np.allclose(spacing, np.sort(image.GetSpacing()), atol=1e-3)
