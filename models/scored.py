"""A study of which only a reader's zone scores are known, as the network learns from it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.grid import labels_to_slabs, pad_to
from models.infer import probabilities
from models.net import STRIDE, GgoNet
from models.quantify import LEFT
from models.slabs import PreparedSlabs, lung_grid, prepare_slabs
from models.volume import Mask, Volume
from models.weak import mask_from_zone_points


def prepare_scored(
    volume: Volume, lungs: Mask, points: Sequence[tuple[int, int]], net: GgoNet, *, device: str = "cpu"
) -> PreparedSlabs:
    """Prepare a scan for training whose label is a reader's zone scores: the same steps as `models.slabs.prepare_slabs`.

    Args:
        volume: The scan.
        lungs: 1 right, 2 left, on its grid.
        points: (right, left) for the lower, middle and upper third, each 0 to 4.
        net: Says where in a zone the opacity lies; in evaluation mode.
        device: Where it runs.

    Raises:
        ValueError: If the grids differ, there is no lung, or the points are no zone scores.
    """
    slabs = prepare_slabs(volume, lungs, np.zeros_like(lungs))
    sides = labels_to_slabs(lungs, lung_grid(lungs > 0, volume), classes=LEFT + 1)
    return scored_slabs(slabs, pad_to(sides, STRIDE), points, net, device=device)


def scored_slabs(
    slabs: PreparedSlabs, sides: Tensor, points: Sequence[tuple[int, int]], net: GgoNet, *, device: str = "cpu"
) -> PreparedSlabs:
    """Return prepared slabs with the reader's points in place of their truth.

    Args:
        slabs: One study.
        sides: 1 right lung, 2 left, on the same slabs and pixels, (S, Y, X).
        points: As in `prepare_scored`.
        net: As in `prepare_scored`.
        device: Where it runs.

    Raises:
        ValueError: If the points are no zone scores.
    """
    seen = probabilities(net, slabs.take(range(len(slabs))).inputs, device=device).numpy()
    target = mask_from_zone_points(seen[:, 1], seen[:, 2], sides.numpy().astype(np.uint8), points)
    return replace(slabs, target=torch.from_numpy(target))
