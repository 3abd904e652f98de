"""Are these numbers Hounsfield units at all? Label maps, 8-bit pictures and scaled data are refused before anything is measured."""

import numpy as np
from numpy.typing import NDArray

from models.volume import Volume
from protocol.codes import Code
from protocol.errors import InvalidInputError

_AIR_HU = -850
_SOFT_HU = (-200, 250)
_LEAST_VALUES = 64
_SAMPLE = 400_000


def require_hu(volume: Volume) -> None:
    """Refuse what cannot be a CT in Hounsfield units.

    A chest CT holds hundreds of different values, air near -1000 and soft tissue near 0 to 100.

    Raises:
        InvalidInputError: `not-hu`; the message says which sign is missing.
    """
    values = _sample(volume.hu)
    if np.unique(values).size < _LEAST_VALUES:
        raise InvalidInputError(
            Code.NOT_HU, "The volume holds a few distinct values only, like a label map; send the CT itself."
        )
    if values.min() > _AIR_HU:
        raise InvalidInputError(
            Code.NOT_HU, "No voxel is as dark as air; the values are not Hounsfield units. Check the rescaling."
        )
    soft = np.mean((values > _SOFT_HU[0]) & (values < _SOFT_HU[1]))
    if soft < 0.02:  # noqa: PLR2004 - even a scan with a huge field of view is a tenth body
        raise InvalidInputError(
            Code.NOT_HU, "Hardly any voxel has the density of soft tissue; the values are not Hounsfield units."
        )


def _sample(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return an even sample of the voxels; -2000 and below is padding and left out."""
    flat = hu.reshape(-1)
    picked = flat[:: max(1, flat.size // _SAMPLE)]
    return picked[picked > -2000]  # noqa: PLR2004
