"""Looking at an example as another scanner, another body or another day might show it: what networks see while they learn."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.slabs import PatientSlices

_TISSUE = (60.0 + 400.0) / 600.0
"""60 HU in prepared values: what is brighter is contrast medium or bone."""


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


def look_at(
    rng: np.random.Generator, example: Example, *, slices: int, size: tuple[int, int], mirror_sides: bool, bodies: bool
) -> Look:
    """Draw slices of an example.

    Args:
        rng: The only source of randomness.
        example: What to look at.
        slices: How many.
        size: Height and width of the piece looked at; an example that is smaller is looked at whole, but for bodies.
        mirror_sides: Exchange classes 1 and 2 when mirrored, for right and left.
        bodies: Show it as another body, too: stretched, bent, in thick slices. Lungs come in many shapes and must be found in all of
            them; disease is told by its grain, which resampling takes away (measured: Dice of opacity on phantoms 0.72 with, 0.82 without).
    """
    middle = torch.from_numpy(rng.integers(0, len(example.slabs), slices))
    inputs, target, weight = (_another_body if bodies else _piece)(rng, example, middle, size)
    if rng.random() < 0.5:  # noqa: PLR2004 - as often as not
        inputs, target, weight = inputs.flip(-1), target.flip(-1), weight.flip(-1)
        target = torch.where(target > 0, 3 - target, target) if mirror_sides else target
    return Look(_other_scanner(rng, inputs), target.long(), weight)


def seen_again(rng: np.random.Generator, slices: PatientSlices) -> PatientSlices:
    """Return one patient's slices as another scanner might show them, and every other time in a mirror."""
    inputs, target, valid = slices.inputs, slices.target, slices.valid
    if rng.random() < 0.5:  # noqa: PLR2004 - as often as not
        inputs, target, valid = inputs.flip(-1), target.flip(-1), valid.flip(-1)
    return PatientSlices(_other_scanner(rng, inputs), target, valid)


def _piece(
    rng: np.random.Generator, example: Example, middle: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a piece out as it is, or all of it where it is smaller; its neighbours near or far, or none at all as in a single slice."""
    gap = int(rng.choice([0, 1, 2, 3], p=[0.12, 0.56, 0.2, 0.12]))
    last = len(example.slabs) - 1
    rows, columns = _window(rng, example.slabs.shape[1:], size)
    planes = [example.slabs[(middle + step).clamp(0, last)] for step in (-gap, 0, gap)]
    parts = (torch.stack(planes, dim=1).float(), example.target[middle], example.weight[middle].float())
    inputs, target, weight = (part[..., rows, columns] for part in parts)
    return inputs, target, weight


def _another_body(
    rng: np.random.Generator, example: Example, middle: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = _window(rng, example.slabs.shape[1:], tuple(round(1.2 * edge) for edge in size))
    stack = _stack(rng, example.slabs[:, rows, columns], middle)
    labels = torch.stack([part[middle][:, rows, columns].float() for part in (example.target, example.weight)], dim=1)
    places = _places(rng, stack.shape, size)
    inputs = F.grid_sample(stack + 1.0, places, mode="bilinear", align_corners=False) - 1.0  # outside is air
    target, weight = F.grid_sample(labels, places, mode="nearest", align_corners=False).unbind(dim=1)
    return inputs, target, weight


def _stack(rng: np.random.Generator, slabs: Tensor, middle: Tensor) -> Tensor:
    """Return (B, 3, Y, X): neighbours near or far, or none at all as in a single slice; now and then thick slices."""
    gap = int(rng.choice([0, 1, 2, 3], p=[0.12, 0.56, 0.2, 0.12]))
    last = len(slabs) - 1
    spread = (-1, 0, 1) if rng.random() < 0.3 else (0,)  # noqa: PLR2004 - three slabs averaged look like one thick slice
    planes = [
        torch.stack([slabs[(middle + gap * step + extra).clamp(0, last)].float() for extra in spread]).mean(dim=0)
        for step in (-1, 0, 1)
    ]
    return torch.stack(planes, dim=1)


def _places(rng: np.random.Generator, shape: torch.Size, size: tuple[int, int]) -> Tensor:
    """Return where each pixel looked at comes from, (B, height, width, 2): moved, stretched and bent a little, in 1 of 4 not bent."""
    zooms = [want / have / rng.uniform(0.85, 1.18) for want, have in zip(size, shape[-2:], strict=True)]
    axes = [torch.linspace(-zoom, zoom, count) for zoom, count in zip(zooms, size, strict=True)]
    y, x = torch.meshgrid(axes[0], axes[1], indexing="ij")
    straight = torch.stack([x, y], dim=-1)
    moved = straight + torch.from_numpy(rng.uniform(-0.08, 0.08, 2).astype(np.float32))
    bend = 0.0 if rng.random() < 0.25 else float(rng.uniform(0.0, 0.06))  # noqa: PLR2004
    knots = torch.from_numpy(bend * rng.standard_normal((1, 2, 5, 6), dtype=np.float32))
    bent = moved + F.interpolate(knots, size=size, mode="bicubic", align_corners=True)[0].movedim(0, -1)
    return bent.expand(shape[0], *bent.shape)


def _other_scanner(rng: np.random.Generator, inputs: Tensor) -> Tensor:
    """Shift, scale, blur and roughen prepared HU a little; often with less contrast medium than there was."""
    out = inputs
    if rng.random() < 0.5:  # noqa: PLR2004
        out = torch.where(out > _TISSUE, _TISSUE + (out - _TISSUE) * float(rng.uniform(0, 1)), out)
    out = out * float(rng.uniform(0.95, 1.05)) + float(rng.normal(0, 0.02))
    if rng.random() < 0.3:  # noqa: PLR2004
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
