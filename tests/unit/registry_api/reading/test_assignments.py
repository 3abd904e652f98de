"""What the matcher sets aside: for one reader, for a while, counted against their room, undone by time and by the coordinator."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from protocol.errors import RefusedError
from protocol.reading import Priority, ReadPost
from registry_api.reading.assignments import Matched, match
from registry_api.reading.availability import declare
from registry_api.reading.lifecycle import State
from registry_api.reading.matching import Obstacle
from registry_api.reading.offers import open_reads
from registry_api.reading.readers import set_capacity
from registry_api.reading.reassignment import reassign
from registry_api.reading.shifts import Declaration
from registry_api.reading.turns import next_case
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import Story

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


@pytest.fixture
def present(story: Story, add_reader: AddReader) -> Callable[[str], str]:
    """Add a reader who says that they are there."""

    def add(name: str) -> str:
        reader = add_reader(name)
        with story.database.writing() as session:
            there = Declaration(available=True, until=story.now + timedelta(days=2))
            declare(session, reader, there, now=story.now)
        return reader

    return add


def matches(story: Story, *, keep: bool = True) -> Matched:
    with story.database.writing() as session:
        return match(session, now=story.now, keep=keep)


def found(story: Story, reader: str) -> tuple[Obstacle, ...]:
    (view,) = story.look(lambda session: open_reads(session, reader, now=story.now, eligible_only=False))
    return view.obstacles


def test_a_read_set_aside_is_for_its_reader_until_its_time_is_over(
    story: Story, post: Post, present: Callable[[str], str]
) -> None:
    first, second = present("A"), present("B")
    story.arrives(post())
    (one,) = matches(story).made
    chosen, other = (first, second) if one.reader_id == first else (second, first)
    assert (found(story, chosen), found(story, other)) == ((), (Obstacle.ASSIGNED,))
    with pytest.raises(RefusedError, match="assigned"):
        story.claims(other, REQUEST)
    story.wait(minutes=120)
    assert found(story, other) == ()
    assert story.claims(other, REQUEST).state is State.CLAIMED


def test_what_is_set_aside_is_the_next_case(story: Story, post: Post, present: Callable[[str], str]) -> None:
    reader = present("A")
    with story.database.writing() as session:
        set_capacity(session, reader, capacity=1)
    story.arrives(post("1" * 32))
    assert [one.request_id for one in matches(story).made] == ["1" * 32]
    story.wait(minutes=1)
    story.arrives(post("2" * 32, priority=Priority.STAT))
    upcoming = story.look(lambda session: next_case(session, reader, now=story.now))
    assert upcoming is not None
    assert upcoming.request_id == "1" * 32


def test_what_is_set_aside_takes_room_and_is_not_given_twice(
    story: Story, post: Post, present: Callable[[str], str]
) -> None:
    reader = present("A")
    with story.database.writing() as session:
        set_capacity(session, reader, capacity=2)
    for number in range(3):
        story.arrives(post(f"{number:032x}"))
    assert len(matches(story).made) == 2
    again = matches(story)
    assert (again.made, again.waiting, again.readers) == ((), 1, 1)


def test_a_dry_run_sets_nothing_aside(story: Story, post: Post, present: Callable[[str], str]) -> None:
    reader, other = present("A"), present("B")
    story.arrives(post())
    assert len(matches(story, keep=False).made) == 1
    assert found(story, reader) == found(story, other) == ()


def test_a_double_read_is_given_to_two_readers_in_two_runs(
    story: Story, post: Post, present: Callable[[str], str]
) -> None:
    readers = {present("A"), present("B")}
    story.arrives(post(reads_required=2))
    (one,), (two,) = matches(story).made, matches(story).made
    assert {one.reader_id, two.reader_id} == readers
    assert matches(story).made == ()
    assert found(story, one.reader_id) == found(story, two.reader_id) == ()
    assert found(story, present("C")) == (Obstacle.ASSIGNED,)
    story.claims(one.reader_id, REQUEST)
    assert story.claims(two.reader_id, REQUEST).number == 2


def test_the_coordinators_word_goes_before_the_matchers(
    story: Story, post: Post, present: Callable[[str], str]
) -> None:
    readers = {present("A"), present("B")}
    story.arrives(post())
    (one,) = matches(story).made
    (other,) = readers - {one.reader_id}
    with story.database.writing() as session:
        made = reassign(session, REQUEST, 1, reader_id=other, now=story.now)
    assert made is not None
    assert story.slot(REQUEST).reader_id == other
