"""Flags that the voxels raise."""

import numpy as np
import pytest

from models.quality import noise_hu, voxel_flags
from models.quantify import quantify
from models.volume import Volume
from protocol.case import QualityFlag
from tests.unit.models.grids import phantom


def flags(hu, lungs, spacing=(5.0, 2.8, 2.8)):
    volume = Volume(np.ascontiguousarray(hu), spacing)
    return voxel_flags(volume, lungs, quantify(lungs, np.zeros_like(lungs), spacing))


def test_a_whole_chest_raises_nothing():
    made = phantom(1, 0.0)
    assert flags(made.volume.hu, made.lungs) == ()


@pytest.mark.parametrize(
    ("cut", "flag"),
    [
        (np.s_[12:], QualityFlag.INCOMPLETE_COVERAGE),
        (np.s_[:20], QualityFlag.INCOMPLETE_COVERAGE),
        (np.s_[16:17], QualityFlag.SINGLE_SLICE),
        (np.s_[:, :, 40:], QualityFlag.TRUNCATED_FIELD_OF_VIEW),
        (np.s_[:, 45:, :], QualityFlag.TRUNCATED_FIELD_OF_VIEW),
    ],
)
def test_what_is_cut_off_is_said(cut, flag):
    made = phantom(1, 0.0)
    assert flag in flags(made.volume.hu[cut], made.lungs[cut])


def test_a_round_field_of_view_that_cuts_lung_is_seen_by_its_padding():
    made = phantom(1, 0.0)
    y, x = np.mgrid[:128, :128]
    outside = (y - 64) ** 2 + (x - 64) ** 2 > 38**2
    hu = np.where(outside, np.int16(-3024), made.volume.hu)
    lungs = np.where(outside, np.uint8(0), made.lungs)
    assert QualityFlag.TRUNCATED_FIELD_OF_VIEW in flags(hu, lungs)


def test_thick_small_and_lopsided():
    made = phantom(1, 0.0)
    assert QualityFlag.THICK_SLICES in flags(made.volume.hu, made.lungs, (8.0, 2.8, 2.8))
    assert QualityFlag.SMALL_LUNGS in flags(made.volume.hu, made.lungs, (3.0, 1.5, 1.5))
    one = np.where(made.lungs == 1, made.lungs, 0).astype(np.uint8)
    assert QualityFlag.LARGE_LUNG_ASYMMETRY in flags(made.volume.hu, one)


def test_low_dose_is_noise():
    quiet, loud = phantom(1, 0.0), phantom(1, 0.0, "low-dose")
    assert noise_hu(quiet.volume, quiet.lungs) < 25
    assert noise_hu(loud.volume, loud.lungs) > 45
    assert QualityFlag.LOW_DOSE in flags(loud.volume.hu, loud.lungs)


@pytest.mark.parametrize("rise", [0, 60, 160])
def test_lungs_that_are_dense_all_over_say_so(rise):
    """Breathed out, or faintly ill everywhere: one scan cannot tell."""
    made = phantom(1, 0.0)
    hu = np.where(made.lungs > 0, made.volume.hu + rise, made.volume.hu).astype(np.int16)
    dense = float(np.median(hu[made.lungs > 0])) > -750
    assert dense is (rise == 160)
    assert (QualityFlag.DENSE_LUNGS in flags(hu, made.lungs)) is dense


def test_disease_of_a_third_of_the_lungs_leaves_them_dark_enough():
    made = phantom(1, 0.35)
    assert QualityFlag.DENSE_LUNGS not in flags(made.volume.hu, made.lungs)


@pytest.mark.parametrize("sigma", [10.0, 40.0, 80.0])
def test_noise_of_a_flat_picture_is_its_standard_deviation(sigma):
    rng = np.random.default_rng(0)
    hu = np.rint(40 + sigma * rng.standard_normal((3, 128, 128))).astype(np.int16)
    assert noise_hu(Volume(hu, (5.0, 1.0, 1.0)), np.ones((3, 128, 128), np.uint8)) == pytest.approx(sigma, rel=0.15)
