"""A reader's points decide how much of a zone is opacity, the network decides where."""

import numpy as np
import pytest

from models.quantify import count_zones
from models.severity import share_of_points, zone_points, zone_score
from models.weak import mask_from_zone_points

SHAPE = (9, 20, 40)


def lungs() -> np.ndarray:
    sides = np.ones(SHAPE, np.uint8)
    sides[:, :, 20:] = 2
    return sides


def probabilities(seed: int, centre: float) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(centre, 0.15, SHAPE), 0, 1).astype(np.float32)


@pytest.mark.parametrize("points", range(5))
def test_points_and_shares_are_inverse(points: int) -> None:
    low, high = share_of_points(points)
    assert {zone_points(low), zone_points((low + high) / 2)} == {points}


@pytest.mark.parametrize("centre", [0.05, 0.5, 0.95])
def test_every_zone_gets_the_share_that_the_reader_saw(centre: float) -> None:
    seen = ((0, 1), (2, 3), (4, 1))
    mask = mask_from_zone_points(probabilities(1, centre), np.zeros(SHAPE, np.float32), lungs(), seen)
    shares = count_zones(lungs(), mask)[:, :, 1:].sum(axis=2) / count_zones(lungs(), mask).sum(axis=2)
    for found, wanted in zip(shares.ravel(), np.ravel(seen), strict=True):
        low, high = share_of_points(int(wanted))
        assert low - 0.01 <= found <= high + 0.01


def test_what_agrees_with_the_reader_stays_as_the_network_found_it() -> None:
    ggo = probabilities(2, 0.45)
    found = (ggo >= 0.5).astype(np.uint8)
    zones = zone_score(count_zones(lungs(), found)).zones
    assert np.array_equal(mask_from_zone_points(ggo, np.zeros_like(ggo), lungs(), zones), found)


def test_the_likeliest_pixels_come_first() -> None:
    ggo = probabilities(3, 0.2)
    mask = mask_from_zone_points(ggo, np.zeros_like(ggo), lungs(), ((2, 2),) * 3)
    zone = (lungs() == 1) & (np.arange(9) < 3)[:, None, None]
    assert ggo[zone & (mask > 0)].min() >= ggo[zone & (mask == 0)].max()


def test_a_zone_without_points_is_empty_however_sure_the_network_is() -> None:
    assert not mask_from_zone_points(probabilities(4, 0.95), np.zeros(SHAPE, np.float32), lungs(), ((0, 0),) * 3).any()


def test_consolidation_is_told_from_ground_glass_and_nothing_lies_outside_the_lungs() -> None:
    half = lungs()
    half[:, :10] = 0
    ggo, dense = probabilities(5, 0.3), probabilities(6, 0.3)
    mask = mask_from_zone_points(ggo, dense, half, ((4, 4),) * 3)
    assert not mask[:, :10].any()
    assert np.array_equal(mask[mask > 0] == 2, (dense > ggo)[mask > 0])


@pytest.mark.parametrize("points", [5, -1])
def test_other_points_are_no_zone_scores(points: int) -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        mask_from_zone_points(probabilities(1, 0.5), probabilities(1, 0.1), lungs(), ((points, 0),) * 3)


def test_other_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="grids"):
        mask_from_zone_points(probabilities(1, 0.5), np.zeros((1, 2, 3), np.float32), lungs(), ((0, 0),) * 3)
