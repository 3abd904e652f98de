"""What the shipped networks learn from: phantoms and disease inserted into freely licensed scans, and how each look at them differs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.anatomy import Anatomy, resample
from models.deform import move_diaphragm
from models.grid import grid_over, labels_to_slabs, to_slabs, whole
from models.insertion import Inserted, breathe_out, insert_disease, insert_effusion, insert_gas
from models.lesion import LesionStyle, draw_style
from models.lungs import PIXEL_MM as LUNG_PIXEL_MM
from models.net import CLASSES
from models.phantom import PROFILES, make_phantom
from models.prepare import prepare
from models.slabs import PIXEL_MM, lung_grid
from models.volume import Mask, Volume

_DENSE_HU, _DENSE_WEIGHT, _RIM_PIXELS = -350.0, 2.5, 11
"""What is dense in the lungs or up to 12 mm around them is what the lung network is for: it counts more, on both sides alike."""


@dataclass(frozen=True, slots=True)
class Example:
    """One volume ready to learn from: `slabs` float16 prepared HU, `target` uint8, `weight` float16 (0 where nothing is learnt), all (S, Y, X)."""

    slabs: Tensor
    target: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Look:
    """A batch of slices from one example: inputs (B, 3, Y, X), target and weight (B, Y, X)."""

    inputs: Tensor
    target: Tensor
    weight: Tensor


def ill_scans(
    rng: np.random.Generator, anatomy: Anatomy, *, count: int, pleural: bool, first_free: bool = True
) -> Iterator[Inserted]:
    """Yield variants of one anatomy: the first free of disease, the others breathed out and ill; `pleural` favours consolidation at the pleura and adds effusions and stomach gas."""
    for index in range(count):
        volume = anatomy.volume if rng.random() < 0.4 else breathe_out(rng, anatomy.volume, anatomy.lungs)  # noqa: PLR2004 - four in ten
        share = 0.0 if (index == 0 and first_free) or rng.random() < 0.15 else _share(rng)  # noqa: PLR2004
        style = draw_style(rng)
        style = _pleural(rng, style) if pleural and rng.random() < 0.5 else style  # noqa: PLR2004
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
            ready = replace(work, volume=_noisier(rng, work.volume)) if rng.random() < 0.4 else work  # noqa: PLR2004
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


def look_at(
    rng: np.random.Generator, example: Example, *, slices: int, size: tuple[int, int], mirror_sides: bool
) -> Look:
    """Draw slices of an example as another scanner or another day might show them.

    Args:
        rng: The only source of randomness.
        example: What to look at.
        slices: How many.
        size: Height and width of the piece looked at.
        mirror_sides: Exchange classes 1 and 2 when mirrored, for right and left.
    """
    middle = torch.from_numpy(rng.integers(0, len(example.slabs), slices))
    gap = int(rng.choice([1, 1, 1, 2, 3]))
    last = len(example.slabs) - 1
    stack = torch.stack([example.slabs[(middle + step).clamp(0, last)] for step in (-gap, 0, gap)], dim=1).float()
    seen = tuple(max(16, round(edge / rng.uniform(0.85, 1.2))) for edge in size)  # larger and smaller bodies
    rows, columns = _window(rng, example.slabs.shape[1:], seen)
    inputs, target, weight = (
        F.interpolate(_fitted(part[..., rows, columns], seen, fill), size=size, mode=mode)
        for part, fill, mode in (
            (stack, -1.0, "bilinear"),
            (example.target[middle, None].float(), 0.0, "nearest"),
            (example.weight[middle, None].float(), 0.0, "nearest"),
        )
    )
    target, weight = target[:, 0].long(), weight[:, 0]
    if rng.random() < 0.5:  # noqa: PLR2004 - as often as not
        inputs, target, weight = inputs.flip(-1), target.flip(-1), weight.flip(-1)
        target = torch.where(target > 0, 3 - target, target) if mirror_sides else target
    return Look(_other_scanner(rng, inputs), target, weight)


def _other_scanner(rng: np.random.Generator, inputs: Tensor) -> Tensor:
    """Shift, scale, blur and roughen prepared HU a little."""
    out = inputs * float(rng.uniform(0.95, 1.05)) + float(rng.normal(0, 0.02))
    if rng.random() < 0.25:  # noqa: PLR2004
        out = F.avg_pool2d(out, 3, stride=1, padding=1, count_include_pad=False)
    if rng.random() < 0.6:  # noqa: PLR2004
        noise = torch.from_numpy(rng.standard_normal(out.shape, dtype=np.float32))
        if rng.random() < 0.5:  # noqa: PLR2004 - coarse grain as often as fine
            noise = 2.0 * F.avg_pool2d(noise, 3, stride=1, padding=1)
        out = out + noise * float(rng.uniform(0.0, 0.12))
    return out.clamp(-1.0, 1.0)


def _window(rng: np.random.Generator, shape: torch.Size, size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return where to cut a piece of `size`; smaller pictures stay whole."""
    starts = [int(rng.integers(0, max(1, have - want + 1))) for have, want in zip(shape, size, strict=True)]
    return slice(starts[0], starts[0] + size[0]), slice(starts[1], starts[1] + size[1])


def _fitted(part: Tensor, size: tuple[int, ...], fill: float) -> Tensor:
    height, width = part.shape[-2:]
    return F.pad(part, (0, size[1] - width, 0, size[0] - height), value=fill)


def _padded(slabs_hu: Tensor, target: Tensor, weight: Tensor) -> Example:
    prepared = prepare(slabs_hu).to(torch.float16)
    spare = (0, prepared.shape[2] - target.shape[2], 0, prepared.shape[1] - target.shape[1])
    return Example(prepared, F.pad(target, spare), F.pad(weight.to(torch.float16), spare))


def _share(rng: np.random.Generator) -> float:
    """Draw how ill: mostly a little, sometimes nearly everything."""
    return float(np.clip(rng.beta(0.8, 2.4), 0.004, 0.9))


def _pleural(rng: np.random.Generator, style: LesionStyle) -> LesionStyle:
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


def _noisier(rng: np.random.Generator, volume: Volume) -> Volume:
    """Add grainy noise as of a lower dose."""
    from models.scanner import grain

    noise = grain(
        rng, volume.hu.shape, volume.spacing_mm, strength_hu=rng.uniform(10, 70), grain_mm=rng.uniform(0.8, 3.5)
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
