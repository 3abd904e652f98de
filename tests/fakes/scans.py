"""Small chests for tests: a phantom as DICOM series, and a model to measure it with."""

from functools import cache
from typing import Any

import numpy as np

from client.infer.model import Model
from models.net import GgoNet
from models.phantom import PROFILES, Phantom, make_phantom
from models.weights import STARTING, load_net
from tests.fakes.ct_series import CtSeries

SHAPE, SPACING_MM = (16, 64, 64), (16.0, 5.5, 5.5)


@cache
def chest(seed: int = 1, disease: float = 0.2) -> Phantom:
    return make_phantom(seed, profile=PROFILES["siemens-b31f"], disease=disease, shape=SHAPE, spacing_mm=SPACING_MM)


def chest_series(phantom: Phantom | None = None, **rest: Any) -> CtSeries:
    """The phantom lying on its back, head first: rows run to the left, columns to the back, slices to the head."""
    volume = (phantom or chest()).volume
    return CtSeries(hu=volume.hu, step_mm=volume.spacing_mm[0], pixel_mm=volume.spacing_mm[1:], **rest)


@cache
def shipped() -> Model:
    return Model("ggo@0", load_net(STARTING))


@cache
def untrained() -> Model:
    """A network that finds nothing in particular: enough to test everything around it."""
    return Model("ggo@0", GgoNet().eval())


def random_volume(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
