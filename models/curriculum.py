"""What the shipped networks learn from: phantoms, and disease inserted into freely licensed scans."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.anatomy import Anatomy, resample
from models.deform import move_diaphragm
from models.grid import grid_over, labels_to_slabs, to_slabs, whole
from models.insertion import Inserted, breathe_out, insert_disease, insert_effusion, insert_gas
from models.lesion import LesionStyle, draw_style
from models.looks import Example
from models.lungs import PIXEL_MM as LUNG_PIXEL_MM
from models.net import CLASSES
from models.phantom import PROFILES, make_phantom
from models.prepare import prepare
from models.scanner import grain
from models.slabs import PIXEL_MM, lung_grid
from models.volume import Mask, Volume

_DENSE_HU, _DENSE_WEIGHT, _RIM_PIXELS = -350.0, 1.5, 11
"""What is dense in the lungs or up to 12 mm around them is what the lung network is for: it counts more, on both sides alike."""


def ill_scans(
    rng: np.random.Generator, anatomy: Anatomy, *, count: int, pleural: bool, first_free: bool = True
) -> Iterator[Inserted]:
    """Yield variants of one anatomy: the first free of disease, the others breathed out and ill; `pleural` favours consolidation at the pleura and adds effusions and stomach gas."""
    for index in range(count):
        volume = anatomy.volume if rng.random() < 0.4 else breathe_out(rng, anatomy.volume, anatomy.lungs)  # noqa: PLR2004 - four in ten
        share = 0.0 if (index == 0 and first_free) or rng.random() < 0.25 else _share(rng)  # noqa: PLR2004
        style = draw_style(rng)
        style = at_the_pleura(rng, style) if pleural and rng.random() < 0.5 else style  # noqa: PLR2004
        scan = insert_disease(rng, volume, anatomy.lungs, share=share, style=style)
        yield _beside_the_lungs(rng, scan) if pleural else scan


def opacity_examples(
    rng: np.random.Generator, anatomies: list[Anatomy], *, per_anatomy: int, phantoms: int
) -> Iterator[Example]:
    """Yield examples for the opacity network: each anatomy on a fine and on a coarse grid, then phantoms."""
    for anatomy in anatomies:
        for index in range(per_anatomy):
            coarse = index % 3 == 2  # noqa: PLR2004 - a third as coarse as old scanners' exports
            pixel, slab = (rng.uniform(2.4, 3.3), rng.uniform(3.0, 6.0)) if coarse else (PIXEL_MM, 3.0)
            work = resample(anatomy, pixel_mm=pixel, slab_mm=slab, margin_mm=30.0)
            noisy = rng.random() < 0.4  # noqa: PLR2004
            ready = replace(work, volume=noisier(rng, work.volume, strength_hu=(10, 70))) if noisy else work
            (scan,) = (
                ill_scans(rng, ready, count=1, pleural=False) if index == 0 else _one_ill(rng, ready, pleural=False)
            )
            yield opacity_example(scan.volume, scan.lungs, scan.opacity)
    for scan in _phantom_scans(rng, phantoms):
        yield opacity_example(scan.volume, scan.lungs, scan.opacity)


def lung_examples(
    rng: np.random.Generator, anatomies: list[Anatomy], *, per_anatomy: int, phantoms: int
) -> Iterator[Example]:
    """Yield examples for the lung network: whole bodies on the lung grid."""
    for anatomy in anatomies:
        work = resample(anatomy, pixel_mm=LUNG_PIXEL_MM, slab_mm=3.0)
        for index in range(per_anatomy):
            shaped = work if index % 3 == 0 else _reshaped(rng, work)  # every third as it is
            (scan,) = (
                ill_scans(rng, shaped, count=1, pleural=True) if index == 0 else _one_ill(rng, shaped, pleural=True)
            )
            yield lung_example(scan.volume, scan.lungs)
    for scan in _phantom_scans(rng, phantoms):
        yield lung_example(scan.volume, scan.lungs)


def opacity_example(volume: Volume, lungs: Mask, opacity: Mask) -> Example:
    """Bring a scan with known truth onto the working grid; a rim of one pixel around the lungs counts too, as no opacity."""
    grid = lung_grid(lungs > 0, volume)
    inside = labels_to_slabs((lungs > 0).astype(np.uint8), grid, classes=2).float()
    rim = F.max_pool2d(inside[:, None], 3, stride=1, padding=1)[:, 0] > 0
    target = labels_to_slabs(opacity, grid, classes=CLASSES).to(torch.uint8)
    return _padded(to_slabs(volume, grid), target, rim)


def lung_example(volume: Volume, lungs: Mask) -> Example:
    """Bring a scan with known lungs onto the lung grid."""
    grid = grid_over(whole(volume.hu.shape), volume.spacing_mm, pixel_mm=LUNG_PIXEL_MM)
    target = labels_to_slabs(lungs, grid, classes=CLASSES).to(torch.uint8)
    slabs = to_slabs(volume, grid)
    rim = F.max_pool2d((target > 0).float()[:, None], _RIM_PIXELS, stride=1, padding=_RIM_PIXELS // 2)[:, 0] > 0
    weight = torch.where(rim & (slabs > _DENSE_HU), _DENSE_WEIGHT, 1.0)
    return _padded(slabs, target, weight)


def _padded(slabs_hu: Tensor, target: Tensor, weight: Tensor) -> Example:
    prepared = prepare(slabs_hu).to(torch.float16)
    spare = (0, prepared.shape[2] - target.shape[2], 0, prepared.shape[1] - target.shape[1])
    return Example(prepared, F.pad(target, spare), F.pad(weight.to(torch.float16), spare))


def _share(rng: np.random.Generator) -> float:
    """Draw how ill: mostly a little, sometimes nearly everything."""
    return float(np.clip(rng.beta(0.8, 2.4), 0.004, 0.9))


def at_the_pleura(rng: np.random.Generator, style: LesionStyle) -> LesionStyle:
    """Turn a style into dense disease along the chest wall, which a threshold takes for chest wall."""
    return replace(
        style,
        peripheral=rng.uniform(0.8, 3.0),
        consolidation_share=rng.uniform(0.4, 1.0),
        scale_mm=max(style.scale_mm, rng.uniform(20, 80)),
    )


def _beside_the_lungs(rng: np.random.Generator, scan: Inserted) -> Inserted:
    """Add what must not be taken for lung: gas beneath the diaphragm in a third, an effusion in a tenth."""
    if rng.random() < 0.35:  # noqa: PLR2004
        scan = insert_gas(rng, scan, radius_mm=rng.uniform(12, 45))
    return insert_effusion(rng, scan, depth_mm=rng.uniform(10, 60)) if rng.random() < 0.1 else scan  # noqa: PLR2004


def _reshaped(rng: np.random.Generator, anatomy: Anatomy) -> Anatomy:
    """Move both halves of the diaphragm, one of them perhaps far up."""
    right, left = rng.normal(0, 15), rng.normal(0, 15)
    high = rng.uniform(20, 80) if rng.random() < 0.4 else 0.0  # noqa: PLR2004
    right, left = (right + high, left) if rng.random() < 0.4 else (right, left + high)  # noqa: PLR2004 - the left is higher more often
    volume, lungs = move_diaphragm(anatomy.volume, anatomy.lungs, right_mm=right, left_mm=left)
    return replace(anatomy, volume=volume, lungs=lungs)


def _one_ill(rng: np.random.Generator, anatomy: Anatomy, *, pleural: bool) -> Iterator[Inserted]:
    yield from ill_scans(rng, anatomy, count=1, pleural=pleural, first_free=False)


def noisier(rng: np.random.Generator, volume: Volume, *, strength_hu: tuple[float, float]) -> Volume:
    """Add grainy noise as of a lower dose; its standard deviation is drawn from that range."""
    noise = grain(
        rng, volume.hu.shape, volume.spacing_mm, strength_hu=rng.uniform(*strength_hu), grain_mm=rng.uniform(0.8, 3.5)
    )
    return Volume(np.clip(np.rint(volume.hu + noise), -1024, 3071).astype(np.int16), volume.spacing_mm)


def _phantom_scans(rng: np.random.Generator, count: int) -> Iterator[Inserted]:
    """Yield phantoms of all scanners on grids from coarse to fine."""
    profiles = list(PROFILES.values())
    for index in range(count):
        pixel = float(rng.uniform(2.2, 3.2))
        slab = float(rng.choice([3.0, 5.0, 8.0]))
        shape = (int(min(64, 288 / slab)), int(350 / pixel), int(370 / pixel))
        share = 0.0 if rng.random() < 0.3 else _share(rng)  # noqa: PLR2004
        seed = int(rng.integers(0, 900_000))
        phantom = make_phantom(
            seed, profile=profiles[index % len(profiles)], disease=share, shape=shape, spacing_mm=(slab, pixel, pixel)
        )
        yield Inserted(phantom.volume, phantom.lungs, phantom.opacity)
