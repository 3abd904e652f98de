"""Hounsfield units as the networks read them: one window, one padding, three neighbouring slabs. Training and inference share this."""

import torch
from torch import Tensor

from models.grid import pad_to
from models.net import STRIDE

_CENTRE_HU, _HALF_WIDTH_HU = -400.0, 600.0
"""The window -1000 to 200 HU becomes -1 to 1."""

AIR = -1.0
"""The window's floor, with which slabs are padded."""


def prepare(slabs_hu: Tensor) -> Tensor:
    """Map HU to -1..1, clipped, and pad with the window's floor to multiples of 16: (S, Y, X) to (S, Y', X')."""
    windowed = ((slabs_hu - _CENTRE_HU) / _HALF_WIDTH_HU).clamp(-1.0, 1.0)
    return pad_to(windowed, STRIDE, fill=AIR)


def with_neighbours(prepared: Tensor) -> Tensor:
    """Stack each slab between the one below and the one above, repeating the ends: (S, Y, X) to (S, 3, Y, X)."""
    below = torch.cat([prepared[:1], prepared[:-1]])
    above = torch.cat([prepared[1:], prepared[-1:]])
    return torch.stack([below, prepared, above], dim=1)
