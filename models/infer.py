"""Running the network over a scan: probabilities on the working grid, classes on the scan's own voxels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.grid import Grid, from_slabs, to_slabs
from models.net import GgoNet
from models.prepare import prepare, with_neighbours
from models.quantify import CONSOLIDATION, GROUND_GLASS
from models.volume import Mask, Volume

BATCH = 4
"""Slabs at once: more would leave the cache of most processors (4 beats 8 with AVX2; with AMX 8 is 7 % ahead: docs/adr/0012)."""

_ROUNDING = 1e-4
"""By so much may a probability rise where it is interpolated, and no more: a mean lies between what it is of."""

MIRROR_EVERY = 3
"""One slab in so many is looked at twice: enough to see hesitation, at a third of the price."""


def probabilities(net: GgoNet, inputs: Tensor, *, device: str = "cpu") -> Tensor:
    """Return class probabilities, (S, 3, Y, X) on the CPU.

    Args:
        net: In evaluation mode.
        inputs: Prepared slabs with neighbours, (S, 3, Y, X).
        device: Where to compute.
    """
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks memory_format for modules
    with torch.inference_mode():
        parts = [
            net(part.to(device).contiguous(memory_format=torch.channels_last)).softmax(dim=1).cpu()
            for part in torch.split(inputs, BATCH)
        ]
    return torch.cat(parts).contiguous()


@dataclass(frozen=True, slots=True)
class Views:
    """Probabilities of all slabs as seen, and of every `MIRROR_EVERY`th as seen in a mirror, each (slabs, 3, height, width).

    The first is the measurement. Where the two differ the network hesitates, which is part of the measurement's uncertainty.
    """

    plain: Tensor
    mirrored: Tensor


def slab_probabilities(volume: Volume, grid: Grid, net: GgoNet, *, device: str = "cpu") -> Views:
    """Run the network over all slabs of `grid`."""
    inputs = with_neighbours(prepare(to_slabs(volume, grid)))
    plain = probabilities(net, inputs, device=device)
    mirrored = probabilities(net, inputs[::MIRROR_EVERY].flip(-1), device=device).flip(-1)
    return Views(plain[..., : grid.height, : grid.width], mirrored[..., : grid.height, : grid.width])


def opacity_mask(plain: Tensor, grid: Grid, lungs: Mask, *, threshold: float = 0.5) -> Mask:
    """Return 1 ground glass, 2 consolidation on the scan's own voxels, inside the lungs only.

    Args:
        plain: Probabilities, (slabs, 3, height, width).
        grid: Their grid.
        lungs: Not zero inside, (Z, Y, X).
        threshold: Least probability of opacity.
    """
    out = np.zeros(lungs.shape, np.uint8)
    rows, columns = grid.box[1], grid.box[2]
    opaque = plain[:, 1:].sum(dim=1).flatten(1).amax(dim=1) >= threshold - _ROUNDING
    for z, (ggo, dense) in from_slabs(plain[:, 1:], grid, only=opaque):
        kind = np.where(dense > ggo, np.uint8(CONSOLIDATION), np.uint8(GROUND_GLASS)) * (ggo + dense >= threshold)
        out[z, rows, columns] = kind * (lungs[z, rows, columns] > 0)
    return out
