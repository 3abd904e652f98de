"""Disease put into real scans without it: the truth is exact, the rest of the picture is real.

Air is displaced with soft edges and the scan's own noise refilled (`models.lesion`). At the pleura the disease reaches the
chest wall: partial-volume voxels between lung and wall are filled too, so that consolidation leaves no dark seam there.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.fields import Field, blur, smooth_noise
from models.lesion import TISSUE_HU, Lesions, LesionStyle, blend, displaced_air, draw_lesions
from models.scanner import grain
from models.volume import Mask, Spacing, Volume

_FLUID_HU = 12.0
_GAS_HU = -985.0


@dataclass(frozen=True, slots=True)
class Inserted:
    """A scan with disease: `lungs` (1 right, 2 left; without effusion), `opacity` (1 ground glass, 2 consolidation)."""

    volume: Volume
    lungs: Mask
    opacity: Mask


def insert_disease(
    rng: np.random.Generator, volume: Volume, lungs: Mask, *, share: float, style: LesionStyle
) -> Inserted:
    """Put disease over `share` of the lungs into a scan.

    Args:
        rng: The only source of randomness.
        volume: A scan without opacity.
        lungs: 1 right, 2 left.
        share: Wanted opacity, 0 to 1 of lung voxels; the mask says what it came to.
        style: Looks and places.
    """
    hu = volume.hu.astype(np.float32)
    if share <= 0:
        return Inserted(volume, lungs, np.zeros_like(lungs))
    lesions = draw_lesions(rng, lungs, volume.spacing_mm, share=share, style=style)
    reaching = Lesions(_to_the_wall(lesions.ggo, lungs), _to_the_wall(lesions.consolidation, lungs), lesions.truth)
    displaced = displaced_air(rng, hu, reaching, volume.spacing_mm, lungs=lungs, style=style)
    refill = _own_noise(rng, hu, lungs, volume.spacing_mm)
    ill = blend(hu, np.where(hu > TISSUE_HU, 0.3 * displaced, displaced), refill)
    return Inserted(_as_volume(ill, volume.spacing_mm), lungs, lesions.truth)


def insert_effusion(rng: np.random.Generator, scan: Inserted, *, depth_mm: float) -> Inserted:
    """Let fluid lie in the back of one lung's space: it is no lung any more, and no consolidation.

    Args:
        rng: The only source of randomness.
        scan: A scan, with disease or without.
        depth_mm: How high the fluid stands above the hindmost lung.
    """
    side = scan.lungs == rng.integers(1, 3)
    if not side.any():
        return scan
    rows = np.arange(side.shape[1])[None, :, None]
    last = np.where(side, rows, -1).max(axis=1, keepdims=True)
    z = np.linspace(1.4, -0.6, len(side), dtype=np.float32)[:, None, None]  # more at the base
    level = depth_mm * z + 4.0 * smooth_noise(rng, side.shape, scan.volume.spacing_mm, scale_mm=40.0)
    fluid = side & ((last - rows) * scan.volume.spacing_mm[1] < level)
    weight = blur(fluid.astype(np.float32), 1.0, scan.volume.spacing_mm)
    hu = scan.volume.hu.astype(np.float32)
    noise = _own_noise(rng, hu, scan.lungs, scan.volume.spacing_mm)
    wet = hu + _to_the_wall(np.where(side, weight, 0).astype(np.float32), scan.lungs) * (_FLUID_HU + noise - hu)
    return Inserted(
        _as_volume(wet, scan.volume.spacing_mm),
        np.where(fluid, 0, scan.lungs).astype(np.uint8),
        np.where(fluid, 0, scan.opacity).astype(np.uint8),
    )


def insert_gas(rng: np.random.Generator, scan: Inserted, *, radius_mm: float) -> Inserted:
    """Let gas lie under the base of one lung, as in a stomach or a bowel beneath the diaphragm: dark, and no lung.

    Args:
        rng: The only source of randomness.
        scan: A scan, with disease or without.
        radius_mm: About how large the gas is.
    """
    columns = np.argwhere((scan.lungs == rng.integers(1, 3)).any(axis=0))
    if not len(columns):
        return scan
    y, x = columns[rng.integers(len(columns))]
    base = float(np.flatnonzero(scan.lungs[:, y, x])[0])
    mm = scan.volume.spacing_mm
    centre = (base - (radius_mm + 4.0) / mm[0], float(y), float(x))
    radii = radius_mm * rng.uniform(0.7, 1.5, 3)
    axes = np.ogrid[tuple(slice(0, n) for n in scan.lungs.shape)]
    distance = sum(((axis - c) * step / r) ** 2 for axis, c, step, r in zip(axes, centre, mm, radii, strict=True))
    reach = [max(1, round(4.0 / step)) for step in mm]
    apart = ~ndimage.binary_dilation(scan.lungs > 0, structure=np.ones([2 * n + 1 for n in reach], np.bool_))
    hu = scan.volume.hu.astype(np.float32)
    gas = (np.asarray(distance) < 1) & apart & (ndimage.uniform_filter(hu, 3) > -200)  # noqa: PLR2004 - in tissue
    weight = blur(gas.astype(np.float32), 0.8, mm)
    noise = _own_noise(rng, hu, scan.lungs, mm)
    dark = hu + weight * (_GAS_HU + 0.7 * noise - hu)
    return Inserted(_as_volume(np.where(scan.lungs > 0, hu, dark), mm), scan.lungs, scan.opacity)


def breathe_out(rng: np.random.Generator, volume: Volume, lungs: Mask) -> Volume:
    """Make the lungs denser everywhere and more so at the back, as in poor inspiration: no disease, and hazy to a threshold."""
    hu = volume.hu.astype(np.float32)
    back = np.linspace(-1, 1, hu.shape[1], dtype=np.float32)[None, :, None]
    dependent = rng.uniform(0, 60) * np.clip(back, 0, 1) + rng.choice([0.0, rng.uniform(0, 160)]) * np.clip(
        2 * back - 1, 0, 1
    )
    rise = rng.uniform(-40, 170) + dependent
    inner = blur((lungs > 0).astype(np.float32), 1.5, volume.spacing_mm)
    air = np.clip((-500.0 - hu) / 300.0, 0, 1)
    return _as_volume(hu + rise * inner * air, volume.spacing_mm)


def _own_noise(rng: np.random.Generator, hu: Field, lungs: Mask, spacing_mm: Spacing) -> Field:
    """Return noise of the scan's strength and grain, as measured in soft tissue around the lungs."""
    rough = hu - blur(hu, (0.0, 2.5 * spacing_mm[1], 2.5 * spacing_mm[2]), spacing_mm)
    flat = ndimage.binary_erosion(np.abs(hu - 40) < 160, structure=np.ones((1, 3, 3), np.bool_)) & (lungs == 0)  # noqa: PLR2004 - soft tissue
    pairs = flat[..., 1:] & flat[..., :-1]
    strength = float(1.4826 * np.median(np.abs(rough[flat]))) if flat.any() else 15.0
    product = rough[..., 1:][pairs] * rough[..., :-1][pairs]
    agreement = float(np.median(product) / 0.45 / max(1.0, strength**2)) if pairs.any() else 0.3
    grain_mm = spacing_mm[2] * float(np.clip(1.2 + 2.0 * agreement, 0.4, 3.0))
    return grain(rng, hu.shape, spacing_mm, strength_hu=strength, grain_mm=grain_mm)


def _to_the_wall(weight: Field, lungs: Mask) -> Field:
    """Carry the weight one voxel beyond the lungs, so that the seam of partial volume at the pleura fills up."""
    grown = ndimage.grey_dilation(weight, footprint=np.ones((1, 3, 3), np.bool_))
    return np.where(lungs > 0, weight, grown).astype(np.float32)


def _as_volume(hu: Field, spacing_mm: Spacing) -> Volume:
    return Volume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), spacing_mm)
