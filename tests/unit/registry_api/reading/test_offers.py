"""What a reader sees: eligible reads in order, reasons otherwise, and nothing of another reader's report."""

from collections.abc import Callable

import pytest

from protocol.errors import InvalidInputError
from protocol.reading import Priority, ReadPost
from registry_api.reading.lifecycle import State
from registry_api.reading.matching import Obstacle
from registry_api.reading.offers import ReadView, all_reads, one_read, open_reads, own_reads
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import HASH, Story, opened, receipt
from tests.unit.registry_api.reading.test_eligibility import counted

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


def offers(story: Story, reader: str, *, eligible_only: bool) -> list[ReadView]:
    return story.look(lambda session: open_reads(session, reader, now=story.now, eligible_only=eligible_only))


def test_eligible_reads_come_in_order(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post("1" * 32))
    story.arrives(post("2" * 32, priority=Priority.STAT))
    story.arrives(post("3" * 32, jurisdiction="XB"))
    shown = offers(story, reader, eligible_only=True)
    assert [view.request_id for view in shown] == ["2" * 32, "1" * 32]
    assert all(view.eligible and view.age_band for view in shown)


def test_what_is_not_offered_shows_its_reasons_and_nothing_that_points_to_a_patient(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader(sites=())
    story.arrives(post(language="pt"))
    (view,) = offers(story, reader, eligible_only=False)
    assert set(view.obstacles) == {Obstacle.NO_AGREEMENT, Obstacle.NO_PRIVILEGE, Obstacle.LANGUAGE}
    assert len(view.reasons) == 3
    assert (view.site, view.age_band, view.sex, view.slices, view.ggo_percent) == (None,) * 5
    assert offers(story, reader, eligible_only=True) == []


def test_a_claimed_read_is_offered_to_nobody(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post())
    story.claims(add_reader("A"), REQUEST)
    assert offers(story, add_reader("B"), eligible_only=False) == []


def test_the_second_reader_is_blind_to_the_first(story: Story, post: Post, add_reader: AddReader) -> None:
    first, second = add_reader("A"), add_reader("B")
    story.arrives(post(reads_required=2))
    claim = story.claims(first, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    mine = story.look(lambda session: one_read(session, REQUEST, first, now=story.now))
    assert mine.slots[0].result is not None
    assert mine.slots[0].result.report_sha256 == HASH
    story.claims(second, REQUEST)
    for view in (
        story.look(lambda session: one_read(session, REQUEST, second, now=story.now)),
        *story.look(lambda session: own_reads(session, second)),
    ):
        seen = view.model_dump_json()
        assert HASH not in seen
        assert "typical" not in seen
        assert claim.claim_id not in seen
        assert first not in seen
        assert {event.number for event in view.events} <= {2}


def test_a_stranger_sees_no_read(story: Story, post: Post, add_reader: AddReader) -> None:
    stranger = add_reader(sites=())
    story.arrives(post())
    with pytest.raises(InvalidInputError):
        story.look(lambda session: one_read(session, REQUEST, stranger, now=story.now))
    with pytest.raises(InvalidInputError):
        story.look(lambda session: one_read(session, "f" * 32, stranger, now=story.now))


def test_the_coordinator_sees_states_and_the_whole_log(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post())
    claim = story.claims(add_reader(), REQUEST)
    story.arrives(opened(claim))
    view = story.look(lambda session: one_read(session, REQUEST, None, now=story.now))
    assert [(event.event, event.state) for event in view.events] == [
        ("posted", State.OPEN), ("claimed", State.CLAIMED), ("opened", State.READING),
    ]  # fmt: skip
    assert (view.state, view.task_status) == (State.READING, "in-progress")
    assert [one.request_id for one in story.look(all_reads)] == [REQUEST]


def test_the_queries_do_not_grow_with_what_waits(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    sent = []
    for number in range(12):
        story.arrives(post(f"{number:032x}", reads_required=1 + number % 2))
        if number in {1, 11}:
            with counted(story.database) as statements:
                assert len(offers(story, reader, eligible_only=False)) == number + 1
                story.look(all_reads)
            sent.append(len(statements))
    assert sent[0] == sent[1]


def test_what_a_measurement_raises_says_as_what_it_is_read(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post("1" * 32))
    story.arrives(post("2" * 32, ggo_percent=61))
    shown = offers(story, reader, eligible_only=True)
    assert [(view.priority, view.read_as) for view in shown] == [("routine", "stat"), ("routine", "routine")]
    stranger = offers(story, add_reader(sites=()), eligible_only=False)
    assert [view.read_as for view in stranger] == [None, None]
