"""A volume is unpacked within its header's bounds, and its coarse copy covers the same space with the same values."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.gateway.voxels import VoxelShelf, unpack
from client.store.coarse import PLANE_MOST, coarse_copy, factors
from protocol.errors import InvalidInputError
from tests.fakes.gateway import asymmetric_volume, write_study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path, shape=(6, 40, 50))
    return tmp_path


def test_voxels_come_as_they_were_written(folder: Path) -> None:
    hu, mask = asymmetric_volume((6, 40, 50))
    ct, labels = unpack(folder / "ct.nii.gz"), unpack(folder / "mask.nii.gz")
    assert np.array_equal(ct.values, hu)
    assert np.array_equal(labels.values, mask)
    assert np.array_equal(ct.affine, np.diag([2.0, 2.0, 3.0, 1.0]))


def test_the_unpacked_copy_has_no_name(folder: Path) -> None:
    before = sorted(folder.iterdir())
    voxels = unpack(folder / "ct.nii.gz")
    assert sorted(folder.iterdir()) == before
    assert voxels.values.flags.writeable is False


def changed(folder: Path, offset: int, kind: str, value: int) -> Path:
    path = folder / "ct.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(kind, content, offset, value)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize(("offset", "value"), [(70, 16), (42, 0), (44, -1), (46, 32767), (42, 32767)])
def test_a_header_that_states_something_else_is_refused(folder: Path, offset: int, value: int) -> None:
    with pytest.raises(InvalidInputError):
        unpack(changed(folder, offset, "<h", value))


def test_no_more_is_unpacked_than_the_header_states(folder: Path) -> None:
    path = folder / "ct.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(50_000_000)))
    assert unpack(path).values.nbytes == 6 * 40 * 50 * 2


def test_a_volume_that_ends_early_is_refused(folder: Path) -> None:
    path = folder / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidInputError):
        unpack(path)


def test_the_shelf_unpacks_once_and_notices_a_new_measurement(folder: Path) -> None:
    shelf = VoxelShelf()
    first = shelf.get(folder / "ct.nii.gz")
    assert shelf.get(folder / "ct.nii.gz") is first
    write_study(folder, shape=(7, 40, 50))
    assert shelf.get(folder / "ct.nii.gz").values.shape == (7, 40, 50)


def test_the_shelf_lets_go_of_the_oldest(tmp_path: Path) -> None:
    shelf = VoxelShelf(most=2)
    for name in "abc":
        write_study(tmp_path / name, shape=(2, 8, 8))
        shelf.get(tmp_path / name / "ct.nii.gz")
    assert [path.parent.name for path, *_ in shelf._kept] == ["b", "c"]


def coarse_of(path: Path, folder: Path) -> Path:
    voxels = unpack(path)
    target = folder / f"coarse-{path.name}"
    target.write_bytes(coarse_copy(voxels.header, voxels.values))
    return target


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 3 * PLANE_MOST), columns=st.integers(1, 3 * PLANE_MOST), slices=st.integers(1, 700)
)  # fmt: skip
def test_the_copy_is_small_whatever_the_volume(rows: int, columns: int, slices: int) -> None:
    step = factors((slices, rows, columns))
    assert max(-(-rows // step[1]), -(-columns // step[2])) <= PLANE_MOST
    assert -(-slices // step[0]) <= 320


def test_a_small_volume_is_its_own_copy(folder: Path) -> None:
    again = unpack(coarse_of(folder / "ct.nii.gz", folder))
    assert np.array_equal(again.values, unpack(folder / "ct.nii.gz").values)


def test_the_copy_covers_the_same_space_with_the_same_mean(tmp_path: Path) -> None:
    write_study(tmp_path, shape=(4, 512, 510))
    full, coarse = unpack(tmp_path / "ct.nii.gz"), unpack(coarse_of(tmp_path / "ct.nii.gz", tmp_path))
    assert coarse.values.shape == (4, 128, 128)
    assert abs(float(coarse.values[:, :, :120].mean()) - float(full.values[:, :, :480].mean())) < 0.5
    centre_of_first = full.affine @ [1.5, 1.5, 0, 1]
    assert np.allclose(coarse.affine @ [0, 0, 0, 1], centre_of_first)
    assert np.allclose(coarse.affine[:3, :3], full.affine[:3, :3] * [4, 4, 1])
    hu, _ = asymmetric_volume((4, 512, 510))
    assert (coarse.values[2, 64, 95] == 900) == (hu[2, 256, 380] == 900)


def test_no_finding_vanishes_from_the_copy_of_a_mask(tmp_path: Path) -> None:
    write_study(tmp_path, shape=(3, 256, 256))
    voxels = unpack(tmp_path / "mask.nii.gz")
    values = np.zeros_like(voxels.values)
    values[1, 100, 201] = 2
    (tmp_path / "coarse.nii.gz").write_bytes(coarse_copy(voxels.header, values))
    coarse = unpack(tmp_path / "coarse.nii.gz").values
    assert np.argwhere(coarse).tolist() == [[1, 50, 100]]
    assert coarse.max() == 2
