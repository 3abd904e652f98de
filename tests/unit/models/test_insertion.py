"""Inserted disease: the truth is what was put in, nothing else of the scan changes."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.insertion import breathe_out, insert_disease, insert_effusion
from models.lesion import draw_style
from models.phantom import PROFILES, make_phantom

SHAPE, SPACING = (20, 80, 80), (13.0, 4.5, 4.5)


@functools.cache
def healthy(seed=1):
    made = make_phantom(seed, profile=PROFILES["siemens-b31f"], disease=0.0, shape=SHAPE, spacing_mm=SPACING)
    return made.volume, made.lungs


@given(st.integers(0, 1000), st.floats(0.01, 0.8))
@settings(max_examples=8, deadline=None)
def test_truth_lies_in_the_lungs_and_is_of_the_wanted_size(seed, share):
    volume, lungs = healthy()
    rng = np.random.default_rng(seed)
    scan = insert_disease(rng, volume, lungs, share=share, style=draw_style(rng))
    assert not scan.opacity[lungs == 0].any()
    assert np.count_nonzero(scan.opacity) / np.count_nonzero(lungs) == pytest.approx(share, abs=0.05)
    assert np.array_equal(scan.lungs, lungs)


def test_only_the_lungs_and_the_seam_at_the_pleura_change():
    volume, lungs = healthy()
    rng = np.random.default_rng(3)
    scan = insert_disease(rng, volume, lungs, share=0.3, style=draw_style(rng))
    far = ~ndimage.binary_dilation(lungs > 0, structure=np.ones((1, 3, 3)))
    changed = scan.volume.hu != volume.hu
    assert changed.any()
    assert not (changed & far).any()


def test_air_gives_way_and_only_at_the_truth():
    volume, lungs = healthy()
    rng = np.random.default_rng(4)
    scan = insert_disease(rng, volume, lungs, share=0.2, style=draw_style(rng))
    rise = scan.volume.hu.astype(int) - volume.hu
    aerated = (lungs > 0) & (volume.hu < -750)
    assert np.median(rise[aerated & (scan.opacity > 0)]) > 150
    assert abs(np.median(rise[aerated & (scan.opacity == 0)])) < 5


def test_no_disease_changes_nothing():
    volume, lungs = healthy()
    rng = np.random.default_rng(5)
    scan = insert_disease(rng, volume, lungs, share=0.0, style=draw_style(rng))
    assert np.array_equal(scan.volume.hu, volume.hu)
    assert not scan.opacity.any()


def test_same_seed_same_scan():
    volume, lungs = healthy()
    twice = [
        insert_disease(np.random.default_rng(6), volume, lungs, share=0.1, style=draw_style(np.random.default_rng(7)))
        for _ in range(2)
    ]
    assert np.array_equal(twice[0].volume.hu, twice[1].volume.hu)


def test_effusion_is_water_and_no_lung():
    volume, lungs = healthy()
    rng = np.random.default_rng(8)
    dry = insert_disease(rng, volume, lungs, share=0.0, style=draw_style(rng))
    wet = insert_effusion(rng, dry, depth_mm=60.0)
    fluid = (lungs > 0) & (wet.lungs == 0)
    assert 0.02 < np.count_nonzero(fluid) / np.count_nonzero(lungs) < 0.6
    assert abs(np.median(wet.volume.hu[fluid]) - 12) < 40
    assert np.argwhere(fluid)[:, 1].mean() > np.argwhere(lungs > 0)[:, 1].mean()  # at the back


def test_breathing_out_is_no_disease():
    volume, lungs = healthy()
    denser = breathe_out(np.random.default_rng(9), volume, lungs)
    outside = lungs == 0
    assert np.median(np.abs(denser.hu[outside].astype(int) - volume.hu[outside])) == 0
    assert not np.array_equal(denser.hu, volume.hu)
