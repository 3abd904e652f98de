"""From a volume to a measurement: plausible? lungs, network, numbers, uncertainty, severity, flags."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.grid import Grid
from models.infer import opacity_mask, slab_probabilities
from models.lungs import find_lungs
from models.net import GgoNet
from models.plausible import require_hu
from models.quality import voxel_flags
from models.quantify import Quantification, count_zones, quantify
from models.severity import Severity, zone_score
from models.slabs import lung_grid
from models.volume import Mask, Volume
from protocol.case import QualityFlag

_THRESHOLDS = (0.3, 0.5, 0.7)
"""Cut-offs of the opacity probability between which a reader could not choose."""

_FLOOR_FRACTION = 0.003
"""No measurement is surer than this share of lung."""


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
    plain, mirrored = slab_probabilities(volume, grid, net, device=device)
    clock.lap("network")
    mean = (plain + mirrored) / 2
    opacity = opacity_mask(mean, grid, lungs)
    numbers = quantify(lungs, opacity, volume.spacing_mm)
    interval = opacity_interval((plain, mirrored, mean), grid, lungs, numbers.whole.opacity_fraction)
    severity = zone_score(count_zones(lungs, opacity))
    flags = voxel_flags(volume, lungs, numbers)
    clock.lap("numbers")
    return Measurement(lungs, opacity, numbers, interval, severity, flags, clock.seconds)


def opacity_interval(views: tuple[Tensor, ...], grid: Grid, lungs: Mask, fraction: float) -> tuple[float, float]:
    """Return between which shares of lung the opacity lies, as far as the network's own hesitation tells.

    The lowest and the highest share over mirror images and cut-offs from 0.3 to 0.7, shifted onto the measured `fraction` (the
    views are counted on the working grid, which is coarser), and never narrower than 0.3 points either way.

    Args:
        views: Probabilities, each (slabs, 3, height, width).
        grid: Their grid.
        lungs: Not zero inside.
        fraction: The measured opacity.
    """
    inside = _lung_share(lungs, grid)
    shares = [[_weighted(1.0 - view[:, 0] >= cut, inside) for cut in _THRESHOLDS] for view in views]
    centre = shares[-1][1]
    spread_low = min(map(min, shares)) - centre
    spread_high = max(map(max, shares)) - centre
    low = max(0.0, fraction + min(spread_low, -_FLOOR_FRACTION))
    return low, min(1.0, fraction + max(spread_high, _FLOOR_FRACTION))


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
