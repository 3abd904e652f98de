"""The matcher against every assignment there is on small cases; on larger ones what must hold of any."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings

from bench.reading_world import NOW as WORLD_NOW
from bench.reading_world import Size, invent
from protocol.reading import Priority
from registry_api.reading import matcher
from registry_api.reading.matcher import Assignment, assign, total_value
from registry_api.reading.matching import ReaderProfile, Wanted, obstacles
from registry_api.reading.shifts import Declaration
from registry_api.reading.solver import best_matching
from registry_api.reading.worth import WEIGHTS, Batch, Table, hours_to_day
from tests.unit.registry_api.reading.batches import HOUR, NOW, READER, WANTED, batches


def every_assignment(waiting: Sequence[Wanted], readers: Sequence[ReaderProfile]) -> Iterator[list[Assignment]]:
    """Every way to give the requests to places in readers' hands that the rules of claiming allow."""
    if not waiting:
        yield []
        return
    head, tail = waiting[0], waiting[1:]
    for rest in every_assignment(tail, readers):
        yield rest
        for reader in readers:
            if obstacles(reader, head, now=NOW):
                continue
            taken = {one.place for one in rest if one.reader_id == reader.reader_id}
            room, room_stat = reader.capacity - reader.held, reader.capacity_stat - reader.held_stat
            for place in range(min(room, room_stat) if head.priority is Priority.STAT else room):
                if place not in taken:
                    yield [Assignment(head.request_id, reader.reader_id, place), *rest]


@settings(max_examples=50, deadline=None)
@given(batches())
def test_no_assignment_is_worth_more_than_the_matchers(batch: Batch) -> None:
    table = Table(batch, NOW, WEIGHTS)
    wanted = {one.request_id: one for one in batch.waiting}

    @cache
    def value(one: Assignment) -> float:
        return table.value(wanted[one.request_id], table.place(one.reader_id, one.place))

    best = max(sum(map(value, made)) for made in every_assignment(batch.waiting, batch.readers))
    made = assign(batch, now=NOW, solve=best_matching)
    assert total_value(made, batch, now=NOW) == pytest.approx(best)


@pytest.fixture(scope="module")
def world() -> Batch:
    return invent(Size(requests=160, readers=60, hospitals=12))


def refuse_wrong(made: Sequence[Assignment], batch: Batch) -> None:
    """What must hold of any assignment: nobody gets what they could not claim, and nothing waits that could be read."""
    readers = {one.reader_id: one for one in batch.readers}
    wanted = {one.request_id: one for one in batch.waiting}
    assert len({one.request_id for one in made}) == len(made)
    given = Counter(one.reader_id for one in made)
    stat = Counter(one.reader_id for one in made if wanted[one.request_id].priority is Priority.STAT)
    full = {}
    for reader_id, reader in readers.items():
        assert reader.held + given[reader_id] <= max(reader.capacity, reader.held)
        assert reader.held_stat + stat[reader_id] <= max(reader.capacity_stat, reader.held_stat)
        full[reader_id] = replace(
            reader, held=reader.held + given[reader_id], held_stat=reader.held_stat + stat[reader_id]
        )
    for one in made:
        assert obstacles(readers[one.reader_id], wanted[one.request_id], now=WORLD_NOW) == ()
    left = wanted.keys() - {one.request_id for one in made}
    assert not [one for one in left for reader in full.values() if not obstacles(reader, wanted[one], now=WORLD_NOW)]


def test_in_one_matching_nobody_gets_what_they_could_not_claim_and_nothing_is_left_that_could_be_read(
    world: Batch,
) -> None:
    refuse_wrong(assign(world, now=WORLD_NOW, solve=best_matching), world)


def test_in_waves_the_same_holds_and_little_is_given_away(world: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = assign(world, now=WORLD_NOW, solve=best_matching)
    monkeypatch.setattr(matcher, "EXACT", 20)
    monkeypatch.setattr(matcher, "CANDIDATES", 4)
    waves = assign(world, now=WORLD_NOW, solve=best_matching)
    refuse_wrong(waves, world)
    share = total_value(waves, world, now=WORLD_NOW) / total_value(exact, world, now=WORLD_NOW)
    assert 0.9 < share <= 1.0 + 1e-9


def test_the_same_batch_gives_the_same_assignment(world: Batch) -> None:
    assert assign(world, now=WORLD_NOW, solve=best_matching) == assign(world, now=WORLD_NOW, solve=best_matching)


def alone(batch: Batch) -> list[tuple[str, str]]:
    return [(one.request_id, one.reader_id) for one in assign(batch, now=NOW, solve=best_matching)]


def test_who_has_said_nothing_of_their_time_is_given_nothing() -> None:
    assert alone(Batch([WANTED], [READER])) == [(WANTED.request_id, READER.reader_id)]
    assert alone(Batch([WANTED], [replace(READER, declared=None)])) == []


def test_reads_follow_the_sun() -> None:
    night = replace(READER, reader_id="b" * 32, time_zone="Asia/Tokyo")
    assert alone(Batch([WANTED], [night, READER])) == [(WANTED.request_id, READER.reader_id)]
    later = NOW + 12 * HOUR
    there = [replace(one, declared=Declaration(available=True, until=later + HOUR)) for one in (night, READER)]
    made = assign(Batch([WANTED], there), now=later, solve=best_matching)
    assert [one.reader_id for one in made] == [night.reader_id]


def test_who_read_less_lately_reads_first() -> None:
    rested = replace(READER, reader_id="b" * 32)
    batch = Batch([WANTED], [READER, rested], recent={READER.reader_id: 40, rested.reader_id: 10})
    assert alone(batch) == [(WANTED.request_id, rested.reader_id)]


def test_the_sooner_due_is_read_where_only_one_can_be() -> None:
    due = replace(WANTED, request_id="2" * 32, site="southbay", due_at=NOW + HOUR)
    one_place = replace(READER, capacity=1)
    assert alone(Batch([WANTED, due], [one_place])) == [(due.request_id, READER.reader_id)]


@pytest.mark.parametrize(("hour", "expected"), [(8, 0), (13, 0), (18, 0), (20, 2), (1, 7), (6, 2)])
def test_how_far_an_hour_is_from_the_day(hour: int, expected: float) -> None:
    assert hours_to_day("UTC", NOW.replace(hour=hour)) == expected
