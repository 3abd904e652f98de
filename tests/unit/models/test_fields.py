"""Random fields vary over millimetres, not over voxels; blurring is a Gaussian."""

import numpy as np
import pytest
from scipy import ndimage

from models.fields import blur, smooth_noise


def test_blur_agrees_with_scipy():
    field = np.random.default_rng(0).standard_normal((9, 12, 15)).astype(np.float32)
    mine = blur(field, (1.0, 2.0, 3.0), (1.0, 1.5, 2.0))
    theirs = ndimage.gaussian_filter(field, (1.0, 2.0 / 1.5, 1.5), mode="nearest", truncate=3.0)
    assert np.abs(mine - theirs).max() < 1e-5


def test_blur_of_nothing_changes_nothing():
    field = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(blur(field, 0.0, (1.0, 1.0, 1.0)), field)


@pytest.mark.parametrize("scale_mm", [8.0, 24.0])
def test_noise_has_unit_variance_and_its_scale(scale_mm):
    spacing = (2.0, 1.0, 1.0)
    field = smooth_noise(np.random.default_rng(1), (40, 160, 160), spacing, scale_mm=scale_mm)
    assert field.mean() == pytest.approx(0, abs=1e-3)
    assert field.std() == pytest.approx(1, abs=1e-3)
    near = np.corrcoef(field[:, :, :-1].ravel(), field[:, :, 1:].ravel())[0, 1]
    steps = int(2 * scale_mm)
    far = np.corrcoef(field[:, :, :-steps].ravel(), field[:, :, steps:].ravel())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.3


def test_noise_means_the_same_on_any_grid():
    rough, fine = (
        smooth_noise(np.random.default_rng(2), shape, spacing, scale_mm=20.0)
        for shape, spacing in (((20, 40, 40), (4.0, 2.0, 2.0)), ((20, 80, 80), (4.0, 1.0, 1.0)))
    )
    slope = [np.abs(np.diff(field, axis=2)).mean() / mm for field, mm in ((rough, 2.0), (fine, 1.0))]
    assert slope[0] == pytest.approx(slope[1], rel=0.3)
