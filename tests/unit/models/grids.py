"""Small grids and scans that several tests draw on."""

import functools

import numpy as np

from models.net import GgoNet
from models.phantom import PROFILES, Phantom, make_phantom
from models.volume import Volume
from models.weights import STARTING, load_net

SHAPE, SPACING = (32, 128, 128), (8.0, 2.8, 2.8)


@functools.cache
def phantom(seed: int, disease: float, profile: str = "siemens-b31f") -> Phantom:
    return make_phantom(seed, profile=PROFILES[profile], disease=disease, shape=SHAPE, spacing_mm=SPACING)


@functools.cache
def starting_net() -> GgoNet:
    return load_net(STARTING)


def two_blocks() -> tuple[np.ndarray, np.ndarray]:
    """Return lungs and opacity on 6 x 8 x 10 voxels: right lung x 0..3, left lung x 5..9 on slices 0..5, with known disease."""
    lungs = np.zeros((6, 8, 10), np.uint8)
    lungs[:, 1:7, 0:4] = 1
    lungs[:, 1:7, 5:10] = 2
    opacity = np.zeros_like(lungs)
    opacity[0:2, 1:4, 0:4] = 1  # lower third of the right lung: 24 of 48 voxels
    opacity[4:6, 1:3, 5:10] = 2  # upper third of the left lung: 20 of 60 voxels
    return lungs, opacity


def box_volume(fill: int = -850, shape: tuple[int, int, int] = (4, 16, 16)) -> Volume:
    return Volume(np.full(shape, fill, np.int16), (5.0, 2.0, 2.0))
