"""A scan that is known by zone scores alone is prepared as any other, and its truth is what the reader saw."""

import numpy as np
import pytest
import torch

from models.phantom import PROFILES, Phantom, make_phantom
from models.quantify import count_zones
from models.scored import prepare_scored, scored_slabs
from models.severity import zone_score
from models.slabs import prepare_slabs
from models.weights import STARTING, load_net


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(3, profile=PROFILES["ge-standard"], disease=0.3, shape=(12, 80, 80), spacing_mm=(6.0, 4.0, 4.0))


def test_only_the_truth_differs_from_a_scan_with_a_mask(phantom: Phantom) -> None:
    net = load_net(STARTING)
    scored = prepare_scored(phantom.volume, phantom.lungs, ((2, 1), (1, 1), (0, 3)), net)
    masked = prepare_slabs(phantom.volume, phantom.lungs, np.zeros_like(phantom.lungs))
    assert torch.equal(scored.slabs, masked.slabs)
    assert torch.equal(scored.valid, masked.valid)
    assert scored.target.any()
    assert not masked.target.any()


def test_the_networks_own_scores_leave_its_own_mask(phantom: Phantom) -> None:
    """Told what it found itself, the network finds the same: the points move nothing that agrees with them."""
    net = load_net(STARTING)
    bare = prepare_slabs(phantom.volume, phantom.lungs, np.zeros_like(phantom.lungs))
    sides = torch.where(bare.valid, 1, 0)
    with torch.inference_mode():
        seen = net(bare.take(range(len(bare))).inputs).softmax(dim=1).numpy()
    found = np.where(seen[:, 1] + seen[:, 2] >= 0.5, np.where(seen[:, 2] > seen[:, 1], 2, 1), 0) * bare.valid.numpy()
    points = zone_score(count_zones(sides.numpy().astype(np.uint8), found.astype(np.uint8))).zones
    again = scored_slabs(bare, sides, points, net).target.numpy()
    assert (again != found).mean() < 0.001


def test_other_points_are_refused(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        prepare_scored(phantom.volume, phantom.lungs, ((5, 0), (0, 0), (0, 0)), load_net(STARTING))
