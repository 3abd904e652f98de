"""Disease of exactly known extent: where it lies, how much air it displaces, and how a scan looks with it.

Ground glass and consolidation displace air: `hu' = hu + f * (tissue - hu)` with f the share of air displaced. Edges are
soft; truth is drawn where the disease displaces at least half of the air that it displaces at its core. The noise that
blending takes away is put back in the scan's own strength and grain. Used by phantoms and by insertion into real scans.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.fields import Field, blur, smooth_noise
from models.quantify import CONSOLIDATION, GROUND_GLASS
from models.volume import Mask, Spacing

TISSUE_HU = 45.0
"""What fills the alveoli: water, cells, blood."""

_AIR_HU = -1000.0

_LEAST_RISE_HU = 130.0
"""Ground glass is denser than the lung around it by at least this much, in lungs that are dense all over too.

A network that learnt from fainter truth called 15 % of a healthy PET-CT ill.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionStyle:
    """How disease looks and where it likes to lie. Weights add up to a score; the highest-scoring lung becomes diseased."""

    peripheral: float
    posterior: float
    basal: float
    scale_mm: float
    edge_mm: float
    ggo_hu: tuple[float, float]
    consolidation_hu: tuple[float, float]
    consolidation_share: float
    paving: float


@dataclass(frozen=True, slots=True)
class Lesions:
    """`ggo` and `consolidation` are blend weights (0 to 1, (Z, Y, X)); `truth` is 1 ground glass, 2 consolidation."""

    ggo: Field
    consolidation: Field
    truth: Mask


def draw_style(rng: np.random.Generator) -> LesionStyle:
    """Draw a style within what COVID-19 and its like look like on CT."""
    low = rng.uniform(-720, -480)
    return LesionStyle(
        peripheral=rng.uniform(-0.2, 1.6), posterior=rng.uniform(0, 1.0), basal=rng.uniform(-0.3, 0.9),
        scale_mm=float(np.exp(rng.uniform(np.log(14), np.log(70)))), edge_mm=rng.uniform(0.8, 2.6),
        ggo_hu=(low, low + rng.uniform(60, 220)), consolidation_hu=(rng.uniform(-120, 0), rng.uniform(10, 70)),
        consolidation_share=rng.choice([0.0, rng.uniform(0.02, 0.45)], p=[0.35, 0.65]), paving=rng.choice([0.0, rng.uniform(0.1, 0.5)]),
    )  # fmt: skip


def draw_lesions(
    rng: np.random.Generator, lungs: Mask, spacing_mm: Spacing, *, share: float, style: LesionStyle
) -> Lesions:
    """Place disease over `share` of the lungs.

    Args:
        rng: The only source of randomness.
        lungs: Not zero inside, (Z, Y, X).
        spacing_mm: Along (z, y, x).
        share: Wanted opacity, 0 to 1, of lung voxels; met within a few percent of itself. The truth mask is exact in any case.
        style: Looks and places.
    """
    inside = lungs > 0
    if share <= 0 or not inside.any():
        empty = np.zeros(lungs.shape, np.float32)
        return Lesions(empty, empty, np.zeros(lungs.shape, np.uint8))
    score = _score(rng, inside, spacing_mm, style)
    opacity = _soft(_top(score, inside, share), inside, spacing_mm, style.edge_mm)
    core = score + 0.7 * smooth_noise(rng, lungs.shape, spacing_mm, scale_mm=style.scale_mm / 2)
    dense_core = _top(core, inside & (opacity >= 0.5), style.consolidation_share)  # noqa: PLR2004 - half the air
    dense = _soft(dense_core, inside, spacing_mm, style.edge_mm) * (opacity > 0)
    truth = np.where(opacity >= 0.5, GROUND_GLASS, 0)  # noqa: PLR2004
    truth = np.where((dense >= 0.5) & inside, CONSOLIDATION, truth)  # noqa: PLR2004
    return Lesions(opacity, dense, truth.astype(np.uint8))


def displaced_air(
    rng: np.random.Generator, hu: Field, lesions: Lesions, spacing_mm: Spacing, *, lungs: Mask, style: LesionStyle
) -> Field:
    """Return f, the share of air displaced per voxel, such that ordinary parenchyma reaches the style's HU at the core."""
    base = float(np.median(hu[(lungs > 0) & (hu < -600)])) if ((lungs > 0) & (hu < -600)).any() else -850.0  # noqa: PLR2004 - parenchyma
    fainter = max(0.0, base + _LEAST_RISE_HU - style.ggo_hu[0])
    ggo_core = _core(rng, hu.shape, spacing_mm, (style.ggo_hu[0] + fainter, style.ggo_hu[1] + fainter), base)
    dense_core = _core(rng, hu.shape, spacing_mm, style.consolidation_hu, base)
    if style.paving:
        mesh = np.abs(smooth_noise(rng, hu.shape, spacing_mm, scale_mm=5.0))
        ggo_core *= 1.0 + style.paving * (0.5 - np.minimum(mesh, 1.0))
    share: Field = np.clip(np.maximum(lesions.ggo * ggo_core, lesions.consolidation * dense_core), 0.0, 1.0)
    return share


def blend(hu: Field, displaced: Field, refill: Field) -> Field:
    """Return the scan with disease: air displaced, and the noise that blending took away put back.

    Args:
        hu: The scan, (Z, Y, X).
        displaced: f, 0 to 1.
        refill: Noise of the scan's own strength and grain, in HU.
    """
    kept = 1.0 - displaced
    lost = np.sqrt(np.clip(1.0 - kept * kept, 0.0, 1.0))
    return hu + displaced * (TISSUE_HU - hu) + lost * refill * (displaced > 0)


def _core(
    rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: Spacing, band: tuple[float, float], base: float
) -> Field:
    """Return f at the core, varying smoothly so that parenchyma of `base` HU lands inside `band`."""
    wander = 0.5 + 0.5 * np.tanh(smooth_noise(rng, shape, spacing_mm, scale_mm=25.0))
    wanted = band[0] + (band[1] - band[0]) * wander
    share: Field = np.clip((wanted - base) / (TISSUE_HU - base), 0.0, 1.0).astype(np.float32)
    return share


def _score(rng: np.random.Generator, inside: NDArray[np.bool_], spacing_mm: Spacing, style: LesionStyle) -> Field:
    """Return where disease would go first: patches, favouring the style's places."""
    score = smooth_noise(rng, inside.shape, spacing_mm, scale_mm=style.scale_mm)
    score = score + 0.45 * smooth_noise(rng, inside.shape, spacing_mm, scale_mm=style.scale_mm / 2.5)
    if style.scale_mm > 20:  # noqa: PLR2004 - ragged rims only on patches large enough to have them
        score = score + 0.2 * smooth_noise(rng, inside.shape, spacing_mm, scale_mm=6.0)
    depth = _depth_mm(inside, spacing_mm)
    z, y = (np.linspace(-1, 1, n, dtype=np.float32) for n in inside.shape[:2])
    score = score + style.peripheral * np.exp(-depth / 12.0)
    placed: Field = (score + style.posterior * y[:, None] - style.basal * z[:, None, None]).astype(np.float32)
    return placed


def _depth_mm(inside: NDArray[np.bool_], spacing_mm: Spacing) -> Field:
    """Return the distance to the edge of the lung within each slice; a stack's ends are no pleura."""
    z_mm, y_mm, x_mm = spacing_mm
    padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    depth = ndimage.distance_transform_edt(padded, sampling=(1000.0 + z_mm, y_mm, x_mm))
    return np.asarray(depth, dtype=np.float32)[:, 1:-1, 1:-1]


def _top(score: Field, inside: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Return the `share` of the voxels inside with the highest score."""
    values = score[inside]
    if share <= 0 or values.size == 0:
        return np.zeros(score.shape, np.bool_)
    return inside & (score >= np.quantile(values, 1.0 - min(share, 1.0)))


def _soft(core: NDArray[np.bool_], inside: NDArray[np.bool_], spacing_mm: Spacing, edge_mm: float) -> Field:
    """Soften the edge of `core` within the lung; at the pleura it stays sharp, for disease does not fade towards the chest wall."""
    weight = blur(core.astype(np.float32), edge_mm, spacing_mm)
    return np.where(
        inside, weight / np.maximum(blur(inside.astype(np.float32), edge_mm, spacing_mm), 1e-3), 0.0
    ).astype(np.float32)
