"""What training minimises: one number per patient, from that patient's slices alone.

The privacy unit is the patient (docs/explanation/measurement.md): nothing in here may look at two patients at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SMOOTH_PIXELS = 50.0


def patient_loss(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice of one patient.

    Args:
        logits: (S, 3, Y, X).
        target: Classes 0 to 2, int64, (S, Y, X).
        valid: True inside the lungs, (S, Y, X), or a weight per pixel; what is False or 0 is left out.

    Returns:
        A scalar; zero, but still attached to the graph, for a patient without lung pixels.
    """
    inside = valid.to(logits.dtype)
    pixels = inside.sum().clamp(min=1.0)
    entropy = (F.cross_entropy(logits, target, reduction="none") * inside).sum() / pixels
    probability = logits.softmax(dim=1)
    opacity = _soft_dice(1.0 - probability[:, 0], target > 0, inside)
    dense = _soft_dice(probability[:, 2], target == 2, inside)  # noqa: PLR2004 - class 2 is consolidation
    return entropy + 0.5 * opacity + 0.25 * dense


def _soft_dice(probability: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """Return one minus the smoothed soft Dice over all slices together; without any truth it stays near zero for low probabilities."""
    wanted = truth.to(probability.dtype) * inside
    overlap = torch.sum(wanted * probability)
    return 1.0 - (2.0 * overlap + _SMOOTH_PIXELS) / (wanted.sum() + torch.sum(probability * inside) + _SMOOTH_PIXELS)
