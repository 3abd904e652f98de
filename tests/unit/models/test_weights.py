"""Weights survive the trip to disk and back; what does not fit is refused."""

import numpy as np
import pytest
import torch

from models.net import GgoNet
from models.weights import LUNGS, STARTING, from_arrays, load_arrays, load_lung_net, load_net, save_arrays, to_arrays
from protocol.codes import Code
from protocol.errors import InvalidInputError


def test_round_trip_is_exact(tmp_path):
    torch.manual_seed(1)
    net = GgoNet().eval()
    save_arrays(to_arrays(net), tmp_path / "w.safetensors")
    again = load_net(tmp_path / "w.safetensors")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(x), again(x))


def test_same_weights_make_the_same_bytes(tmp_path):
    arrays = to_arrays(GgoNet())
    save_arrays(arrays, tmp_path / "a")
    save_arrays(dict(reversed(list(arrays.items()))), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_shipped_weights_are_small_and_load():
    assert STARTING.stat().st_size <= 3_000_000
    assert LUNGS.stat().st_size <= 3_000_000
    assert not load_net(STARTING).training
    assert not load_lung_net().training


def test_arrays_are_copies():
    net = GgoNet()
    to_arrays(net)["head.bias"][:] = 7
    assert float(net.head.bias.detach().max()) < 7


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan"])
def test_weights_that_do_not_fit_are_refused(spoil):
    arrays = to_arrays(GgoNet())
    if spoil == "missing":
        del arrays["head.bias"]
    elif spoil == "shape":
        arrays["head.bias"] = np.zeros(5, np.float32)
    else:
        arrays["head.bias"] = np.full_like(arrays["head.bias"], np.nan)
    with pytest.raises(InvalidInputError) as error:
        from_arrays(arrays)
    assert error.value.code is Code.BAD_SHAPE


def test_a_missing_file_and_a_damaged_file_are_told_apart(tmp_path):
    with pytest.raises(InvalidInputError) as missing:
        load_arrays(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"not safetensors")
    with pytest.raises(InvalidInputError) as damaged:
        load_arrays(tmp_path / "bad")
    assert (missing.value.code, damaged.value.code) == (Code.NOT_FOUND, Code.BAD_SHAPE)
