"""A volume is what it says, or it is not made."""

import numpy as np
import pytest

from models.volume import Volume


def test_voxel_and_extent():
    volume = Volume(np.zeros((2, 3, 4), np.int16), (5.0, 2.0, 1.0))
    assert volume.voxel_ml == pytest.approx(0.01)
    assert volume.extent_mm == (10.0, 6.0, 4.0)


@pytest.mark.parametrize(
    ("array", "spacing"),
    [
        (np.zeros((2, 3), np.int16), (1.0, 1.0, 1.0)),
        (np.zeros((2, 3, 4), np.float32), (1.0, 1.0, 1.0)),
        (np.zeros((0, 3, 4), np.int16), (1.0, 1.0, 1.0)),
        (np.zeros((2, 3, 4), np.int16), (0.0, 1.0, 1.0)),
        (np.zeros((2, 3, 4), np.int16), (1.0, float("nan"), 1.0)),
        (np.zeros((2, 3, 4), np.int16), (1.0, 1.0)),
    ],
)
def test_what_is_no_volume_is_refused(array, spacing):
    with pytest.raises(ValueError):
        Volume(array, spacing)
