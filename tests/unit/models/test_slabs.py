"""Training and inference see the same pixels."""

import numpy as np
import pytest
import torch

from models.grid import to_slabs
from models.lungs import find_lungs
from models.net import STRIDE
from models.phantom import Phantom
from models.prepare import prepare, with_neighbours
from models.slabs import PatientSlices, lung_grid, prepare_slabs
from models.volume import Mask
from tests.unit.models.grids import phantom


def every_slice(made: Phantom, lungs: Mask) -> PatientSlices:
    prepared = prepare_slabs(made.volume, lungs, made.opacity)
    return prepared.take(range(len(prepared)))


def test_shapes_and_kinds():
    made = phantom(4, 0.2)
    seen = every_slice(made, made.lungs)
    slices, height, width = seen.target.shape
    assert seen.inputs.shape == (slices, 3, height, width)
    assert seen.valid.shape == seen.target.shape
    assert height % STRIDE == width % STRIDE == 0
    assert (seen.inputs.dtype, seen.target.dtype, seen.valid.dtype) == (torch.float32, torch.int64, torch.bool)
    assert float(seen.inputs.abs().max()) <= 1.0


def test_shares_survive_the_working_grid():
    made = phantom(4, 0.2)
    seen = every_slice(made, made.lungs)
    inside = seen.valid.sum().item()
    for kind in (1, 2):
        there = ((seen.target == kind) & seen.valid).sum().item() / inside
        here = np.count_nonzero(made.opacity == kind) / np.count_nonzero(made.lungs)
        assert there == pytest.approx(here, abs=0.005)


def test_inference_prepares_the_same_inputs():
    made = phantom(4, 0.0)
    lungs = find_lungs(made.volume)
    grid = lung_grid(lungs > 0, made.volume)
    assert torch.equal(every_slice(made, lungs).inputs, with_neighbours(prepare(to_slabs(made.volume, grid))))


def test_some_slices_are_the_same_as_among_all():
    made = phantom(4, 0.2)
    prepared = prepare_slabs(made.volume, made.lungs, made.opacity)
    wanted = [0, 3, len(prepared) - 1]
    some, everything = prepared.take(wanted), prepared.take(range(len(prepared)))
    assert torch.equal(some.inputs, everything.inputs[wanted])
    assert torch.equal(some.target, everything.target[wanted])
    assert torch.equal(some.valid, everything.valid[wanted])


def test_labelled_disease_counts_as_lung_even_outside_the_mask():
    made = phantom(4, 0.2)
    seen = every_slice(made, np.where(made.opacity > 0, 0, made.lungs).astype(np.uint8))
    assert bool((seen.valid | (seen.target == 0)).all())


def test_neighbours_are_the_slab_below_and_above():
    slabs = torch.arange(3.0)[:, None, None].expand(3, 16, 16)
    stacked = with_neighbours(slabs)[:, :, 0, 0]
    assert stacked.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


def test_the_window_clips_and_pads_with_air():
    prepared = prepare(torch.tensor([[[-3000.0, -400.0, 3000.0]]]))
    assert prepared.shape == (1, 16, 16)
    assert prepared[0, 0, :4].tolist() == [-1, 0, 1, -1]


def test_a_label_on_another_grid_is_refused():
    made = phantom(4, 0.2)
    with pytest.raises(ValueError):
        prepare_slabs(made.volume, made.lungs, made.opacity[1:])
