"""Training and inference see the same pixels."""

import numpy as np
import pytest
import torch

from models.grid import to_slabs
from models.lungs import find_lungs
from models.net import STRIDE
from models.prepare import prepare, with_neighbours
from models.slabs import lung_grid, patient_slices, slices_within
from tests.unit.models.grids import phantom


def test_shapes_and_kinds():
    made = phantom(4, 0.2)
    seen = patient_slices(made.volume, made.opacity)
    slices, height, width = seen.target.shape
    assert seen.inputs.shape == (slices, 3, height, width)
    assert seen.valid.shape == seen.target.shape
    assert height % STRIDE == width % STRIDE == 0
    assert (seen.inputs.dtype, seen.target.dtype, seen.valid.dtype) == (torch.float32, torch.int64, torch.bool)
    assert float(seen.inputs.abs().max()) <= 1.0


def test_shares_survive_the_working_grid():
    made = phantom(4, 0.2)
    seen = slices_within(made.volume, made.lungs, made.opacity)
    inside = seen.valid.sum().item()
    for kind in (1, 2):
        there = ((seen.target == kind) & seen.valid).sum().item() / inside
        here = np.count_nonzero(made.opacity == kind) / np.count_nonzero(made.lungs)
        assert there == pytest.approx(here, abs=0.005)


def test_the_same_twice():
    made = phantom(4, 0.2)
    first, again = patient_slices(made.volume, made.opacity), patient_slices(made.volume, made.opacity)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.target, again.target)
    assert torch.equal(first.valid, again.valid)


def test_inference_prepares_the_same_inputs():
    made = phantom(4, 0.0)
    lungs = find_lungs(made.volume)
    seen = patient_slices(made.volume, made.opacity)
    grid = lung_grid(lungs > 0, made.volume)
    assert torch.equal(seen.inputs, with_neighbours(prepare(to_slabs(made.volume, grid))))


def test_labelled_disease_counts_as_lung_even_outside_the_mask():
    made = phantom(4, 0.2)
    seen = slices_within(made.volume, np.where(made.opacity > 0, 0, made.lungs).astype(np.uint8), made.opacity)
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
        patient_slices(made.volume, made.opacity[1:])
