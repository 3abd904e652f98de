"""What the header of a series says about how far a number can be trusted. Pure; what the voxels say is `models.quality`."""

import re

from client.infer.slices import Slice
from protocol.case import QualityFlag

THICK_MM = 3.0
"""Thicker slices blur small ground-glass areas into normal lung (partial volume)."""

_SHARP_NUMBER = 57
_SHARP_NAMES = {"LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "CHST", "D", "E", "L", "YC", "YD", "YE"}
"""Kernels of GE (words) and Philips (letters) made for edges."""

_SHARP_CANON = range(50, 60), range(80, 90)


def header_flags(one: Slice, *, spacing_mm: float) -> tuple[QualityFlag, ...]:
    """Return flags for a series from one of its slices.

    Args:
        one: Any slice of the series.
        spacing_mm: Between slice centres.
    """
    raised = {
        QualityFlag.THICK_SLICES: max(one.thickness_mm or 0.0, spacing_mm) > THICK_MM,
        QualityFlag.CONTRAST: one.contrast,
        QualityFlag.SHARP_KERNEL: is_sharp(one.kernel, one.manufacturer),
        QualityFlag.UNKNOWN_ACQUISITION: not one.kernel.strip() or one.thickness_mm is None,
    }
    return tuple(flag for flag in QualityFlag if raised.get(flag, False))


def is_sharp(kernel: str, manufacturer: str) -> bool:
    """Say whether a reconstruction kernel enhances edges: its noise and overshoot shift densities.

    Siemens: B, H, I, Br, Bl, Hr... with a number of 57 and more. Canon and Toshiba: FC50 to FC59 and FC80 to FC89. GE and Philips by
    name. An unknown name counts as not sharp; that it is unknown has a flag of its own.
    """
    name = kernel.strip().upper()
    canon = re.fullmatch(r"FC(\d+).*", name)
    if canon:
        return any(int(canon[1]) in sharp for sharp in _SHARP_CANON)
    if "SIEMENS" in manufacturer.upper():
        number = re.match(r"[A-Z]{1,2}(\d{2})", name)
        return number is not None and int(number[1]) >= _SHARP_NUMBER
    return name in _SHARP_NAMES


def merged(*groups: tuple[QualityFlag, ...]) -> tuple[QualityFlag, ...]:
    """Return the flags of all groups, each once, in the order of `QualityFlag`."""
    every = {flag for group in groups for flag in group}
    return tuple(flag for flag in QualityFlag if flag in every)
