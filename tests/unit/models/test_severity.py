"""The zone score at its borders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.severity import band_of, zone_points, zone_score
from protocol.case import SeverityBand


@pytest.mark.parametrize(
    ("fraction", "points"),
    [(0, 0), (0.0099, 0), (0.01, 1), (0.2499, 1), (0.25, 2), (0.4999, 2), (0.5, 3), (0.7499, 3), (0.75, 4), (1, 4)],
)
def test_points_of_a_zone(fraction, points):
    assert zone_points(fraction) == points


@pytest.mark.parametrize(
    ("score", "band"),
    [(0, "none"), (1, "mild"), (6, "mild"), (7, "moderate"), (12, "moderate"), (13, "severe"), (24, "severe")],
)
def test_bands(score, band):
    assert band_of(score) == SeverityBand(band)


def counts(fractions):
    """Return counts of 100 voxels per zone, half of the opacity ground glass."""
    out = np.zeros((3, 2, 3), np.int64)
    out[..., 1] = np.round(fractions * 50)
    out[..., 2] = np.round(fractions * 50)
    out[..., 0] = 100 - out[..., 1:].sum(axis=-1)
    return out


def test_all_white_is_twenty_four():
    severity = zone_score(counts(np.ones((3, 2))))
    assert (severity.score, severity.band, severity.scale) == (24, SeverityBand.SEVERE, "zone-score-0-24")


def test_zones_keep_their_place():
    fractions = np.zeros((3, 2))
    fractions[0, 1] = 0.6  # lower left
    assert zone_score(counts(fractions)).zones == ((0, 3), (0, 0), (0, 0))


def test_empty_zones_score_nothing():
    assert zone_score(np.zeros((3, 2, 3), np.int64)).score == 0


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.integers(0, 5), st.floats(0, 1))
def test_more_disease_never_scores_less(fractions, zone, more):
    before = np.array(fractions).reshape(3, 2)
    after = before.copy()
    after.flat[zone] = max(after.flat[zone], more)
    assert zone_score(counts(after)).score >= zone_score(counts(before)).score
