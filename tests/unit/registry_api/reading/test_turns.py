"""The next case is the default; another may be chosen, and left to others, three times in ten claims and with a reason."""

from collections.abc import Callable

import pytest
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.reading import Priority, ReadPost
from registry_api.reading.claims import Claim
from registry_api.reading.readers import set_capacity
from registry_api.reading.tables import SkipRow
from registry_api.reading.turns import SENTENCES, SKIPS_MAX, SkipReason, next_case, skip, skips_left, take
from tests.unit.registry_api.reading.story import Story

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


def named(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture
def reader(story: Story, post: Post, add_reader: AddReader) -> str:
    """A reader for whom twenty reads wait, the first one first."""
    for number in range(20):
        story.arrives(post(named(number)))
        story.wait(seconds=1)
    made = add_reader()
    with story.database.writing() as session:
        set_capacity(session, made, capacity=50)
    return made


def first(story: Story, reader: str) -> str | None:
    found = story.look(lambda session: next_case(session, reader, now=story.now))
    return found.request_id if found else None


def skips(story: Story, reader: str, request: str, reason: SkipReason = SkipReason.NO_TIME) -> None:
    with story.database.writing() as session:
        skip(session, request, reader, reason=reason, now=story.now)


def takes(story: Story, reader: str, request: str) -> Claim:
    story.wait(seconds=1)
    with story.database.writing() as session:
        return take(session, request, reader, now=story.now)


def left(story: Story, reader: str) -> int:
    return story.look(lambda session: skips_left(session, reader))


def test_the_next_case_is_the_first_in_order_that_the_reader_may_claim(story: Story, reader: str, post: Post) -> None:
    assert first(story, reader) == named(0)
    story.arrives(post(named(90), jurisdiction="XB", priority=Priority.STAT))
    assert first(story, reader) == named(0)
    story.arrives(post(named(91), priority=Priority.STAT))
    assert first(story, reader) == named(91)


def test_without_anything_to_claim_there_is_no_next_case(story: Story, add_reader: AddReader) -> None:
    assert first(story, add_reader()) is None


def test_a_case_that_was_skipped_is_not_the_next_one_again(story: Story, reader: str, add_reader: AddReader) -> None:
    skips(story, reader, named(0), SkipReason.OUTSIDE_EXPERTISE)
    assert first(story, reader) == named(1)
    assert first(story, add_reader("Another")) == named(0)
    row = story.look(lambda session: session.exec(select(SkipRow)).one())
    assert (row.request_id, row.reason) == (named(0), "outside-expertise")


def test_only_the_next_case_can_be_skipped(story: Story, reader: str) -> None:
    with pytest.raises(ConflictError) as refused:
        skips(story, reader, named(1))
    assert refused.value.code is Code.ILLEGAL_TRANSITION
    with pytest.raises(InvalidInputError):
        skips(story, reader, "f" * 32)


def test_claiming_another_case_counts_as_a_skip_of_the_next_one(story: Story, reader: str) -> None:
    takes(story, reader, named(5))
    assert left(story, reader) == SKIPS_MAX - 1
    row = story.look(lambda session: session.exec(select(SkipRow)).one())
    assert (row.request_id, row.reason) == (named(0), "chose-another")


def test_claiming_the_next_case_costs_no_skip(story: Story, reader: str) -> None:
    takes(story, reader, named(0))
    assert left(story, reader) == SKIPS_MAX


def test_after_three_skips_only_the_next_case_is_left(story: Story, reader: str) -> None:
    for number in range(SKIPS_MAX):
        skips(story, reader, named(number))
    with pytest.raises(RefusedError) as used_up:
        skips(story, reader, named(3))
    assert used_up.value.code is Code.FORBIDDEN
    with pytest.raises(RefusedError, match="next case"):
        takes(story, reader, named(9))
    assert story.state(named(9)) == "open"
    assert takes(story, reader, named(3)).request_id == named(3)


def test_skips_come_back_as_claims_go_by(story: Story, reader: str) -> None:
    for number in range(SKIPS_MAX):
        skips(story, reader, named(number))
        story.wait(seconds=1)
    for number in range(3, 12):
        takes(story, reader, named(number))
    assert left(story, reader) == 0
    takes(story, reader, named(12))
    assert left(story, reader) == SKIPS_MAX


def test_a_claim_that_fails_costs_no_skip(story: Story, reader: str, add_reader: AddReader) -> None:
    story.claims(add_reader("Faster"), named(5))
    with pytest.raises(ConflictError):
        takes(story, reader, named(5))
    assert left(story, reader) == SKIPS_MAX


def test_every_reason_is_said_in_words() -> None:
    assert SENTENCES.keys() == set(SkipReason)
