"""Arrays of who may take what place, against the rules of claiming and the values of single pairs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from protocol.reading import Priority
from registry_api.reading.matching import admitted, obstacles, particular_sites
from registry_api.reading.seating import Seating
from registry_api.reading.shifts import Shift
from registry_api.reading.worth import WEIGHTS, Batch, Table
from tests.unit.registry_api.reading.batches import HOUR, NOW, READER, WANTED, batches


@settings(max_examples=150, deadline=None)
@given(batches())
def test_the_pairs_are_those_that_could_be_claimed_each_with_its_value(batch: Batch) -> None:
    table = Table(batch, NOW, WEIGHTS)
    seating = Seating(table)
    places = seating.places(each=None)
    pairs = seating.pairs(range(len(seating.order)), places, candidates=None)
    found = {
        (
            seating.order[row].request_id,
            seating.people[places.reader[column]].profile.reader_id,
            places.number[column],
        ): value
        for row, column, value in zip(pairs.rows, pairs.columns, pairs.values, strict=True)
    }
    expected = {}
    for one in batch.waiting:
        for reader in batch.readers:
            if obstacles(reader, one, now=NOW):
                continue
            room = reader.capacity - reader.held
            stat = one.priority is Priority.STAT
            for number in range(min(room, reader.capacity_stat - reader.held_stat) if stat else room):
                value = table.value(one, table.place(reader.reader_id, number))
                expected[one.request_id, reader.reader_id, number] = value
    assert len(found) == len(pairs.rows)
    assert found == pytest.approx(expected)


@settings(deadline=None)
@given(batches())
def test_a_hospital_of_which_nothing_particular_is_on_file_admits_whoever_has_agreement_and_privilege(
    batch: Batch,
) -> None:
    for reader in batch.readers:
        for one in batch.waiting:
            plain = replace(one, excluded=frozenset())
            if one.site in (reader.agreements & reader.privileges) - particular_sites(reader):
                assert admitted(reader, plain, now=NOW)


def test_requests_of_one_kind_share_the_places_out_and_go_round_all_of_them() -> None:
    readers = [replace(READER, reader_id=f"{number:032x}", capacity=1) for number in range(7)]
    waiting = [replace(WANTED, request_id=f"{number:032x}") for number in range(4)]
    other = replace(WANTED, request_id="f" * 32, site="southbay")
    seating = Seating(Table(Batch([*waiting, other], readers), NOW, WEIGHTS))
    of_other = seating.order.index(other)
    pairs = seating.pairs(range(5), seating.places(each=1), candidates=3)
    dealt = [pairs.columns[pairs.rows == row].tolist() for row in range(5) if row != of_other]
    assert dealt == [[0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4]]
    assert pairs.columns[pairs.rows == of_other].tolist() == [0, 1, 2]


def test_room_that_is_filled_is_no_place_any_more_and_the_next_one_costs_more() -> None:
    stat = replace(WANTED, request_id="f" * 32, priority=Priority.STAT)
    seating = Seating(Table(Batch([WANTED, stat], [replace(READER, capacity=3, capacity_stat=1)]), NOW, WEIGHTS))
    first = seating.places(each=1)
    assert (seating.left(), first.number.tolist(), first.room_stat.tolist()) == (3, [0], [1])
    seating.fill(seating.order.index(stat), 0)
    rest = seating.places(each=None)
    assert (seating.left(), rest.number.tolist(), rest.room_stat.tolist()) == (2, [1, 2], [0])
    assert np.diff([*first.cost, *rest.cost]) == pytest.approx([WEIGHTS.load / 3] * 2)


def test_a_read_that_would_be_done_after_the_shift_is_late_whenever_it_is_due() -> None:
    soon = replace(READER, declared=None, shifts=(Shift(NOW - HOUR, NOW + HOUR / 2),), capacity=2)
    places = Seating(Table(Batch([WANTED], [soon]), NOW, WEIGHTS)).places(each=None)
    assert places.done.tolist() == [20 * 60, float("inf")]
