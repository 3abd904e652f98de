"""Scanner models: how the same body looks from one machine to the next. Blur, grain and strength of noise, HU offset, contrast."""

from dataclasses import dataclass

import numpy as np

from models.fields import Field, blur
from models.volume import Spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerProfile:
    """One machine and protocol.

    `noise_hu` is the standard deviation of noise in soft tissue, `grain_mm` its correlation length in plane, `blur_mm` the width of
    the kernel, `edge_gain` how much a sharp kernel overshoots. `offset_hu` and `gain` are calibration; `contrast` is true after an
    injection. `spacing_mm` (z, y, x) is the protocol's usual grid.
    """

    manufacturer: str
    model: str
    kernel: str
    noise_hu: float
    grain_mm: float
    blur_mm: float
    edge_gain: float = 0.0
    offset_hu: float = 0.0
    gain: float = 1.0
    contrast: bool = False
    spacing_mm: Spacing = (5.0, 2.8, 2.8)


PROFILES: dict[str, ScannerProfile] = {
    "siemens-b31f": ScannerProfile(
        manufacturer="SIEMENS", model="Phantom S16", kernel="B31f", noise_hu=14, grain_mm=1.4, blur_mm=1.1
    ),
    "siemens-b70f": ScannerProfile(
        manufacturer="SIEMENS", model="Phantom S64", kernel="B70f", noise_hu=42, grain_mm=0.6, blur_mm=0.5, edge_gain=0.5,
        contrast=True, spacing_mm=(3.0, 2.8, 2.8),
    ),
    "ge-standard": ScannerProfile(
        manufacturer="GE MEDICAL SYSTEMS", model="Phantom G64", kernel="STANDARD", noise_hu=20, grain_mm=1.0, blur_mm=0.9,
        offset_hu=6.0,
    ),
    "ge-lung": ScannerProfile(
        manufacturer="GE MEDICAL SYSTEMS", model="Phantom G64", kernel="LUNG", noise_hu=48, grain_mm=0.5, blur_mm=0.4, edge_gain=0.6,
        spacing_mm=(2.5, 2.8, 2.8),
    ),
    "philips-b": ScannerProfile(
        manufacturer="Philips", model="Phantom P16", kernel="B", noise_hu=18, grain_mm=1.5, blur_mm=1.3, offset_hu=-8.0,
        gain=0.99, contrast=True,
    ),
    "canon-fc08": ScannerProfile(
        manufacturer="Canon Medical Systems", model="Phantom C80", kernel="FC08", noise_hu=26, grain_mm=1.2, blur_mm=1.0,
        offset_hu=10.0, gain=1.01,
    ),
    "low-dose": ScannerProfile(
        manufacturer="GE MEDICAL SYSTEMS", model="Phantom G16 PET", kernel="STANDARD", noise_hu=60, grain_mm=1.6, blur_mm=1.4
    ),
}  # fmt: skip
"""By name. The machines are invented; their kernels carry the makers' usual names."""


def acquire(rng: np.random.Generator, truth: Field, profile: ScannerProfile, spacing_mm: Spacing) -> Field:
    """Return what the scanner makes of a body.

    Args:
        rng: The only source of randomness.
        truth: True HU, (Z, Y, X).
        profile: The machine.
        spacing_mm: Along (z, y, x).
    """
    seen = blur(truth, (0.0, profile.blur_mm, profile.blur_mm), spacing_mm)
    if profile.edge_gain:
        seen = seen + profile.edge_gain * (seen - blur(seen, (0.0, 1.6, 1.6), spacing_mm))
    noise = grain(rng, truth.shape, spacing_mm, strength_hu=profile.noise_hu, grain_mm=profile.grain_mm)
    # Photon noise grows with the rays' path through tissue: less in lung, least in the air around.
    dose = np.clip(0.45 + 0.55 * (seen + 1000.0) / 1000.0, 0.3, 1.1)
    shown: Field = profile.gain * seen + profile.offset_hu + noise * dose
    return shown


def grain(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: Spacing, *, strength_hu: float, grain_mm: float
) -> Field:
    """Return noise of `strength_hu` standard deviation whose values agree over about `grain_mm` in plane."""
    white = rng.standard_normal(shape, dtype=np.float32)
    coloured = blur(white, (0.0, 0.5 * grain_mm, 0.5 * grain_mm), spacing_mm)
    noise: Field = coloured * np.float32(strength_hu / (coloured.std() + 1e-6))
    return noise
