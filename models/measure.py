"""From a volume to a measurement: plausible? lungs, network, numbers, uncertainty, severity, flags."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.grid import Grid
from models.infer import MIRROR_EVERY, Views, opacity_mask, slab_probabilities
from models.lungs import find_lungs
from models.net import GgoNet
from models.plausible import require_hu
from models.quality import voxel_flags
from models.quantify import Quantification, count_zones, shares_of
from models.severity import Severity, zone_score
from models.slabs import lung_grid
from models.volume import Mask, Volume
from protocol.case import QualityFlag

_THRESHOLDS = (0.3, 0.5, 0.7)
"""Cut-offs of the opacity probability between which a reader could not choose."""

_FLOOR_FRACTION, _SPREAD_FRACTION = 0.01, 0.14
"""What the method itself errs by: one point of lung, and with the share as the spread of counted ones does (most at one half)."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """`lungs` is 1 right, 2 left; `opacity` 1 ground glass, 2 consolidation, both on the volume's grid; `seconds` by stage."""

    lungs: Mask
    opacity: Mask
    numbers: Quantification
    opacity_interval: tuple[float, float]
    severity: Severity
    flags: tuple[QualityFlag, ...]
    seconds: dict[str, float]


def measure(volume: Volume, net: GgoNet, *, device: str = "cpu") -> Measurement:
    """Measure one scan.

    Args:
        volume: Hounsfield units in the package's orientation (`models.volume`).
        net: The opacity network, in evaluation mode.
        device: Where the network runs.

    Raises:
        InvalidInputError: `not-hu` if the values are no Hounsfield units, `no-lung` if there is no lung to measure.
    """
    clock = _Clock()
    require_hu(volume)
    lungs = find_lungs(volume, device=device)
    clock.lap("lungs")
    grid = lung_grid(lungs > 0, volume)
    views = slab_probabilities(volume, grid, net, device=device)
    clock.lap("network")
    opacity = opacity_mask(views.plain, grid, lungs)
    counts = count_zones(lungs, opacity)
    numbers = shares_of(counts, volume.spacing_mm)
    interval = opacity_interval(views, _lung_share(lungs, grid), numbers.whole.opacity_fraction)
    severity = zone_score(counts)
    flags = voxel_flags(volume, lungs, numbers)
    clock.lap("numbers")
    return Measurement(lungs, opacity, numbers, interval, severity, flags, clock.seconds)


def opacity_interval(views: Views, inside: Tensor, fraction: float) -> tuple[float, float]:
    """Return between which shares of lung the opacity lies; nine of ten known truths do (`bench.accuracy`, docs/adr/0131).

    The wider of two, as distances from the measured `fraction`: the network's own hesitation, which is the lowest and the highest share
    over both views and cut-offs from 0.3 to 0.7, and the method's error, which is what it misses without hesitating.

    Args:
        views: Probabilities on the working grid.
        inside: 1 where a working pixel is lung, (slabs, height, width).
        fraction: The measured opacity.
    """
    looks, lung = (views.plain[::MIRROR_EVERY], views.mirrored), inside[::MIRROR_EVERY]
    shares = [_weighted(1.0 - look[:, 0] >= cut, lung) for look in looks for cut in _THRESHOLDS]
    centre = _weighted(1.0 - looks[0][:, 0] >= 0.5, lung)  # noqa: PLR2004 - the cut-off of the measurement
    error = _FLOOR_FRACTION + _SPREAD_FRACTION * math.sqrt(fraction * (1.0 - fraction))
    low = fraction + min(min(shares) - centre, -error)
    high = fraction + max(max(shares) - centre, error)
    return max(0.0, low), min(1.0, high)


def _lung_share(lungs: Mask, grid: Grid) -> Tensor:
    """Return 1 where a working pixel is lung, by the nearest voxel of the slab's first slice; (slabs, height, width)."""
    z = np.arange(grid.box[0].start, grid.box[0].stop, grid.slices_per_slab)
    y, x = (
        span.start + ((np.arange(n) + 0.5) * (span.stop - span.start) / n).astype(np.int64)
        for span, n in ((grid.box[1], grid.height), (grid.box[2], grid.width))
    )
    return torch.from_numpy((lungs[np.ix_(z, y, x)] > 0).astype(np.float32))


def _weighted(found: Tensor, inside: Tensor) -> float:
    return float((found * inside).sum() / inside.sum().clamp(min=1.0))


class _Clock:
    """Splits the time since its making into laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
