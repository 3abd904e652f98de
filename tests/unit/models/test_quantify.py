"""Counting, held against a slow and obvious twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.quantify import count_zones, quantify, third_of_slices
from tests.unit.models.grids import two_blocks

LABELS = st.integers(0, 2)
GRID = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)


def slow_share(lungs, opacity, wanted):
    """Return (voxels, ground glass, consolidation) among the voxels for which `wanted(z, label)` holds, one by one."""
    total = ggo = dense = 0
    for index in np.ndindex(lungs.shape):
        if lungs[index] > 0 and wanted(index[0], lungs[index]):
            total += 1
            ggo += opacity[index] == 1
            dense += opacity[index] == 2
    return total, ggo, dense


def slow_third(lungs, z):
    heights = [k for k in range(len(lungs)) if lungs[k].any()]
    low, count = heights[0], heights[-1] - heights[0] + 1
    return min(2, int(3 * (z - low + 0.5) / count))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_quantify_agrees_with_counting_by_hand(data):
    shape = data.draw(GRID)
    lungs = data.draw(hnp.arrays(np.uint8, shape, elements=LABELS))
    opacity = data.draw(hnp.arrays(np.uint8, shape, elements=LABELS))
    spacing = (4.0, 1.5, 2.0)
    numbers = quantify(lungs, opacity, spacing)
    groups = [(numbers.whole, lambda z, label: True)]
    groups += [(numbers.per_lung[name], lambda z, label, k=k: label == k) for name, k in (("right", 1), ("left", 2))]
    if lungs.any():
        groups += [
            (numbers.per_third[name], lambda z, label, k=k: slow_third(lungs, z) == k)
            for k, name in enumerate(("lower", "middle", "upper"))
        ]
        groups += [
            (numbers.per_zone[lung][name], lambda z, label, k=k, own=own: label == own and slow_third(lungs, z) == k)
            for lung, own in (("right", 1), ("left", 2))
            for k, name in enumerate(("lower", "middle", "upper"))
        ]
    for share, wanted in groups:
        total, ggo, dense = slow_share(lungs, opacity, wanted)
        assert share.lung_volume_ml == pytest.approx(total * 12.0 / 1000)
        assert share.ggo_fraction == pytest.approx(ggo / total if total else 0)
        assert share.consolidation_fraction == pytest.approx(dense / total if total else 0)
        assert share.opacity_fraction == pytest.approx(share.ggo_fraction + share.consolidation_fraction)


def test_golden_counts():
    lungs, opacity = two_blocks()
    numbers = quantify(lungs, opacity, (10.0, 10.0, 10.0))
    assert numbers.whole.lung_volume_ml == pytest.approx(324.0)
    assert numbers.whole.ggo_fraction == pytest.approx(24 / 324)
    assert numbers.whole.consolidation_fraction == pytest.approx(20 / 324)
    assert numbers.per_lung["right"].opacity_fraction == pytest.approx(24 / 144)
    assert numbers.per_lung["left"].consolidation_fraction == pytest.approx(20 / 180)
    assert numbers.per_third["lower"].ggo_fraction == pytest.approx(24 / 108)
    assert numbers.per_third["upper"].consolidation_fraction == pytest.approx(20 / 108)
    assert numbers.per_third["middle"].opacity_fraction == 0


def test_lower_is_towards_the_feet():
    lungs, opacity = two_blocks()
    opacity[:] = 0
    opacity[0] = 1  # z grows towards the head
    numbers = quantify(lungs, opacity, (1.0, 1.0, 1.0))
    assert numbers.per_third["lower"].ggo_fraction == pytest.approx(0.5)
    assert numbers.per_third["upper"].ggo_fraction == 0


def test_opacity_outside_the_lungs_is_ignored():
    lungs, opacity = two_blocks()
    opacity[lungs == 0] = 1
    assert quantify(lungs, opacity, (1.0, 1.0, 1.0)).whole.ggo_fraction == pytest.approx(24 / 324)


def test_no_lung_counts_as_nothing():
    empty = np.zeros((3, 4, 5), np.uint8)
    whole = quantify(empty, empty, (1.0, 1.0, 1.0)).whole
    assert (whole.lung_volume_ml, whole.opacity_fraction) == (0.0, 0.0)


def test_gap_in_the_lungs_keeps_thirds_of_the_full_height():
    lungs = np.zeros((9, 2, 2), np.uint8)
    lungs[[0, 8]] = 1
    assert third_of_slices(lungs).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_counts_add_up_to_the_lungs():
    lungs, opacity = two_blocks()
    assert count_zones(lungs, opacity).sum() == np.count_nonzero(lungs)


@pytest.mark.parametrize("wrong", [np.zeros((1, 2, 3), np.uint8), np.full((6, 8, 10), 3, np.uint8)])
def test_what_does_not_fit_is_refused(wrong):
    lungs, _ = two_blocks()
    with pytest.raises(ValueError):
        quantify(lungs, wrong, (1.0, 1.0, 1.0))
