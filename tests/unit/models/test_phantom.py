"""Phantoms: the truth is exact, the same seed gives the same chest, sides and ends are where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.phantom import PROFILES, make_phantom
from models.quality import noise_hu
from tests.unit.models.grids import SHAPE, SPACING, phantom

ILL_SEED = 4
"""A phantom whose style has consolidation."""

NAMES = st.sampled_from(sorted(PROFILES))


@given(st.integers(0, 10_000), st.floats(0, 0.8), NAMES)
@settings(max_examples=12, deadline=None)
def test_truth_is_consistent(seed, disease, name):
    made = make_phantom(seed, profile=PROFILES[name], disease=disease, shape=(16, 64, 64), spacing_mm=(16.0, 5.6, 5.6))
    assert made.volume.hu.shape == made.lungs.shape == made.opacity.shape == (16, 64, 64)
    assert set(np.unique(made.lungs)) == {0, 1, 2}
    assert not made.opacity[made.lungs == 0].any()
    share = np.count_nonzero(made.opacity) / np.count_nonzero(made.lungs)
    assert share == pytest.approx(disease, abs=0.05)


def test_same_seed_same_voxels_and_another_seed_another_chest():
    first = make_phantom(5, profile=PROFILES["ge-lung"], disease=0.2, shape=SHAPE, spacing_mm=SPACING)
    again = make_phantom(5, profile=PROFILES["ge-lung"], disease=0.2, shape=SHAPE, spacing_mm=SPACING)
    other = make_phantom(6, profile=PROFILES["ge-lung"], disease=0.2, shape=SHAPE, spacing_mm=SPACING)
    assert np.array_equal(first.volume.hu, again.volume.hu)
    assert np.array_equal(first.opacity, again.opacity)
    assert not np.array_equal(first.volume.hu, other.volume.hu)


def test_lungs_are_of_human_size_and_density():
    for seed in range(4):
        made = phantom(seed, 0.0)
        inside = made.lungs > 0
        assert 2500 < np.count_nonzero(inside) * made.volume.voxel_ml < 7500
        assert -900 < np.median(made.volume.hu[inside]) < -760


def test_right_is_at_low_x_and_the_heart_leans_left():
    made = phantom(1, 0.0)
    right, left = (np.argwhere(made.lungs == side)[:, 2].mean() for side in (1, 2))
    assert right < SHAPE[2] / 2 < left
    assert np.count_nonzero(made.lungs == 1) > np.count_nonzero(made.lungs == 2)


def test_spine_is_at_the_back_and_the_abdomen_below():
    hu = phantom(1, 0.0).volume.hu
    bone = np.argwhere(hu[10:20] > 200)
    assert bone[:, 1].mean() > SHAPE[1] / 2
    middle = hu[:, 40:90, 40:90]
    assert (middle[:3] > -200).mean() > 0.9  # belly
    assert (middle[16] > -200).mean() < 0.7  # chest


def test_disease_displaces_air():
    made = phantom(ILL_SEED, 0.3)
    hu = made.volume.hu
    healthy, ggo, dense = (np.median(hu[(made.lungs > 0) & (made.opacity == k)]) for k in (0, 1, 2))
    assert healthy < -760 < -700 < ggo < -400 < dense


def test_profiles_differ_in_noise():
    rough, smooth = (phantom(3, 0.0, name) for name in ("ge-lung", "siemens-b31f"))
    assert noise_hu(rough.volume, rough.lungs) > 1.8 * noise_hu(smooth.volume, smooth.lungs)


@pytest.mark.parametrize(("disease", "shape"), [(-0.1, SHAPE), (1.1, SHAPE), (0.1, (4, 64, 64))])
def test_what_makes_no_phantom_is_refused(disease, shape):
    with pytest.raises(ValueError):
        make_phantom(0, profile=PROFILES["ge-lung"], disease=disease, shape=shape, spacing_mm=SPACING)
