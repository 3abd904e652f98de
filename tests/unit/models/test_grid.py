"""Grids keep place and mass, there and back."""

import numpy as np
import pytest
import torch

from models.grid import (
    box_around,
    coarse_spacing,
    from_slabs,
    grid_over,
    labels_to_slabs,
    pad_to,
    to_slabs,
    whole,
)
from models.volume import Volume


def ramp(shape=(7, 12, 18), spacing=(1.0, 0.8, 0.8)):
    hu = np.add.outer(np.add.outer(np.arange(shape[0]) * 30, np.arange(shape[1]) * 5), np.arange(shape[2]) * 2) - 500
    return Volume(hu.astype(np.int16), spacing)


def test_thin_slices_become_slabs_of_at_most_three_millimetres():
    assert grid_over(whole((9, 4, 4)), (1.0, 1.0, 1.0), pixel_mm=1.0).slices_per_slab == 3
    assert grid_over(whole((9, 4, 4)), (1.25, 1.0, 1.0), pixel_mm=1.0).slices_per_slab == 2
    assert grid_over(whole((9, 4, 4)), (5.0, 1.0, 1.0), pixel_mm=1.0).slices_per_slab == 1


def test_slabs_are_means_and_the_last_may_be_thin():
    volume = ramp()
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=0.8)
    slabs = to_slabs(volume, grid).numpy()
    assert grid.slabs == len(slabs) == 3
    for index, (a, b) in enumerate(((0, 3), (3, 6), (6, 7))):
        assert np.allclose(slabs[index], volume.hu[a:b].mean(axis=0))


def test_coarser_pixels_keep_the_mean_and_the_slope():
    volume = ramp((1, 24, 36))
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=1.6)
    slab = to_slabs(volume, grid).numpy()[0]
    assert slab.shape == (12, 18)
    assert slab.mean() == pytest.approx(volume.hu.mean(), abs=1.0)
    assert np.diff(slab, axis=1)[3:-3, 3:-3] == pytest.approx(4.0, abs=0.1)
    assert coarse_spacing(grid, volume.spacing_mm) == pytest.approx((1.0, 1.6, 1.6))


def test_padding_below_air_does_not_darken_its_neighbours():
    hu = np.full((1, 8, 8), -3024, np.int16)
    volume = Volume(hu, (1.0, 1.0, 1.0))
    assert float(to_slabs(volume, grid_over(whole(hu.shape), (1.0, 1.0, 1.0), pixel_mm=2.0)).min()) >= -1024


def test_labels_take_the_commonest_class():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, :2] = 1
    labels[:, 2:, :2] = 2
    grid = grid_over(whole(labels.shape), (1.5, 1.0, 1.0), pixel_mm=2.0)
    assert labels_to_slabs(labels, grid, classes=3).tolist() == [[[1, 1], [2, 0]]]


def test_from_slabs_puts_values_back_where_they_were():
    volume = ramp((6, 10, 14), (1.5, 1.0, 1.0))
    box = (slice(1, 6), slice(2, 10), slice(4, 14))
    grid = grid_over(box, volume.spacing_mm, pixel_mm=1.0)
    slabs = to_slabs(volume, grid)[:, None]
    back = list(from_slabs(slabs, grid))
    assert [span for span, _ in back] == [slice(1, 3), slice(3, 5), slice(5, 6)]
    expected = (volume.hu[1].astype(float) + volume.hu[2]) / 2
    assert np.allclose(back[0][1][0], expected[2:10, 4:14])
    assert np.allclose(back[2][1][0], volume.hu[5, 2:10, 4:14])
    ((span, values),) = from_slabs(slabs, grid, only=torch.tensor([False, True, False]))
    assert span == slice(3, 5)
    assert np.array_equal(values, back[1][1])


def test_upsampling_a_disc_keeps_its_area_and_centre():
    y, x = np.mgrid[:64, :64]
    disc = (((y - 40) ** 2 + (x - 20) ** 2) < 14**2).astype(np.int16)
    volume = Volume(disc[None] * np.int16(1000), (1.0, 1.0, 1.0))
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=2.5)
    ((_, back),) = from_slabs(to_slabs(volume, grid)[:, None], grid)
    found = back[0] >= 500
    assert found.sum() == pytest.approx(disc.sum(), rel=0.03)
    assert np.argwhere(found).mean(axis=0) == pytest.approx((40, 20), abs=0.3)


def test_box_around_widens_in_plane_only():
    mask = np.zeros((5, 40, 40), np.bool_)
    mask[2, 10:20, 12:14] = True
    z, y, x = box_around(mask, (2.0, 1.0, 2.0), margin_mm=4.0)
    assert (z, y, x) == (slice(2, 3), slice(6, 24), slice(10, 16))


def test_box_around_nothing_is_everything():
    assert box_around(np.zeros((2, 3, 4), np.bool_), (1.0, 1.0, 1.0), margin_mm=1.0) == whole((2, 3, 4))


def test_padding_goes_to_the_ends():
    padded = pad_to(torch.ones(1, 17, 32), 16, fill=-1.0)
    assert padded.shape == (1, 32, 32)
    assert float(padded[0, 16].min()) == 1.0
    assert float(padded[0, 17:].max()) == -1.0
