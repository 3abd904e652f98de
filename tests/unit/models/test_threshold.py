"""Lungs by threshold, the airway, and telling right from left, on drawings small enough to check by eye."""

import numpy as np
import pytest

from models.airway import find_airway
from models.morphology import disc, pick, pieces, sizes_of
from models.sides import split_sides
from models.threshold import close_over, read_chest

SPACING = (3.0, 2.5, 2.5)


def torso(*, joined=False, airway=True):
    """Return HU of a drawn torso of 20 slabs: two lungs, a trachea, room air, a table with air beneath."""
    hu = np.full((20, 100, 140), -1000, np.float32)
    hu[:, 10:80, 10:130] = 40
    hu[:, 84:86, :] = 100  # the table's top
    hu[:, 92:94, :] = 100  # and its bottom
    hu[3:18, 20:70, 20:62] = -850
    hu[3:18, 20:70, 78:120] = -850
    if joined:
        hu[8:10, 20:24, 62:78] = -850
    if airway:
        hu[5:20, 40:47, 67:74] = -980
    return hu


def truth(hu):
    lungs = np.zeros(hu.shape, np.bool_)
    lungs[3:18, 20:70, 20:62] = True
    lungs[3:18, 20:70, 78:120] = True
    return lungs


def test_lungs_are_found_and_the_rest_of_the_air_is_not():
    hu = torso()
    chest = read_chest(hu, SPACING)
    assert np.array_equal(chest.lungs, truth(hu))
    assert chest.middle == pytest.approx(69.5, abs=1)


def test_the_airway_is_found_with_its_wall():
    hu = torso()
    airway = find_airway(hu, np.ones(hu.shape, np.bool_), SPACING)
    assert airway[5:20, 40:47, 67:74].all()
    assert not airway[truth(hu)].any()
    assert 1.0 < airway.sum() / (15 * 49) < 1.8


def test_a_short_column_of_gas_is_no_airway():
    hu = torso(airway=False)
    hu[5:8, 40:47, 67:74] = -980
    assert not find_airway(hu, np.ones(hu.shape, np.bool_), SPACING).any()


def test_stomach_gas_is_no_lung():
    hu = torso(airway=False)
    hu[0:2, 30:60, 80:110] = -1000
    assert not read_chest(hu, SPACING).lungs[0:2].any()


def test_lung_that_reaches_the_edge_of_a_close_picture_is_lung():
    hu = torso(airway=False)[:, 25:65, 30:110]
    chest = read_chest(np.ascontiguousarray(hu), SPACING)
    wanted = truth(torso())[:, 25:65, 30:110]
    assert np.count_nonzero(chest.lungs != wanted) < 0.01 * np.count_nonzero(wanted)  # a few corners are rounded


@pytest.mark.parametrize("joined", [False, True])
def test_lungs_that_touch_are_told_apart(joined):
    hu = torso(joined=joined)
    sides = split_sides(read_chest(hu, SPACING).lungs, 69.5, SPACING)
    assert (sides[3:18, 20:70, 20:62] == 1).all()
    assert (sides[3:18, 20:70, 78:120] == 2).all()


def test_one_lung_alone_lies_on_its_own_side():
    lungs = truth(torso())
    lungs[:, :, 70:] = False
    assert set(np.unique(split_sides(lungs, 69.5, SPACING))) == {0, 1}


def test_closing_fills_vessels_but_no_dome():
    lungs = truth(torso())
    vessel, dome = np.s_[9, 40:44, 40:44], np.s_[4, 30:60, 30:55]
    lungs[vessel], lungs[dome] = False, False
    closed = close_over(lungs, np.ones(lungs.shape, np.bool_), SPACING, radius_mm=5.0)
    assert closed[vessel].all()
    assert not closed[4, 40:50, 38:48].any()


def test_pieces_are_counted_and_picked():
    region = np.zeros((1, 5, 9), np.bool_)
    region[0, 1:3, 1:3] = region[0, 1:4, 5:8] = True
    labels, count = pieces(region)
    assert count == 2
    assert sizes_of(labels, count).tolist() == [4, 9]
    assert pick(labels, [False, True]).sum() == 9
    assert disc(1).sum() == 5
