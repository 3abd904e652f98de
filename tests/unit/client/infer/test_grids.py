"""One grid or another: labels fit voxel for voxel or not at all."""

import numpy as np
import pytest

from client.infer.grids import brought_to, grid_name, resampled
from client.store.records import Loss

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


# Only where a person asks: the nearest voxel, and what that costs.


def ball(shape: tuple[int, int, int], spacing: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """A ball of label 1 in the middle of a grid, with a core of label 2."""
    z, y, x = (
        (np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)
    )  # fmt: skip
    distance = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
    return (distance < radius_mm).astype(np.uint8) + (distance < radius_mm / 2).astype(np.uint8)


def affine_of(spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """(Z, Y, X) to LPS, the middle of the grid at the origin of the world."""
    affine = np.zeros((4, 4))
    for axis, (n, mm) in enumerate(zip(shape, spacing, strict=True)):
        affine[2 - axis, axis] = mm
        affine[2 - axis, 3] = -(n - 1) / 2 * mm
    affine[3, 3] = 1
    return affine


FINE, COARSE = ((60, 60, 60), (1.0, 1.0, 1.0)), ((12, 60, 60), (5.0, 1.0, 1.0))


@pytest.mark.parametrize(("source", "target"), [(FINE, COARSE), (COARSE, FINE), (FINE, FINE)])
def test_resampling_agrees_with_simpleitk(source: tuple, target: tuple) -> None:
    """The second opinion: the same grids and the same rule in another program."""
    import SimpleITK as sitk  # noqa: N813 - as its own pages write it

    (shape, spacing), (goal, goal_mm) = source, target
    mask, own, there = ball(shape, spacing, 20), affine_of(spacing, shape), affine_of(goal_mm, goal)
    found, _ = resampled(mask, own, goal, there)

    def image(array: np.ndarray, affine: np.ndarray, mm: tuple[float, float, float]) -> sitk.Image:
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing(mm[::-1])
        picture.SetOrigin([float(n) for n in affine[:3, 3]])
        return picture

    reference = image(np.zeros(goal, np.uint8), there, goal_mm)
    other = sitk.Resample(image(mask, own, spacing), reference, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.mean(found == sitk.GetArrayFromImage(other)) > 0.999, "they may differ where a voxel lies half-way"


def test_the_same_grid_loses_nothing_and_a_turned_one_neither() -> None:
    shape, spacing = FINE
    mask, affine = ball(shape, spacing, 20), affine_of(spacing, shape)
    flipped = affine.copy()
    flipped[2, 0], flipped[2, 3] = -1.0, affine[2, 3] + shape[0] - 1
    for given, own in ((mask, affine), (mask[::-1], flipped), (mask.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])):
        found, loss = resampled(given, own, shape, affine)
        assert np.array_equal(found, mask)
        assert loss == Loss(dice=1.0, volume_ratio=1.0, outside_fraction=0.0)


def test_a_finer_grid_keeps_and_a_coarser_one_loses() -> None:
    finer = resampled(ball(*COARSE, 20), affine_of(COARSE[1], COARSE[0]), FINE[0], affine_of(FINE[1], FINE[0]))[1]
    coarser = resampled(ball(*FINE, 20), affine_of(FINE[1], FINE[0]), COARSE[0], affine_of(COARSE[1], COARSE[0]))[1]
    assert finer.dice == 1.0
    assert 0.85 < coarser.dice < 1.0
    assert coarser.volume_ratio == pytest.approx(1, abs=0.05)
    small = resampled(ball(*FINE, 3), affine_of(FINE[1], FINE[0]), COARSE[0], affine_of(COARSE[1], COARSE[0]))[1]
    assert small.dice < coarser.dice, "small lesions lose most"


def test_what_lies_outside_is_counted() -> None:
    shape, spacing = FINE
    mask, affine = np.ones(shape, np.uint8), affine_of(spacing, shape)
    half = affine.copy()
    half[0, 3] += 30
    _, loss = resampled(mask, half, shape, affine)
    assert loss.outside_fraction == pytest.approx(0.5)
    assert loss.volume_ratio == pytest.approx(0.5)


def test_an_empty_mask_loses_nothing() -> None:
    shape, spacing = FINE
    found, loss = resampled(
        np.zeros(shape, np.uint8), affine_of(spacing, shape), *(COARSE[0], affine_of(COARSE[1], COARSE[0]))
    )
    assert not found.any()
    assert loss == Loss(dice=1.0, volume_ratio=1.0, outside_fraction=0.0)
