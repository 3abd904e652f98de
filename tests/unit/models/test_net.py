"""The network keeps what training under differential privacy asks of it."""

import torch
from torch import nn

from models.net import CLASSES, LUNG_WIDTHS, STRIDE, GgoNet


def test_logits_have_the_shape_of_the_input():
    net = GgoNet().eval()
    assert net(torch.zeros(2, 3, 2 * STRIDE, 3 * STRIDE)).shape == (2, CLASSES, 2 * STRIDE, 3 * STRIDE)


def test_size():
    parameters = sum(p.numel() for p in GgoNet().parameters())
    assert 100_000 < parameters < 400_000
    assert parameters * 4 < 3_000_000
    assert sum(p.numel() for p in GgoNet(LUNG_WIDTHS).parameters()) < parameters


def test_nothing_mixes_patients_or_works_in_place():
    modules = list(GgoNet().modules())
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm | nn.ConvTranspose2d) for m in modules)
    assert not any(getattr(m, "inplace", False) for m in modules)
    assert any(isinstance(m, nn.GroupNorm) for m in modules)


def test_a_slice_does_not_see_its_batch():
    torch.manual_seed(0)
    net = GgoNet().eval()
    x = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        together, alone = net(x), net(x[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = GgoNet()
    net(torch.randn(1, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())
