"""What hospitals agreed counts: with whom, how soon, how many reads are doubled; and what its end does to what is in hand."""

import secrets
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.reading import ClaimEnded, Priority, ReadPost, SecondReadAdded
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.reading.agreements import (
    agree_with_group,
    agree_with_reader,
    change_terms,
    list_agreements,
    with_group,
    with_reader,
)
from registry_api.reading.endings import change_group, end_agreement
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import State
from registry_api.reading.matching import Obstacle, obstacles
from registry_api.reading.queue import wanted
from registry_api.reading.readers import profile
from registry_api.reading.slots import request_of
from registry_api.reading.tables import AgreementTerms
from tests.fakes.readers import privilege
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import CODED, Story, opened, receipt

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]
GROUP = "Nachtdienst"
HOUR = timedelta(hours=1)


def write(story: Story, at: Callable[[Session], object]) -> None:
    with story.database.writing() as session:
        at(session)


def of_the_group(story: Story, add_reader: AddReader, name: str = "Member") -> str:
    """Add a reader whom the hospital lets in and who has no agreement but what the group has."""
    reader = add_reader(name, sites=())
    write(story, lambda session: (privilege(session, reader, now=NOW), set_group(session, reader, group=GROUP)))
    return reader


def agree(story: Story, **terms: object) -> None:
    """Let northport agree with the group."""
    made = AgreementTerms(**terms)
    write(story, lambda session: agree_with_group(session, site="northport", group=GROUP, terms=made, now=story.now))


def found(story: Story, reader: str) -> tuple[Obstacle, ...]:
    return story.look(
        lambda session: obstacles(
            profile(session, reader), wanted(session, request_of(session, REQUEST)), now=story.now
        )
    )


def test_an_agreement_with_a_group_is_one_with_whoever_reads_with_it(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    member, stranger = of_the_group(story, add_reader), add_reader("Stranger", sites=())
    write(story, lambda session: privilege(session, stranger, now=NOW))
    story.arrives(post())
    assert found(story, member) == found(story, stranger) == (Obstacle.NO_AGREEMENT,)
    agree(story, expires_at=NOW + timedelta(days=2))
    assert found(story, member) == ()
    assert found(story, stranger) == (Obstacle.NO_AGREEMENT,)
    write(story, lambda session: set_group(session, stranger, group=GROUP))
    assert found(story, stranger) == ()
    story.wait(days=2)
    assert found(story, member) == (Obstacle.NO_AGREEMENT,)


def test_a_readers_own_agreement_goes_before_the_groups(story: Story, post: Post, add_reader: AddReader) -> None:
    member = of_the_group(story, add_reader)
    agree(story)
    own = AgreementTerms(pool=True)
    write(story, lambda s: agree_with_reader(s, site="northport", reader_id=member, terms=own, now=NOW))
    story.arrives(post())
    assert found(story, member) == (Obstacle.NOT_WIDENED,)


def test_the_shortest_time_that_was_agreed_is_the_time_to_sign(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader("Own")
    of_the_group(story, add_reader)
    agree(story, stat_minutes=30, routine_minutes=60 * 48)
    for priority, minutes in ((Priority.STAT, 30), (Priority.URGENT, 240), (Priority.ROUTINE, 60 * 24)):
        request = secrets.token_hex(16)
        story.arrives(post(request, priority=priority))
        assert story.slot(request).due_at == NOW + timedelta(minutes=minutes), priority
        assert story.slot(request).expires_at == story.slot(request).due_at + timedelta(hours=24)
        assert story.slot(request).escalate_at == NOW + timedelta(minutes=minutes) / 2
    write(story, lambda session: end_agreement(session, with_reader(session, "northport", reader), now=NOW))
    request = secrets.token_hex(16)
    story.arrives(post(request))
    assert story.slot(request).due_at == NOW + timedelta(hours=48), "nobody promised a day any more"


def test_an_agreement_that_is_over_or_anothers_promises_nothing(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    of_the_group(story, add_reader)
    agree(story, stat_minutes=30, double_read_percent=100, expires_at=NOW + HOUR)
    story.arrives(post(priority=Priority.STAT), site="southbay")
    assert story.slot(REQUEST).due_at == NOW + HOUR
    story.wait(hours=1)
    request = secrets.token_hex(16)
    story.arrives(post(request, priority=Priority.STAT))
    assert story.slot(request).due_at == story.now + HOUR
    assert story.notices() == []


def test_the_third_reader_has_the_agreed_time_too(story: Story, post: Post, add_reader: AddReader) -> None:
    readers = [add_reader("A"), add_reader("B")]
    of_the_group(story, add_reader)
    agree(story, stat_minutes=20)
    story.arrives(post(priority=Priority.STAT, reads_required=2))
    story.wait(minutes=5)
    for reader, coded in zip(readers, (CODED, CODED.model_copy(update={"corads": 1})), strict=True):
        claim = story.claims(reader, REQUEST)
        story.arrives(opened(claim))
        story.arrives(receipt(claim, coded=coded))
        story.signs(claim, reader)
    assert story.slot(REQUEST, 3).due_at == story.now + timedelta(minutes=20)


@pytest.mark.parametrize(("drawn", "reads"), [(24, 2), (25, 1)])
def test_a_share_of_single_reads_is_read_twice_and_the_node_knows(
    story: Story, post: Post, add_reader: AddReader, monkeypatch: pytest.MonkeyPatch, drawn: int, reads: int
) -> None:
    of_the_group(story, add_reader)
    agree(story, double_read_percent=25)
    monkeypatch.setattr(secrets, "randbelow", lambda _: drawn)
    story.arrives(post())
    story.arrives(post())
    assert [story.state(REQUEST, number + 1) for number in range(reads)] == [State.OPEN] * reads
    assert story.look(lambda session: request_of(session, REQUEST).reads_required) == reads
    assert story.notices() == [SecondReadAdded(request_id=REQUEST)] * (reads - 1)


def test_what_was_asked_for_twice_is_not_read_three_times(story: Story, post: Post, add_reader: AddReader) -> None:
    of_the_group(story, add_reader)
    agree(story, double_read_percent=100)
    story.arrives(post(reads_required=2))
    assert story.look(lambda session: request_of(session, REQUEST).reads_required) == 2
    assert story.notices() == []


def test_with_the_agreement_ends_what_is_in_hand(story: Story, post: Post, add_reader: AddReader) -> None:
    """Nobody is let in at the hospital without an agreement, so what is held waits for others at once, and counts against nobody."""
    member, both = of_the_group(story, add_reader), of_the_group(story, add_reader, "Both")
    agree(story)
    write(story, lambda session: agree_with_reader(session, site="northport", reader_id=both, now=NOW))
    claims = {}
    for reader in (member, both):
        claims[reader] = story.claims(reader, post_one(story, post))
        story.arrives(opened(claims[reader]))
    write(story, lambda session: end_agreement(session, with_group(session, "northport", GROUP), now=NOW))
    held, kept = (claims[one].request_id for one in (member, both))
    assert (story.state(held), story.state(kept)) == (State.OPEN, State.READING)
    assert story.notices()[-1] == ClaimEnded(request_id=held, claim_id=claims[member].claim_id)
    assert story.events(held)[-1] == "released"


def post_one(story: Story, post: Post) -> str:
    request = secrets.token_hex(16)
    story.arrives(post(request))
    return request


def test_who_leaves_the_group_leaves_its_reads(story: Story, post: Post, add_reader: AddReader) -> None:
    member = of_the_group(story, add_reader)
    agree(story)
    claim = story.claims(member, post_one(story, post))
    write(story, lambda session: change_group(session, member, group=GROUP, leads=True, now=NOW))
    assert story.state(claim.request_id) is State.CLAIMED
    write(story, lambda session: change_group(session, member, group=None, now=NOW))
    assert story.state(claim.request_id) is State.OPEN


def test_nothing_is_signed_without_an_agreement(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    past = AgreementTerms(expires_at=NOW)
    write(story, lambda session: change_terms(session, with_reader(session, "northport", reader), past))
    with pytest.raises(RefusedError) as refused:
        story.signs(claim, reader)
    assert refused.value.code is Code.FORBIDDEN


def test_an_agreement_needs_a_hospital_and_a_reader_or_a_group_and_stands_once(
    story: Story, add_reader: AddReader
) -> None:
    reader = of_the_group(story, add_reader)
    with story.database.writing() as session:
        auditor = add_person(session, "A", role=Role.AUDITOR, now=NOW).person_id
    agree(story)
    write(story, lambda session: agree_with_reader(session, site="northport", reader_id=reader, now=NOW))
    for at, code in (
        (lambda s: agree_with_reader(s, site="northport", reader_id=auditor, now=NOW), Code.NOT_FOUND),
        (lambda s: agree_with_reader(s, site="nowhere", reader_id=reader, now=NOW), Code.NOT_FOUND),
        (lambda s: agree_with_group(s, site="nowhere", group=GROUP, now=NOW), Code.NOT_FOUND),
        (lambda s: agree_with_group(s, site="northport", group="Nobody", now=NOW), Code.NOT_FOUND),
        (lambda s: end_agreement(s, with_group(s, "southbay", GROUP), now=NOW), Code.NOT_FOUND),
        (lambda s: agree_with_group(s, site="northport", group=GROUP, now=NOW), Code.ALREADY_EXISTS),
        (lambda s: agree_with_reader(s, site="northport", reader_id=reader, now=NOW), Code.ALREADY_EXISTS),
    ):
        with pytest.raises((InvalidInputError, ConflictError)) as raised:
            write(story, at)
        assert raised.value.code is code
    assert len(story.look(list_agreements)) == 2
