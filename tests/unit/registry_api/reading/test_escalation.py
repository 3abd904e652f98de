"""What becomes of waiting: who is told when, what is alarming, who loses what, and what the coordinator may do about it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.reading import AlarmReason, ClaimEnded, ClaimMade, Priority, ReadAlarm, ReadPost
from registry_api.reading.agreements import agree_with_reader
from registry_api.reading.lifecycle import Event, State
from registry_api.reading.matching import Obstacle
from registry_api.reading.offers import one_read, open_reads
from registry_api.reading.readers import profile
from registry_api.reading.tables import AgreementTerms, ClaimRow
from tests.fakes.readers import privilege
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import (
    CODED,
    Story,
    acknowledged,
    answered,
    asked,
    delivered,
    noted,
    opened,
    receipt,
)

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]
CRITICAL = CODED.model_copy(update={"critical": True})


def alarms(story: Story) -> list[AlarmReason]:
    return [notice.reason for notice in story.notices() if isinstance(notice, ReadAlarm)]


def test_an_unclaimed_read_escalates_at_each_share_of_its_time(story: Story, post: Post) -> None:
    story.arrives(post(priority=Priority.STAT))
    seen = []
    for minutes in (29, 1, 17, 1, 11, 1, 60):
        story.wait(minutes=minutes)
        story.escalates()
        seen.append(story.events(REQUEST)[1:])
    widened, warned, breached = ["widened"], ["widened", "warned"], ["widened", "warned", "breached"]
    assert seen == [[], widened, widened, warned, warned, breached, breached]
    assert alarms(story) == [AlarmReason.LATE, AlarmReason.OVERDUE]
    view = story.look(lambda session: one_read(session, REQUEST, None, now=story.now))
    assert (view.state, view.escalation) == (State.OPEN, Event.BREACHED)


def test_a_registry_that_was_down_makes_up_for_it_at_once(story: Story, post: Post) -> None:
    story.arrives(post(priority=Priority.STAT))
    story.wait(hours=3)
    assert story.escalates() == 1
    assert story.events(REQUEST) == ["posted", "widened", "warned", "breached"]
    assert story.escalates() == 0


def test_escalating_leaves_claim_and_lease_alone(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    story.wait(minutes=25)
    claim = story.claims(reader, REQUEST)
    story.wait(minutes=6)
    story.escalates()
    slot = story.slot(REQUEST)
    assert (slot.claim_id, slot.lease_until) == (claim.claim_id, claim.lease_until)
    assert story.events(REQUEST)[-1] == "widened"


def test_a_signature_ends_the_escalation(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    story.arrives(delivered(claim))
    story.wait(hours=5)
    assert story.escalates() == 0
    assert story.look(lambda session: one_read(session, REQUEST, None, now=story.now)).escalation is None


def test_while_the_hospital_is_asked_nothing_escalates(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(add_reader(), REQUEST)
    story.arrives(opened(claim))
    story.wait(minutes=15)
    story.arrives(asked(claim))
    story.wait(minutes=90)
    assert story.escalates() == 0
    story.arrives(answered(claim))
    story.wait(minutes=14)
    assert story.escalates() == 0
    story.wait(minutes=1)
    assert story.escalates() == 1
    assert story.events(REQUEST)[-1] == "widened"


def test_a_reader_of_the_pool_comes_in_when_the_offer_is_widened(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    pool = add_reader("Pool", sites=())
    with story.database.writing() as session:
        agree_with_reader(session, site="northport", reader_id=pool, now=NOW, terms=AgreementTerms(pool=True))
        privilege(session, pool, now=NOW)
    story.arrives(post(priority=Priority.STAT))
    (view,) = story.look(lambda session: open_reads(session, pool, now=story.now, eligible_only=False))
    assert view.obstacles == (Obstacle.NOT_WIDENED,)
    with pytest.raises(RefusedError):
        story.claims(pool, REQUEST)
    story.wait(minutes=30)
    story.escalates()
    assert story.claims(pool, REQUEST).state is State.CLAIMED


def signed(story: Story, post: Post, reader: str, *, critical: bool = True) -> object:
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim, coded=CRITICAL if critical else CODED))
    story.signs(claim, reader)
    return claim


@pytest.mark.parametrize("reaches_the_hospital", [True, False])
def test_a_critical_result_that_nobody_acknowledges_alarms_once(
    story: Story, post: Post, add_reader: AddReader, reaches_the_hospital: bool
) -> None:
    claim = signed(story, post, add_reader())
    if reaches_the_hospital:
        story.arrives(delivered(claim))  # type: ignore[arg-type]
    story.wait(minutes=59)
    story.escalates()
    assert alarms(story) == []
    story.wait(minutes=1)
    story.escalates()
    story.wait(hours=1)
    story.escalates()
    assert alarms(story) == [AlarmReason.CRITICAL]
    assert story.events(REQUEST).count("alarmed") == 1


def test_an_acknowledged_critical_result_is_quiet(story: Story, post: Post, add_reader: AddReader) -> None:
    claim = signed(story, post, add_reader())
    story.arrives(delivered(claim))  # type: ignore[arg-type]
    story.wait(minutes=40)
    story.arrives(acknowledged(claim))  # type: ignore[arg-type]
    story.wait(hours=2)
    assert story.escalates() == 0
    assert alarms(story) == []


def test_a_critical_first_report_of_a_double_read_is_quiet_once_it_is_noted_and_its_slot_waits_on(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    first = add_reader("Dr First")
    story.arrives(post(reads_required=2))
    claim = story.claims(first, REQUEST)
    for parcel in (opened(claim), receipt(claim, coded=CRITICAL)):
        story.arrives(parcel)
    with pytest.raises(ConflictError) as early:
        story.arrives(noted(claim))
    assert early.value.code is Code.ILLEGAL_TRANSITION
    story.signs(claim, first)
    story.arrives(delivered(claim))
    story.arrives(noted(claim, sha256="cd" * 32))
    assert "noted" not in story.events(REQUEST), "that is another version"
    story.arrives(noted(claim))
    story.wait(hours=2)
    story.escalates()
    assert AlarmReason.CRITICAL not in alarms(story)
    assert story.state(REQUEST) is State.DELIVERED, "the hospital has given up nothing by it"


def test_what_is_not_critical_never_alarms(story: Story, post: Post, add_reader: AddReader) -> None:
    claim = signed(story, post, add_reader(), critical=False)
    story.arrives(delivered(claim))  # type: ignore[arg-type]
    story.wait(days=3)
    assert story.escalates() == 0


def test_a_node_that_is_away_at_the_signature_delivers_later(story: Story, post: Post, add_reader: AddReader) -> None:
    claim = signed(story, post, add_reader(), critical=False)
    story.wait(minutes=10)
    story.escalates()
    assert story.state(REQUEST) is State.DELIVERY_FAILED
    assert story.escalates() == 0
    story.arrives(delivered(claim))  # type: ignore[arg-type]
    assert story.state(REQUEST) is State.DELIVERED
    assert story.events(REQUEST)[-2:] == ["delivery-failed", "delivered"]


def lapses(story: Story, post: Post, reader: str, request: str) -> None:
    story.arrives(post(request, priority=Priority.STAT))
    story.claims(reader, request)
    story.wait(minutes=10)
    story.sweeps()


def restricted(story: Story, reader: str) -> bool:
    until = story.look(lambda session: profile(session, reader)).restricted_until
    return until is not None and story.now < until


def test_two_lapses_within_a_day_leave_one_read_at_a_time_for_a_day(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    lapses(story, post, reader, "1" * 32)
    assert not restricted(story, reader)
    story.wait(hours=23)
    lapses(story, post, reader, "2" * 32)
    assert restricted(story, reader)
    for request in ("3" * 32, "4" * 32):
        story.arrives(post(request))
    held = story.claims(reader, "3" * 32)
    with pytest.raises(RefusedError) as full:
        story.claims(reader, "4" * 32)
    assert full.value.code is Code.FORBIDDEN
    story.releases(held, reader)
    story.wait(hours=23, minutes=59)
    assert restricted(story, reader)
    story.wait(minutes=1)
    assert not restricted(story, reader)


def test_two_lapses_further_apart_are_forgiven(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    lapses(story, post, reader, "1" * 32)
    story.wait(hours=24)
    lapses(story, post, reader, "2" * 32)
    assert not restricted(story, reader)


def test_a_hospital_that_does_not_answer_is_no_fault_of_the_reader(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    for number in (1, 2):
        request = str(number) * 32
        story.arrives(post(request, priority=Priority.STAT))
        claim = story.claims(reader, request)
        story.arrives(opened(claim))
        story.arrives(asked(claim))
        story.wait(hours=2)
        story.sweeps()
        ended = story.look(lambda session, c=claim: session.get_one(ClaimRow, c.claim_id))
        assert ended.ended_by == "unanswered"
    assert not restricted(story, reader)


def test_the_coordinator_frees_a_read(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    assert story.reassigns(REQUEST, 1, None) is None
    assert story.state(REQUEST) is State.OPEN
    assert story.events(REQUEST)[-1] == "reassigned"
    assert story.notices()[-1] == ClaimEnded(request_id=REQUEST, claim_id=claim.claim_id)
    with pytest.raises(ConflictError) as stale:
        story.releases(claim, reader)
    assert stale.value.code is Code.STALE_FENCE


def test_the_coordinator_gives_a_read_to_another_reader(story: Story, post: Post, add_reader: AddReader) -> None:
    first, second = add_reader("A"), add_reader("B")
    story.arrives(post())
    story.claims(first, REQUEST)
    made = story.reassigns(REQUEST, 1, second)
    assert made is not None
    assert (made.number, made.fence, story.slot(REQUEST).reader_id) == (1, 2, second)
    assert story.notices()[-1] == ClaimMade(request_id=REQUEST, claim_id=made.claim_id, reader_id=second, fence=2)


def test_the_slot_that_is_named_is_given_out(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(reads_required=2))
    made = story.reassigns(REQUEST, 2, reader)
    assert made is not None
    assert made.number == 2
    assert story.state(REQUEST, 1) is State.OPEN


def test_nobody_gets_by_the_coordinator_what_they_could_not_claim(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    first, stranger = add_reader("A"), add_reader("B", sites=("southbay",))
    story.arrives(post())
    claim = story.claims(first, REQUEST)
    with pytest.raises(InvalidInputError):
        story.reassigns(REQUEST, 1, stranger)
    assert story.slot(REQUEST).claim_id == claim.claim_id, "the present reader keeps it"


@pytest.mark.parametrize("number", [1, 2])
def test_what_nobody_holds_is_not_taken(story: Story, post: Post, number: int) -> None:
    story.arrives(post())
    with pytest.raises((ConflictError, InvalidInputError)):
        story.reassigns(REQUEST, number, None)


def test_what_is_signed_is_not_reassigned(story: Story, post: Post, add_reader: AddReader) -> None:
    signed(story, post, add_reader("A"))
    with pytest.raises(ConflictError) as refused:
        story.reassigns(REQUEST, 1, add_reader("B"))
    assert refused.value.code is Code.ILLEGAL_TRANSITION


def test_a_read_given_back_keeps_how_far_it_escalated(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    story.wait(minutes=50)
    story.escalates()
    story.releases(story.claims(reader, REQUEST), reader)
    assert story.slot(REQUEST).escalation == 2
    assert story.slot(REQUEST).escalate_at == NOW + timedelta(hours=1)
