"""What is no CT in Hounsfield units is refused; CT is not."""

import numpy as np
import pytest

from models.plausible import require_hu
from models.volume import Volume
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.unit.models.grids import phantom

RNG = np.random.default_rng(0)
SHAPE = (4, 64, 64)


def volume(values):
    return Volume(values.astype(np.int16), (5.0, 2.0, 2.0))


@pytest.mark.parametrize(
    "values",
    [
        RNG.integers(0, 3, SHAPE),  # a label map
        RNG.integers(0, 256, SHAPE),  # an 8-bit picture
        RNG.integers(0, 4096, SHAPE),  # stored values that were never rescaled
        RNG.integers(-1024, -900, SHAPE),  # nothing but air
        np.where(RNG.random(SHAPE) < 0.5, -1000, 40),  # two values
        np.full(SHAPE, -3024),  # padding only
    ],
)
def test_other_numbers_are_refused(values):
    with pytest.raises(InvalidInputError) as error:
        require_hu(volume(values))
    assert error.value.code is Code.NOT_HU


def test_ct_passes_also_one_slice_of_it():
    hu = phantom(0, 0.1).volume
    require_hu(hu)
    require_hu(Volume(hu.hu[16:17].copy(), hu.spacing_mm))


def test_padding_does_not_matter():
    hu = phantom(0, 0.1).volume.hu.copy()
    hu[:, :30] = -3024
    require_hu(Volume(hu, (8.0, 2.8, 2.8)))
