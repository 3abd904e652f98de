"""Phantoms: chest CT of nobody, with exact truth. For tests, demonstrations and the first half of pretraining; never a clinical claim."""

from dataclasses import dataclass

import numpy as np

from models.body import draw_body, draw_build
from models.lesion import LesionStyle, blend, displaced_air, draw_lesions, draw_style
from models.scanner import PROFILES, ScannerProfile, acquire
from models.volume import Mask, Spacing, Volume

__all__ = ["PROFILES", "Phantom", "ScannerProfile", "make_phantom"]

_LEAST_HU, _MOST_HU = -1024, 3071
"""What twelve bits hold."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A volume and its truth on the same grid: `lungs` is 1 right, 2 left; `opacity` is 1 ground glass, 2 consolidation."""

    volume: Volume
    lungs: Mask
    opacity: Mask


def make_phantom(
    seed: int,
    *,
    profile: ScannerProfile,
    disease: float,
    shape: tuple[int, int, int],
    spacing_mm: Spacing,
    style: LesionStyle | None = None,
) -> Phantom:
    """Make the phantom of a seed: the same arguments give the same voxels.

    Args:
        seed: Decides everything that the other arguments leave open.
        profile: The scanner (`models.scanner`).
        disease: Wanted opacity, as a share of lung, 0 to 1. The masks say what it came to.
        shape: (Z, Y, X), at least 8 in each direction.
        spacing_mm: Along (z, y, x). A chest that does not fit into the box is shrunk into it.
        style: How the disease looks; drawn from the seed if left out.

    Raises:
        ValueError: If `disease` is no share or the grid is too small.
    """
    if not 0 <= disease <= 1 or min(shape) < 8:  # noqa: PLR2004 - below this no lung has an inside
        raise ValueError("disease is a share from 0 to 1, and a phantom has at least 8 voxels in each direction")
    rng = np.random.default_rng(seed)
    body = draw_body(rng, shape, spacing_mm, draw_build(rng, contrast=profile.contrast))
    style = style or draw_style(rng)
    lesions = draw_lesions(rng, body.lungs, spacing_mm, share=disease, style=style)
    displaced = displaced_air(rng, body.hu, lesions, spacing_mm, lungs=body.lungs, style=style)
    ill = blend(body.hu, displaced, np.zeros_like(body.hu))
    seen = acquire(rng, ill, profile, spacing_mm)
    hu = np.clip(np.rint(seen), _LEAST_HU, _MOST_HU).astype(np.int16)
    return Phantom(Volume(hu, spacing_mm), body.lungs, lesions.truth)
