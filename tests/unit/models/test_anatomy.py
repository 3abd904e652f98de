"""Only files that the manifest vouches for teach the shipped weights."""

import hashlib
import json

import nibabel
import numpy as np
import pytest

from models.anatomy import Anatomy, load_anatomy, read_manifest, read_nifti, resample
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.unit.models.grids import SPACING, phantom


def write(folder, name="a.nii.gz", licence="CC BY 4.0", sha256=None, flips=(1, 1, 1)):
    """Write a phantom as NIfTI, its axes stored in the directions of `flips` (x, y, z), and a manifest."""
    hu = phantom(1, 0.0).volume.hu.transpose(2, 1, 0)
    z_mm, y_mm, x_mm = SPACING
    affine = np.diag([-x_mm * flips[0], -y_mm * flips[1], z_mm * flips[2], 1.0])
    stored = hu[:: flips[0], :: flips[1], :: flips[2]]
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(stored), affine), folder / name)
    entry = {
        "file": name,
        "licence": licence,
        "source": "a phantom",
        "sha256": sha256 or hashlib.sha256((folder / name).read_bytes()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps({"volumes": [entry]}))


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_any_stored_direction_reads_the_same(tmp_path, flips):
    write(tmp_path, flips=flips)
    volume = read_nifti(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.hu, phantom(1, 0.0).volume.hu)
    assert volume.spacing_mm == pytest.approx(SPACING)


def test_swapped_axes_read_the_same(tmp_path):
    hu = phantom(1, 0.0).volume.hu  # stored as z, y, x
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = SPACING[0], -SPACING[1], -SPACING[2], 1
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "a.nii.gz")
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz").hu, hu)


def test_a_vouched_volume_comes_with_its_lungs(tmp_path):
    write(tmp_path)
    (anatomy,) = load_anatomy(tmp_path, read_manifest(tmp_path))
    assert anatomy.name == "a"
    truth = phantom(1, 0.0).lungs
    assert np.mean(anatomy.lungs[truth > 0] == truth[truth > 0]) > 0.95


@pytest.mark.parametrize(
    "spoil",
    [
        {"licence": "CC BY-NC 4.0"},
        {"licence": "CC BY-NC-ND 3.0"},
        {"licence": "CC BY-SA 4.0"},
        {"licence": "none stated"},
        {"sha256": "0" * 64},
    ],
)
def test_what_is_not_free_or_not_the_file_is_refused(tmp_path, spoil):
    write(tmp_path, **spoil)
    with pytest.raises(InvalidInputError) as error:
        read_manifest(tmp_path)
    assert error.value.code is Code.BAD_SETTING
    assert "a.nii.gz" in str(error.value)


@pytest.mark.parametrize("lungs_sha256", [None, "0" * 64])
def test_lungs_that_are_not_those_of_the_manifest_are_refused(tmp_path, lungs_sha256):
    write(tmp_path)
    (tmp_path / "lungs.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["volumes"][0] |= {"lungs": "lungs.nii.gz", "lungs_sha256": lungs_sha256}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInputError, match=r"lungs\.nii\.gz is not the file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"volumes": [{"file": "x"}]}'])
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InvalidInputError):
        read_manifest(tmp_path)


def test_resampling_keeps_volume():
    made = phantom(1, 0.0)
    whole = Anatomy("a", made.volume, made.lungs)
    work = resample(whole, pixel_mm=4.0, slab_mm=3.0, margin_mm=20.0)
    before = np.count_nonzero(made.lungs) * made.volume.voxel_ml
    after = np.count_nonzero(work.lungs) * work.volume.voxel_ml
    assert after == pytest.approx(before, rel=0.02)
    assert work.volume.hu.shape[1] < made.volume.hu.shape[1]
