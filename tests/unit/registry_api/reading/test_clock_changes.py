"""The registry's clock is put back, or jumps ahead: nobody loses what they hold by a step back, and no step is taken twice."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.reading import Priority, ReadPost
from registry_api.reading.lifecycle import State
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import Story, answered, asked, opened, receipt

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


def test_a_clock_that_is_put_back_and_set_right_again_ends_no_lease(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    """While it is an hour slow, heartbeats come; when it is right again, the reader still has the read."""
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    lease = story.slot(REQUEST).lease_until
    story.wait(hours=-1)
    for _ in range(3):
        story.wait(minutes=1)
        assert story.heartbeat(claim, reader).lease_until == lease
    story.wait(hours=1)
    assert story.sweeps() == 0
    assert story.heartbeat(claim, reader).lease_until == story.now + timedelta(minutes=20)
    story.arrives(receipt(claim))
    assert story.signs(claim, reader) is State.SIGNED


def test_a_claim_made_by_a_slow_clock_lapses_when_it_is_set_right_and_a_stale_fence_changes_nothing(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    first, second = add_reader("First"), add_reader("Second")
    story.arrives(post(priority=Priority.STAT))
    story.wait(hours=-1)
    old = story.claims(first, REQUEST)
    story.arrives(opened(old))
    story.wait(hours=1)
    new = story.claims(second, REQUEST)
    assert (old.fence, new.fence) == (1, 2)
    story.wait(hours=-1)
    for late in (
        lambda: story.heartbeat(old, first),
        lambda: story.arrives(receipt(old)),
        lambda: story.signs(old, first),
    ):
        with pytest.raises(ConflictError) as refused:
            late()
        assert refused.value.code is Code.STALE_FENCE
    assert story.slot(REQUEST).claim_id == new.claim_id


def test_a_clock_that_jumps_ahead_and_back_escalates_once(story: Story, post: Post) -> None:
    story.arrives(post(priority=Priority.STAT))
    story.wait(minutes=50)
    assert story.escalates() == 1
    story.wait(minutes=-50)
    assert story.escalates() == 0
    story.wait(minutes=50)
    assert story.escalates() == 0
    assert story.events(REQUEST) == ["posted", "widened", "warned"]


def test_a_clock_that_is_put_back_during_a_question_makes_nothing_due_sooner(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    due = story.slot(REQUEST).due_at
    story.arrives(asked(claim))
    story.wait(minutes=-30)
    story.arrives(answered(claim))
    slot = story.slot(REQUEST)
    assert (slot.due_at, slot.paused_at, slot.paused_seconds) == (due, None, 0)
    assert State(slot.state) is State.READING


def test_what_expired_by_a_wrong_clock_stays_expired(story: Story, post: Post, add_reader: AddReader) -> None:
    """What the hospital was told is not taken back; it asks anew."""
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    story.wait(days=3)
    assert story.sweeps() == 1
    story.wait(days=-3)
    with pytest.raises(ConflictError):
        story.claims(reader, REQUEST)
    assert story.state(REQUEST) is State.EXPIRED
