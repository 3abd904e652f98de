"""Counts that never change: volumes drawn voxel by voxel, and phantoms whose seeds are promises to every benchmark and demonstration."""

import numpy as np
import pytest

from models.grid import grid_over, labels_to_slabs, whole
from models.phantom import PROFILES, make_phantom
from models.quantify import count_zones, quantify
from models.severity import zone_score


def staircase() -> tuple[np.ndarray, np.ndarray]:
    """Return lungs and opacity of 9 slices of 10 x 12 voxels: 40 voxels a lung and slice, and one more diseased row per slice."""
    lungs = np.zeros((9, 10, 12), np.uint8)
    lungs[:, 1:9, 0:5] = 1
    lungs[:, 1:9, 7:12] = 2
    opacity = np.zeros_like(lungs)
    for z in range(9):
        opacity[z, 1 : 1 + min(z, 8), 7:12] = 1  # left lung: z rows of 5 voxels, more towards the head
    opacity[8, 1:3, 7:12] = 2
    return lungs, opacity


def test_staircase_by_zone():
    counts = count_zones(*staircase())
    assert counts[:, 0].tolist() == [[120, 0, 0]] * 3
    assert counts[:, 1].tolist() == [[105, 15, 0], [60, 60, 0], [15, 95, 10]]


def test_staircase_in_millilitres_and_shares():
    numbers = quantify(*staircase(), (5.0, 2.0, 2.0))
    assert numbers.whole.lung_volume_ml == pytest.approx(14.4)
    assert numbers.whole.ggo_fraction == pytest.approx(170 / 720)
    assert numbers.whole.consolidation_fraction == pytest.approx(10 / 720)
    assert numbers.per_lung["right"].opacity_fraction == 0
    assert numbers.per_third["upper"].opacity_fraction == pytest.approx(105 / 240)


def test_staircase_scores():
    severity = zone_score(count_zones(*staircase()))
    assert severity.zones == ((0, 1), (0, 3), (0, 4))
    assert (severity.score, severity.band.value) == (8, "moderate")


def test_staircase_on_the_working_grid():
    lungs, opacity = staircase()
    grid = grid_over(whole(lungs.shape), (1.0, 2.0, 2.0), pixel_mm=2.0)
    slabs = labels_to_slabs(opacity, grid, classes=3).numpy()
    assert slabs.shape == (3, 10, 12)
    assert [int((slab > 0).sum()) for slab in slabs] == [5, 20, 35]  # the middle slice of three decides


@pytest.mark.parametrize(
    ("seed", "profile", "lung_voxels", "right_voxels", "diseased_voxels"),
    [(1, "siemens-b31f", 7851, 4003, 1571), (2, "ge-lung", 7268, 3815, 1454), (3, "philips-b", 6231, 3290, 1247)],
)
def test_phantoms_keep_their_promise(seed, profile, lung_voxels, right_voxels, diseased_voxels):
    made = make_phantom(seed, profile=PROFILES[profile], disease=0.2, shape=(16, 64, 64), spacing_mm=(16.0, 5.6, 5.6))
    # A processor that rounds otherwise may move a voxel on an edge, no more.
    assert np.count_nonzero(made.lungs) == pytest.approx(lung_voxels, abs=3)
    assert np.count_nonzero(made.lungs == 1) == pytest.approx(right_voxels, abs=3)
    assert np.count_nonzero(made.opacity) == pytest.approx(diseased_voxels, abs=10)
