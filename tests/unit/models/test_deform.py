"""One half of the diaphragm moves; apex and the other lung stay."""

import numpy as np
import pytest

from models.deform import move_diaphragm
from tests.unit.models.grids import phantom


def base_mm(lungs, side, z_mm):
    return float(np.flatnonzero((lungs == side).any(axis=(1, 2)))[0]) * z_mm


def test_nothing_moved_changes_nothing():
    made = phantom(1, 0.0)
    volume, lungs = move_diaphragm(made.volume, made.lungs, right_mm=0.0, left_mm=0.0)
    assert np.array_equal(lungs, made.lungs)
    assert np.abs(volume.hu.astype(int) - made.volume.hu).max() <= 1


@pytest.mark.parametrize(("right", "left"), [(0.0, 48.0), (48.0, 0.0), (-16.0, 24.0)])
def test_each_base_moves_by_its_own_distance(right, left):
    made = phantom(1, 0.0)
    volume, lungs = move_diaphragm(made.volume, made.lungs, right_mm=right, left_mm=left)
    z_mm = made.volume.spacing_mm[0]
    for side, move in ((1, right), (2, left)):
        assert base_mm(lungs, side, z_mm) - base_mm(made.lungs, side, z_mm) == pytest.approx(move, abs=z_mm)
        before, after = (np.flatnonzero((mask == side).any(axis=(1, 2)))[-1] for mask in (made.lungs, lungs))
        assert abs(int(before) - int(after)) <= 1
    inside = lungs > 0
    assert np.median(volume.hu[inside]) == pytest.approx(np.median(made.volume.hu[made.lungs > 0]), abs=15)
