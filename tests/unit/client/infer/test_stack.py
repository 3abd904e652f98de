"""Stacks: slices in any order become one grid; tilt, gaps, strangers and copies are told apart."""

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.infer.pixels import fill
from client.infer.slices import Slice, read_slices
from client.infer.stack import assemble, groups_of, without_repeats
from protocol.case import QualityFlag
from protocol.codes import Code
from tests.fakes.ct_series import CtSeries, as_bytes, plain_series
from tests.fakes.outcomes import code_of

OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.3)), float(np.sin(0.3)))
FEET_UP = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def slices_of(series: CtSeries, *, skip: tuple[int, ...] = ()) -> list[Slice]:
    return [
        one
        for index, dataset in enumerate(series.datasets())
        if index not in skip
        for one in read_slices(as_bytes(dataset))
    ]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(6)), orientation=st.sampled_from([OBLIQUE, FEET_UP, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)]))
def test_any_order_gives_the_same_stack(order: list[int], orientation: tuple[float, ...]) -> None:
    series = plain_series(6, 4, orientation=orientation)
    slices = slices_of(series)
    stack = assemble([slices[index] for index in order])
    assert stack.shape == (6, 4, 4)
    assert np.array_equal(fill(stack), series.hu)
    for index in np.ndindex(2, 2, 2):
        k, row, column = (n * (size - 1) for n, size in zip(index, stack.shape, strict=True))
        across, down = np.array(orientation[:3]), np.array(orientation[3:])
        expected = series.position(k) + down * 2.0 * row + across * 2.0 * column
        assert np.allclose((stack.affine @ [k, row, column, 1.0])[:3], expected, atol=1e-3)


def test_a_tilted_gantry_is_refused() -> None:
    series = plain_series(6)
    slices = slices_of(series)
    tilted = [move(one, y=index * 5.0 * np.tan(np.radians(15))) for index, one in enumerate(slices)]
    assert code_of(lambda: assemble(tilted)) is Code.GANTRY_TILT


def test_half_a_degree_is_rounding_not_tilt() -> None:
    slices = [
        move(one, y=index * 5.0 * np.tan(np.radians(0.4))) for index, one in enumerate(slices_of(plain_series(6)))
    ]
    assert assemble(slices).depth == 6


def test_another_field_of_view_in_between_is_refused() -> None:
    slices = slices_of(plain_series(7))
    assert code_of(lambda: assemble([*slices[:3], move(slices[3], y=8.0), *slices[4:]])) is Code.MIXED_GEOMETRY


@pytest.mark.parametrize("missing", [(2,), (2, 3), (1, 4)])
def test_a_gap_is_refused_or_bridged_and_flagged(missing: tuple[int, ...]) -> None:
    series = plain_series(9)
    slices = slices_of(series, skip=missing)
    assert code_of(lambda: assemble(slices)) is Code.MISSING_SLICES
    stack = assemble(slices, allow_gaps=True)
    assert stack.depth == 9
    assert stack.slots == tuple(n for n in range(9) if n not in missing)
    assert stack.flags == (QualityFlag.GAP_ALLOWED,)
    assert np.abs(fill(stack).astype(int) - series.hu).max() <= 1, "a linear series is bridged exactly"


def test_uneven_but_whole_is_flagged() -> None:
    slices = [move(one, z=0.8 * (index % 2)) for index, one in enumerate(slices_of(plain_series(8)))]
    assert assemble(slices).flags == (QualityFlag.IRREGULAR_SPACING,)


def test_slices_that_are_dense_in_one_part_are_no_even_stack() -> None:
    """Thick slices above, thin ones below: counted as equal, the thin part would weigh five times what it holds."""
    first = slices_of(plain_series(1, 4))[0]
    mixed = [move(first, z=float(at)) for at in (*range(30), *range(30, 400, 5))]
    assert code_of(lambda: assemble(mixed)) is Code.MIXED_GEOMETRY
    holed = [one for one in mixed if one.position_mm[2] != mixed[50].position_mm[2]]
    assert code_of(lambda: assemble(holed, allow_gaps=True)) is Code.MIXED_GEOMETRY
    nearly = [move(first, z=at) for at in (*np.arange(150) * 1.2, *(180 + np.arange(150) * 1.25))]
    assert assemble(nearly).flags == ()
    z = [*range(0, 100, 5), 102, *range(105, 200, 5)]
    assert assemble([move(first, z=float(at)) for at in z]).flags == (QualityFlag.IRREGULAR_SPACING,)


def test_reformats_are_refused() -> None:
    assert code_of(lambda: assemble(slices_of(plain_series(3, orientation=CORONAL)))) is Code.NOT_AXIAL


def test_one_slice_is_a_stack_as_thick_as_it_says() -> None:
    stack = assemble(slices_of(plain_series(1, step_mm=2.5)))
    assert stack.depth == 1
    assert stack.height_mm == pytest.approx(2.5)


def test_non_square_pixels_and_matrices() -> None:
    hu = np.arange(3 * 4 * 6, dtype=np.int16).reshape(3, 4, 6)
    stack = assemble(slices_of(CtSeries(hu=hu, pixel_mm=(1.5, 0.5))))
    assert np.array_equal(fill(stack), hu)
    assert np.linalg.norm(stack.affine[:3, :3], axis=0) == pytest.approx([5.0, 1.5, 0.5])


def test_groups_keep_what_belongs_together() -> None:
    mixed = slices_of(plain_series(5)) + slices_of(plain_series(3, name="other")) + slices_of(plain_series(2, size=6))
    random.Random(1).shuffle(mixed)
    assert [len(group) for group in groups_of(mixed)] == [5, 3, 2]


def test_a_series_of_as_many_geometries_as_slices_is_parted_quickly() -> None:
    """Two thousand pixel spacings, compared pair by pair, took a minute."""
    first = slices_of(plain_series(1, 4))[0]
    began = time.process_time()
    assert len(groups_of([replace(first, row_mm=1 + number / 500) for number in range(2000)])) == 2000
    assert time.process_time() - began < 10


def test_rounding_does_not_part_neighbours() -> None:
    """A direction of 0.995 and a pixel of 0.7005 mm round either way from one slice to the next."""
    angle = float(np.arccos(0.995))
    slices = []
    for index in range(8):
        jitter = 1e-6 * (-1) ** index
        turned = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle + jitter)), float(np.sin(angle + jitter)))
        series = plain_series(8, orientation=turned, pixel_mm=(0.7005 + jitter, 0.7005 - jitter))
        slices += read_slices(as_bytes(series.dataset(index)))
    assert [len(group) for group in groups_of(slices)] == [8]


def test_a_stack_has_no_more_voxels_than_a_volume_may() -> None:
    """64 slices of 4096 x 4096 are the most; slots that would be bridged count as slices do."""
    large = [replace(one, rows=4096, columns=4096) for one in slices_of(plain_series(65, 4))]
    assert assemble(large[:64]).shape == (64, 4096, 4096)
    assert code_of(lambda: assemble(large)) is Code.UNREADABLE
    assert code_of(lambda: assemble([*large[:3], large[64]], allow_gaps=True)) is Code.UNREADABLE


def test_copies_are_dropped_and_acquisitions_parted() -> None:
    slices = slices_of(plain_series(5))
    assert without_repeats(slices + slices[:2]) == (slices, [])
    second = slices_of(plain_series(3, study="again", header={"AcquisitionNumber": 2}))
    kept, crowded = without_repeats(slices + second)
    assert ({one.acquisition for one in kept}, crowded) == ({1}, [])
    third = slices_of(plain_series(5, study="third"))
    assert len(without_repeats(slices + third)[1]) == 5


def test_a_repeated_slice_of_a_stepped_scan_costs_that_slice_alone() -> None:
    """Every turn has a number of its own, and one was taken again: the scan is not measured by a single slice."""
    series = plain_series(12)
    turns = [replace(one, acquisition=number) for number, one in enumerate(slices_of(series), start=1)]
    again = replace(turns[6], acquisition=13, instance_uid="2.25.13")
    kept, crowded = without_repeats([*turns, again])
    assert (kept, crowded) == (turns, [])


def test_two_halves_of_a_scan_that_meet_at_a_slice_are_both_kept() -> None:
    slices = slices_of(plain_series(20))
    lower = [replace(one, acquisition=1) for one in slices[:10]]
    upper = [replace(one, acquisition=2, instance_uid=f"2.25.{index}") for index, one in enumerate(slices[9:])]
    kept, crowded = without_repeats(lower + upper)
    assert (len(kept), crowded) == (20, [])
    assert assemble(kept).depth == 20


def test_as_many_acquisitions_as_slices_are_looked_at_quickly() -> None:
    first = slices_of(plain_series(1, 4))[0]
    many = [
        replace(move(first, z=number / 2), acquisition=number, instance_uid=f"2.25.{number}") for number in range(4000)
    ]
    began = time.process_time()
    assert without_repeats([*many, replace(many[7], acquisition=4001, instance_uid="2.25.4001")]) == (many, [])
    assert time.process_time() - began < 10


def test_a_phase_beside_another_is_left_out_as_a_whole() -> None:
    """Also where the second lies a little off the first and only some of its slices meet one."""
    slices = slices_of(plain_series(20))
    second = [
        move(replace(one, acquisition=2, instance_uid=f"2.25.{index}"), z=5.0 if index == 0 else 2.5)
        for index, one in enumerate(slices[:18])
    ]
    assert without_repeats(slices + second) == (slices, [])


def test_thick_slices_over_the_thin_ones_of_a_stepped_scan_are_left_out() -> None:
    thin = [replace(one, acquisition=1 + index // 8) for index, one in enumerate(slices_of(plain_series(40)))]
    thick = [replace(one, acquisition=9, instance_uid=f"2.25.{index}") for index, one in enumerate(thin[::6])]
    assert without_repeats([*thick, *thin]) == (thin, [])


def move(one: Slice, *, y: float = 0.0, z: float = 0.0) -> Slice:
    x0, y0, z0 = one.position_mm
    return replace(one, position_mm=(x0, y0 + y, z0 + z))


def test_slices_from_disk_as_from_memory(tmp_path: Path) -> None:
    series = plain_series(3)
    paths = series.write(tmp_path)
    assert np.array_equal(fill(assemble([one for path in paths for one in read_slices(path)])), series.hu)
