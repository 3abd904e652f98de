"""A read from post to close, what arrives twice, late or from the wrong hospital, and who may sign."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError
from protocol.reading import ClaimEnded, ClaimMade, Priority, ReadPost, ReadWithdrawn, ReportSigned
from registry_api.reading.credentials import Term, set_term
from registry_api.reading.lifecycle import State
from registry_api.reading.readers import set_capacity
from registry_api.reading.tables import ReadEventRow, ReceiptRow
from tests.unit.registry_api.reading.conftest import NOW, REQUEST
from tests.unit.registry_api.reading.story import HASH, Story, acknowledged, delivered, opened, receipt

Post = Callable[..., ReadPost]
AddReader = Callable[..., str]


def code_of(raised: pytest.ExceptionInfo[FederationError]) -> Code:
    return raised.value.code


def test_the_whole_life_of_a_read(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    states = [story.state(REQUEST)]
    for parcel in (opened(claim), receipt(claim)):
        story.wait(minutes=5)
        story.arrives(parcel)
        states.append(story.state(REQUEST))
    states.append(story.signs(claim, reader))
    for parcel in (delivered(claim), acknowledged(claim)):
        story.arrives(parcel)
        states.append(story.state(REQUEST))
    assert [state.value for state in states] == ["claimed", "reading", "preliminary", "signed", "delivered", "closed"]
    assert story.notices() == [
        ClaimMade(request_id=REQUEST, claim_id=claim.claim_id, reader_id=reader, fence=1),
        ReportSigned(request_id=REQUEST, claim_id=claim.claim_id, fence=1, report_sha256=HASH),
    ]
    events = story.look(lambda session: session.exec(select(ReadEventRow.event)).all())
    assert events == ["posted", "claimed", "opened", "submitted", "signed", "delivered", "acknowledged"]


def test_what_arrives_twice_counts_once(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    for parcel in (opened(claim), receipt(claim)):
        story.arrives(parcel)
        story.arrives(parcel)
    assert story.signs(claim, reader) is story.signs(claim, reader) is State.SIGNED
    for parcel in (delivered(claim), acknowledged(claim)):
        story.arrives(parcel)
        story.arrives(parcel)
    assert story.state(REQUEST) is State.CLOSED
    assert len(story.look(lambda session: session.exec(select(ReadEventRow)).all())) == 7
    assert len(story.notices()) == 2


def test_the_hospital_that_posted_is_the_only_one_that_is_heard(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post())
    with pytest.raises(ConflictError) as taken:
        story.arrives(post(), site="southbay")
    assert code_of(taken) is Code.ALREADY_EXISTS
    claim = story.claims(reader, REQUEST)
    for parcel in (
        opened(claim),
        receipt(claim),
        delivered(claim),
        acknowledged(claim),
        ReadWithdrawn(request_id=REQUEST),
    ):
        with pytest.raises(InvalidInputError) as absent:
            story.arrives(parcel, site="southbay")
        assert code_of(absent) is Code.NOT_FOUND
    assert story.state(REQUEST) is State.CLAIMED


def test_a_claim_that_lapsed_cannot_write(story: Story, post: Post, add_reader: AddReader) -> None:
    first, second = add_reader("A"), add_reader("B")
    story.arrives(post(priority=Priority.STAT))
    stale = story.claims(first, REQUEST)
    story.wait(minutes=11)
    live = story.claims(second, REQUEST)
    assert live.fence == 2
    for parcel in (opened(stale), receipt(stale)):
        with pytest.raises(ConflictError) as refused:
            story.arrives(parcel)
        assert code_of(refused) is Code.STALE_FENCE
    with pytest.raises(ConflictError):
        story.signs(stale, first)
    story.arrives(opened(live))
    ended = ClaimEnded(request_id=REQUEST, claim_id=stale.claim_id)
    assert story.notices()[1] == ended


def test_the_old_fence_under_the_new_claim_is_stale(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    story.releases(story.claims(reader, REQUEST), reader)
    claim = story.claims(reader, REQUEST)
    for attempt in (
        lambda: story.arrives(opened(claim, fence=1)),
        lambda: story.arrives(receipt(claim, fence=1)),
        lambda: story.signs(claim, reader, fence=1),
        lambda: story.releases(claim, reader, fence=1),
    ):
        with pytest.raises(ConflictError) as refused:
            attempt()
        assert code_of(refused) is Code.STALE_FENCE


def test_heartbeats_keep_a_reader_reading_but_do_not_replace_opening(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    assert story.heartbeat(claim, reader).lease_until == NOW + timedelta(minutes=10)
    story.arrives(opened(claim))
    for _ in range(4):
        story.wait(minutes=19)
        until = story.heartbeat(claim, reader).lease_until
        assert until == story.now + timedelta(minutes=20)
    story.wait(minutes=20)
    assert story.sweeps() == 1
    assert story.state(REQUEST) is State.OPEN


def test_a_lease_that_ends_while_a_report_is_under_way_goes_to_the_next_reader(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.wait(minutes=20)
    with pytest.raises(ConflictError):
        story.arrives(receipt(claim))
    assert story.look(lambda session: session.exec(select(ReceiptRow)).all()) == []


def test_nobody_but_the_holder_signs(story: Story, post: Post, add_reader: AddReader) -> None:
    reader, other = add_reader("A"), add_reader("B")
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    with pytest.raises(InvalidInputError) as absent:
        story.signs(claim, other)
    assert code_of(absent) is Code.NOT_FOUND
    assert story.state(REQUEST) is State.PRELIMINARY


def test_only_the_report_that_the_hospital_holds_last_can_be_signed(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    with pytest.raises(ConflictError) as nothing_yet:
        story.signs(claim, reader)
    assert code_of(nothing_yet) is Code.ILLEGAL_TRANSITION
    story.arrives(receipt(claim))
    story.arrives(receipt(claim, version=2, report_sha256="cd" * 32))
    with pytest.raises(RefusedError) as other_hash:
        story.signs(claim, reader)
    assert code_of(other_hash) is Code.SIGNATURE_INVALID
    assert story.signs(claim, reader, sha256="cd" * 32) is State.SIGNED


def test_one_version_has_one_hash(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    with pytest.raises(ConflictError) as refused:
        story.arrives(receipt(claim, report_sha256="cd" * 32))
    assert code_of(refused) is Code.ALREADY_EXISTS


def test_a_licence_that_ends_between_claim_and_signature_blocks(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    reader = add_reader()
    term = Term(NOW - timedelta(days=1), NOW + timedelta(hours=2), verified_by="c" * 32, verified_at=NOW)
    with story.database.writing() as session:
        set_term(session, reader, jurisdiction="XA", term=term)
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    for _ in range(7):
        story.wait(minutes=15)
        story.heartbeat(claim, reader)
    story.arrives(receipt(claim))
    story.wait(minutes=15)
    with pytest.raises(RefusedError) as refused:
        story.signs(claim, reader)
    assert code_of(refused) is Code.FORBIDDEN
    assert story.state(REQUEST) is State.PRELIMINARY


def test_a_term_needs_its_licence(story: Story, add_reader: AddReader) -> None:
    term = Term(NOW, NOW + timedelta(days=1), verified_by="c" * 32, verified_at=NOW)
    reader = add_reader()
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        set_term(session, reader, jurisdiction="XB", term=term)


@pytest.mark.parametrize(("own", "sites"), [(None, ()), ("northport", ("northport",))])
def test_who_is_not_eligible_cannot_claim(
    story: Story, post: Post, add_reader: AddReader, own: str | None, sites: tuple[str, ...]
) -> None:
    reader = add_reader(sites=sites)
    with story.database.writing() as session:
        set_capacity(session, reader, home_site=own)
    story.arrives(post())
    with pytest.raises(FederationError) as refused:
        story.claims(reader, REQUEST)
    assert code_of(refused) is (Code.FORBIDDEN if sites else Code.NOT_FOUND)
    assert story.state(REQUEST) is State.OPEN


def test_someone_who_is_no_reader_cannot_claim(story: Story, post: Post) -> None:
    story.arrives(post())
    with pytest.raises(RefusedError) as refused:
        story.claims("e" * 32, REQUEST)
    assert code_of(refused) is Code.FORBIDDEN


def test_capacity_bounds_what_one_reader_holds(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    requests = [f"{number:032x}" for number in range(6)]
    for request in requests:
        story.arrives(post(request))
    held = [story.claims(reader, request) for request in requests[:5]]
    with pytest.raises(RefusedError):
        story.claims(reader, requests[5])
    story.releases(held[0], reader)
    assert story.claims(reader, requests[5]).fence == 1


def test_a_double_read_takes_two_readers_and_closes_when_both_are_delivered(
    story: Story, post: Post, add_reader: AddReader
) -> None:
    readers = [add_reader("A"), add_reader("B"), add_reader("C")]
    story.arrives(post(reads_required=2))
    first = story.claims(readers[0], REQUEST)
    with pytest.raises(RefusedError):
        story.claims(readers[0], REQUEST)
    second = story.claims(readers[1], REQUEST)
    with pytest.raises(ConflictError):
        story.claims(readers[2], REQUEST)
    assert (first.number, second.number) == (1, 2)
    for claim, reader in ((first, readers[0]), (second, readers[1])):
        story.arrives(opened(claim))
        story.arrives(receipt(claim))
        story.signs(claim, reader)
        with pytest.raises(ConflictError):
            story.arrives(acknowledged(claim))
        story.arrives(delivered(claim))
    story.arrives(acknowledged(first))
    assert {story.state(REQUEST, 1), story.state(REQUEST, 2)} == {State.CLOSED}


def test_withdrawing_ends_the_claim(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(ReadWithdrawn(request_id=REQUEST))
    story.arrives(ReadWithdrawn(request_id=REQUEST))
    assert story.state(REQUEST) is State.WITHDRAWN
    assert story.notices()[1:] == [ClaimEnded(request_id=REQUEST, claim_id=claim.claim_id)]
    with pytest.raises(ConflictError):
        story.arrives(opened(claim))


def test_what_is_signed_is_not_withdrawn(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    with pytest.raises(ConflictError) as refused:
        story.arrives(ReadWithdrawn(request_id=REQUEST))
    assert code_of(refused) is Code.ILLEGAL_TRANSITION


@pytest.mark.parametrize("named", [(), (HASH,)])
def test_what_is_signed_of_a_read_that_was_taken_back_is_acknowledged(
    story: Story, post: Post, add_reader: AddReader, named: tuple[str, ...]
) -> None:
    reader = add_reader()
    story.arrives(post(reads_required=2))
    claim = story.claims(reader, REQUEST)
    for parcel in (opened(claim), receipt(claim)):
        story.arrives(parcel)
    story.signs(claim, reader)
    story.arrives(delivered(claim))
    story.arrives(ReadWithdrawn(request_id=REQUEST))
    story.arrives(acknowledged(claim, *named))
    assert (story.state(REQUEST), story.state(REQUEST, 2)) == (State.CLOSED, State.WITHDRAWN)


def test_taking_note_of_one_report_closes_no_other(story: Story, post: Post, add_reader: AddReader) -> None:
    first, second = add_reader("A"), add_reader("B")
    story.arrives(post(reads_required=2))
    for reader, sha256 in ((first, HASH), (second, "cd" * 32)):
        claim = story.claims(reader, REQUEST)
        for parcel in (opened(claim), receipt(claim, report_sha256=sha256)):
            story.arrives(parcel)
        story.signs(claim, reader, sha256=sha256)
        story.arrives(delivered(claim, sha256=sha256))
    story.arrives(acknowledged(claim, HASH))
    assert (story.state(REQUEST), story.state(REQUEST, 2)) == (State.CLOSED, State.DELIVERED)
    story.arrives(acknowledged(claim, HASH, "cd" * 32))
    assert story.state(REQUEST, 2) is State.CLOSED


def test_what_was_not_signed_is_not_delivered(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    with pytest.raises(RefusedError) as refused:
        story.arrives(delivered(claim))
    assert code_of(refused) is Code.SIGNATURE_INVALID
    story.signs(claim, reader)
    with pytest.raises(RefusedError):
        story.arrives(delivered(claim, sha256="cd" * 32))


def test_a_request_that_nobody_claims_expires(story: Story, post: Post) -> None:
    story.arrives(post(priority=Priority.STAT))
    story.wait(hours=25, minutes=-1)
    assert story.sweeps() == 0
    story.wait(minutes=1)
    assert story.sweeps() == 1
    assert story.state(REQUEST) is State.EXPIRED
