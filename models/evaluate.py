"""How good are these weights? On phantoms whose truth is known: the centre's public evaluation, the same for every release."""

from collections.abc import Iterable

import numpy as np

from models.measure import measure
from models.net import GgoNet
from models.phantom import PROFILES, Phantom, make_phantom
from protocol.release import Scores

_DISEASED = 0.005
"""Phantoms with less opacity than this count as healthy: Dice means nothing there."""

EVALUATION_SEED = 990_000
"""Phantoms from this seed on are for evaluation; pretraining never draws them."""


def evaluation_phantoms(count: int = 12) -> list[Phantom]:
    """Return the public evaluation set: all scanners in turn, a third of the chests healthy."""
    profiles = list(PROFILES.values())
    shares = (0.0, 0.08, 0.25)
    return [
        make_phantom(
            EVALUATION_SEED + index, profile=profiles[index % len(profiles)], disease=shares[index % 3],
            shape=(32, 128, 128), spacing_mm=(8.0, 2.8, 2.8),
        )
        for index in range(count)
    ]  # fmt: skip


def evaluate(net: GgoNet, phantoms: Iterable[Phantom]) -> Scores:
    """Measure each phantom as a scan would be and compare with its truth.

    Args:
        net: The opacity network.
        phantoms: At least one.

    Returns:
        Mean Dice of opacity over diseased phantoms, mean absolute error of the ground-glass share and mean opacity found in
        healthy ones, both in percentage points of lung.

    Raises:
        ValueError: Without phantoms.
    """
    rows = [_compare(net, phantom) for phantom in phantoms]
    if not rows:
        raise ValueError("an evaluation needs at least one phantom")
    dice = [row[0] for row in rows if row[0] is not None]
    healthy = [row[2] for row in rows if row[0] is None]
    return Scores(
        cases=len(rows), dice=float(np.mean(dice)) if dice else 1.0, ggo_error_points=float(np.mean([row[1] for row in rows])),
        false_opacity_points=float(np.mean(healthy)) if healthy else 0.0,
    )  # fmt: skip


def _compare(net: GgoNet, phantom: Phantom) -> tuple[float | None, float, float]:
    """Return Dice (None for healthy phantoms), ground-glass error and opacity found, the last two in points."""
    found = measure(phantom.volume, net)
    lung_voxels = max(1, int(np.count_nonzero(phantom.lungs)))
    truth = phantom.opacity > 0
    share = np.count_nonzero(phantom.opacity == 1) / lung_voxels
    error = 100.0 * abs(found.numbers.whole.ggo_fraction - share)
    opacity = 100.0 * found.numbers.whole.opacity_fraction
    if np.count_nonzero(truth) / lung_voxels < _DISEASED:
        return None, error, opacity
    both = 2.0 * np.count_nonzero(truth & (found.opacity > 0))
    return both / (np.count_nonzero(truth) + np.count_nonzero(found.opacity)), error, opacity
