"""How well a network finds the opacity of one prepared study: a Dice that means something for healthy lungs too."""

from collections.abc import Sequence
from typing import Protocol

import torch

from models.infer import BATCH, probabilities
from models.net import GgoNet
from models.slabs import PatientSlices

SMOOTH_FRACTION = 0.01
"""Of the lung: so much opacity in a healthy one halves its score. Without it one false pixel would take all of it."""

_HALF = 0.5


class Slices(Protocol):
    """The prepared slices of one study; they may lie on the disk."""

    def __len__(self) -> int:
        """How many slices there are."""
        ...

    def take(self, index: Sequence[int], /) -> PatientSlices:
        """Return the slices at these places."""
        ...


def smoothed_dice(net: GgoNet, study: Slices, *, device: str = "cpu") -> float:
    """Return (2 |found ∩ true| + s) / (|found| + |true| + s) over the lungs of a study, s a hundredth of the lung.

    Args:
        net: The opacity network, in evaluation mode.
        study: Its slices with the truth; opacity is any class but 0, found where its probability is at least one half.
        device: Where the network runs.

    Returns:
        In [0, 1]; 1 for a study without lung.
    """
    both = found = true = lung = 0
    for start in range(0, len(study), BATCH):
        part = study.take(range(start, min(start + BATCH, len(study))))
        said = (1.0 - probabilities(net, part.inputs, device=device)[:, 0] >= _HALF) & part.valid  # (n, Y, X)
        truth = (part.target > 0) & part.valid
        both += int(torch.count_nonzero(said & truth))
        found += int(torch.count_nonzero(said))
        true += int(torch.count_nonzero(truth))
        lung += int(torch.count_nonzero(part.valid))
    smooth = SMOOTH_FRACTION * lung
    return (2.0 * both + smooth) / (found + true + smooth) if lung else 1.0
