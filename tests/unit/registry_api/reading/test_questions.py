"""The reader asks and the hospital answers: the clock stands still, and nothing of the words comes to the centre."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.reading import InfoAnswered, InfoAsked, Priority, ReadPost
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import State
from registry_api.reading.tables import ReadEventRow, ReadRequestRow
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import Story, answered, asked, opened, receipt

HOUR = timedelta(hours=1)


@pytest.fixture
def held(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> Claim:
    """A stat read that a reader has open."""
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(add_reader(), REQUEST)
    story.arrives(opened(claim))
    return claim


def due(story: Story) -> timedelta:
    return story.look(lambda session: session.get_one(ReadRequestRow, REQUEST)).due_at - NOW


def test_the_reader_waits_and_reads_on(story: Story, held: Claim) -> None:
    story.arrives(asked(held))
    assert story.state(REQUEST) is State.NEEDS_INFO
    story.wait(minutes=30)
    story.arrives(answered(held))
    assert story.state(REQUEST) is State.READING
    assert story.slot(REQUEST).lease_until == story.now + timedelta(minutes=20)
    events = story.look(lambda session: session.exec(select(ReadEventRow.event)).all())
    assert events[-2:] == ["asked", "answered"]


def test_a_report_waits_for_the_answer_as_it_does_at_the_node(story: Story, held: Claim) -> None:
    story.arrives(asked(held))
    with pytest.raises(ConflictError) as early:
        story.arrives(receipt(held))
    assert early.value.code is Code.ILLEGAL_TRANSITION
    story.arrives(answered(held))
    story.arrives(receipt(held))
    assert story.state(REQUEST) is State.PRELIMINARY


def test_the_read_is_due_later_by_the_time_that_the_hospital_took(story: Story, held: Claim) -> None:
    assert due(story) == HOUR
    for question, minutes in ((1, 30), (2, 15)):
        story.arrives(asked(held, question))
        story.wait(minutes=minutes)
        story.arrives(answered(held, question))
    slot = story.slot(REQUEST)
    assert due(story) == slot.due_at - NOW == timedelta(minutes=105)
    assert slot.expires_at - NOW == timedelta(hours=25, minutes=45)
    assert (slot.paused_at, slot.paused_seconds) == (None, 45 * 60)


def test_the_clock_of_a_stat_read_stands_still_for_two_hours_in_all(story: Story, held: Claim) -> None:
    for question in (1, 2):
        story.arrives(asked(held, question))
        story.wait(minutes=90)
        story.arrives(answered(held, question))
    assert due(story) == 3 * HOUR


def test_a_hospital_that_never_answers_frees_the_read_after_two_hours(
    story: Story, held: Claim, add_reader: Callable[..., str]
) -> None:
    story.arrives(asked(held))
    story.wait(hours=2)
    assert story.sweeps() == 1
    assert story.state(REQUEST) is State.OPEN
    assert due(story) == 3 * HOUR
    with pytest.raises(ConflictError) as late:
        story.arrives(answered(held))
    assert late.value.code is Code.STALE_FENCE
    assert story.claims(add_reader("Next"), REQUEST).fence == 2


def test_giving_a_read_back_while_the_hospital_is_asked_starts_the_clock_again(story: Story, held: Claim) -> None:
    reader = story.slot(REQUEST).reader_id or ""
    story.arrives(asked(held))
    story.wait(minutes=20)
    story.releases(held, reader)
    assert (story.slot(REQUEST).paused_at, due(story)) == (None, timedelta(minutes=80))


def test_a_question_after_the_report_asks_for_a_new_version(story: Story, held: Claim) -> None:
    reader = story.slot(REQUEST).reader_id or ""
    story.arrives(receipt(held))
    story.arrives(asked(held))
    story.arrives(answered(held))
    with pytest.raises(ConflictError) as unsigned:
        story.signs(held, reader)
    assert unsigned.value.code is Code.ILLEGAL_TRANSITION
    story.arrives(receipt(held, version=2))
    assert story.signs(held, reader) is State.SIGNED


def test_what_is_said_twice_counts_once(story: Story, held: Claim) -> None:
    story.arrives(asked(held))
    story.arrives(asked(held))
    story.arrives(answered(held))
    story.arrives(asked(held))
    story.arrives(answered(held))
    assert story.state(REQUEST) is State.READING
    assert len(story.look(lambda session: session.exec(select(ReadEventRow)).all())) == 5


def test_only_the_hospital_that_posted_is_heard(story: Story, held: Claim) -> None:
    with pytest.raises(InvalidInputError):
        story.arrives(asked(held), site="southbay")


def test_an_answer_without_a_question_is_refused(story: Story, held: Claim) -> None:
    with pytest.raises(ConflictError) as refused:
        story.arrives(answered(held))
    assert refused.value.code is Code.ILLEGAL_TRANSITION


def test_before_the_first_look_nothing_is_asked(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    story.arrives(post())
    claim = story.claims(add_reader(), REQUEST)
    with pytest.raises(ConflictError):
        story.arrives(asked(claim))


def test_the_shapes_have_no_room_for_a_word() -> None:
    for shape in (InfoAsked, InfoAnswered):
        assert set(shape.model_fields) == {"kind", "request_id", "claim_id", "fence", "question"}
