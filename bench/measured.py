"""A scan as `acinus-node quantify` measures it, and what the threshold of every textbook makes of the same lungs."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.infer.scan import read_scan
from models.measure import Measurement, measure
from models.net import GgoNet
from models.quantify import Share
from models.volume import Mask, Volume
from models.weights import STARTING, load_net
from protocol.case import QualityFlag

_GGO_HU, _DENSE_HU = -750, 150
_OPENING_MM = 3.0


@dataclass(frozen=True, slots=True)
class Found:
    """A measured volume; `read` are the flags that reading it gave."""

    volume: Volume
    measurement: Measurement
    threshold: NDArray[np.bool_]
    read: tuple[QualityFlag, ...] = ()

    @property
    def whole(self) -> Share:
        """The numbers of both lungs."""
        return self.measurement.numbers.whole

    @property
    def percent(self) -> float:
        """Opacity in percent of lung."""
        return 100.0 * self.whole.opacity_fraction

    @property
    def threshold_percent(self) -> float:
        """The same by threshold."""
        return 100.0 * float(self.threshold.sum()) / max(1.0, float((self.measurement.lungs > 0).sum()))


@cache
def shipped() -> GgoNet:
    """Return the opacity network of this wheel."""
    return load_net(STARTING)


def look_at(path: Path) -> Found:
    """Measure a file, folder or zip.

    Raises:
        InvalidInputError: With the code of the refusal.
    """
    scan = read_scan(path)
    return look_into(scan.volume, read=scan.flags)


def look_into(volume: Volume, *, read: tuple[QualityFlag, ...] = ()) -> Found:
    """Measure a volume.

    Raises:
        InvalidInputError: With the code of the refusal.
    """
    measurement = measure(volume, shipped())
    return Found(volume, measurement, by_threshold(volume, measurement.lungs), read)


def by_threshold(volume: Volume, lungs: Mask) -> NDArray[np.bool_]:
    """Return where a plain threshold sees opacity, opened by a ball of 3 mm."""
    dense = (lungs > 0) & (volume.hu >= _GGO_HU) & (volume.hu < _DENSE_HU)
    reach = [min(int(_OPENING_MM // mm), n - 1) for mm, n in zip(volume.spacing_mm, dense.shape, strict=True)]
    steps = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    distance_mm = np.linalg.norm([step * mm for step, mm in zip(steps, volume.spacing_mm, strict=True)], axis=0)
    opened: NDArray[np.bool_] = ndimage.binary_opening(dense, structure=distance_mm <= _OPENING_MM)
    return opened
