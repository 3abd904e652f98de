"""One grid or another: labels fit voxel for voxel or not at all."""

import numpy as np
import pytest

from client.infer.grids import brought_to, grid_name

SHAPE = (4, 5, 6)
TARGET = np.array([[0, 0, 1.5, -80.0], [0, 2.0, 0, -60.0], [5.0, 0, 0, -300.0], [0, 0, 0, 1]])
MASK = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)


def as_nifti(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    affine = TARGET.copy()
    affine[:, :3] = TARGET[:, 2::-1]
    return mask.transpose(2, 1, 0), affine


def test_the_same_grid_in_another_axis_order_fits_exactly() -> None:
    values, affine = as_nifti(MASK)
    assert np.array_equal(brought_to(values, affine, SHAPE, TARGET), MASK)
    flipped = affine.copy()
    flipped[:3, 3] += affine[:3, 1] * (values.shape[1] - 1)
    flipped[:3, 1] *= -1
    assert np.array_equal(brought_to(values[:, ::-1], flipped, SHAPE, TARGET), MASK)


@pytest.mark.parametrize(
    "change",
    [
        lambda affine: affine[0].__setitem__(3, affine[0, 3] + 0.2),
        lambda affine: affine[2].__setitem__(2, affine[2, 2] * 1.05),
        lambda affine: affine[1].__setitem__(0, 0.1),
    ],
)
def test_a_tenth_of_a_voxel_is_another_grid(change: object) -> None:
    values, affine = as_nifti(MASK)
    change(affine)  # type: ignore[operator]
    assert brought_to(values, affine, SHAPE, TARGET) is None


def test_rounding_in_headers_is_forgiven() -> None:
    values, affine = as_nifti(MASK)
    assert brought_to(values, affine.astype(np.float32).astype(float) + 1e-4, SHAPE, TARGET) is not None


def test_a_part_fits_only_where_parts_are_allowed() -> None:
    values, affine = as_nifti(MASK[1:3])
    affine[:3, 3] += TARGET[:3, 0]
    assert brought_to(values, affine, SHAPE, TARGET) is None
    whole = brought_to(values, affine, SHAPE, TARGET, partial=True)
    assert whole is not None
    assert np.array_equal(whole[1:3], MASK[1:3])
    assert not whole[[0, 3]].any()
    affine[:3, 3] += TARGET[:3, 0] * 2
    assert brought_to(values, affine, SHAPE, TARGET, partial=True) is None


def test_names_change_with_the_grid() -> None:
    moved = TARGET.copy()
    moved[0, 3] += 0.001
    names = {grid_name(SHAPE, TARGET), grid_name((4, 5, 7), TARGET), grid_name(SHAPE, moved)}
    assert len(names) == 3
    assert grid_name(np.zeros(SHAPE).shape, TARGET.copy()) in names
