"""Probabilities become masks on the scan's own voxels."""

import numpy as np
import pytest
import torch

from models.grid import grid_over, whole
from models.infer import MIRROR_EVERY, Views, opacity_mask, probabilities, slab_probabilities
from models.measure import opacity_interval
from models.net import GgoNet
from models.slabs import lung_grid
from models.weights import STARTING, load_net
from tests.fakes.devices import DEVICES
from tests.unit.models.grids import phantom, starting_net


def even(ggo, dense, slabs=4):
    """Return probabilities that are the same everywhere."""
    plane = torch.tensor([1 - ggo - dense, ggo, dense])[None, :, None, None]
    return plane.expand(slabs, 3, 8, 8).contiguous()


@pytest.mark.parametrize(
    ("ggo", "dense", "kind"), [(0.3, 0.1, 0), (0.4, 0.1, 1), (0.1, 0.45, 2), (0.3, 0.29, 1), (0.0, 1.0, 2)]
)
def test_opacity_needs_half_and_the_larger_share_names_it(ggo, dense, kind):
    lungs = np.zeros((4, 16, 16), np.uint8)
    lungs[:, 2:8] = 1
    grid = grid_over(whole(lungs.shape), (5.0, 1.0, 1.0), pixel_mm=2.0)
    mask = opacity_mask(even(ggo, dense), grid, lungs)
    assert (mask[lungs > 0] == kind).all()
    assert not mask[lungs == 0].any()


def test_one_pixel_of_opacity_is_enough_to_look_at_a_slab():
    plain = even(0.1, 0.1)
    plain[2, :, 5, 5] = torch.tensor([0.5, 0.3, 0.2])
    grid = grid_over(whole((4, 16, 16)), (5.0, 1.0, 1.0), pixel_mm=2.0)
    same = grid_over(whole((4, 8, 8)), (5.0, 1.0, 1.0), pixel_mm=1.0)
    assert np.argwhere(opacity_mask(plain, same, np.ones((4, 8, 8), np.uint8))).tolist() == [[2, 5, 5]]
    assert not opacity_mask(plain, grid, np.ones((4, 16, 16), np.uint8))[:2].any()


def test_probabilities_add_up_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    net, inputs = GgoNet().eval(), torch.randn(6, 3, 32, 32)
    together = probabilities(net, inputs)
    assert together.sum(dim=1) == pytest.approx(1.0, abs=1e-5)
    assert torch.allclose(together[2:3], probabilities(net, inputs[2:3]), atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_probabilities_are_those_of_double_precision_wherever_they_are_computed(device):
    """TF32 products, which torch allows a GPU's convolutions, keep ten bits of each factor."""
    torch.manual_seed(0)
    inputs = torch.rand(6, 3, 48, 64) * 2 - 1
    with torch.inference_mode():
        exact = load_net(STARTING).double()(inputs.double()).softmax(dim=1)
    found = probabilities(load_net(STARTING), inputs, device=device)
    assert found.device.type == "cpu"
    assert (found.double() - exact).abs().max() < (1e-4 if device == "cpu" else 2e-2)
    assert ((found >= 0.5) == (exact >= 0.5)).double().mean() > 0.999


def test_every_third_slab_is_seen_in_a_mirror():
    made = phantom(4, 0.2)
    grid = lung_grid(made.lungs > 0, made.volume)
    views = slab_probabilities(made.volume, grid, starting_net())
    assert views.plain.shape == (grid.slabs, 3, grid.height, grid.width)
    assert len(views.mirrored) == -(-grid.slabs // MIRROR_EVERY)
    apart = (views.plain[::MIRROR_EVERY] - views.mirrored).abs().mean()
    assert 0 < apart < 0.05


def test_a_sure_network_still_leaves_room():
    inside = torch.ones(4, 8, 8)
    sure = Views(even(0.99, 0.0), even(0.99, 0.0, slabs=2))
    assert opacity_interval(sure, inside, 0.0) == pytest.approx((0.0, 0.01))
    assert opacity_interval(sure, inside, 0.5) == pytest.approx((0.42, 0.58))


def test_a_network_that_hesitates_says_so():
    inside = torch.ones(4, 8, 8)
    hesitant = Views(even(0.4, 0.0), even(0.6, 0.0, slabs=2))
    low, high = opacity_interval(hesitant, inside, 0.1)
    assert (low, high) == pytest.approx((0.048, 1.0))
