"""Peer review: drawn by chance, blind, scored from 1 to 4; what matters is told to the hospital."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from sqlmodel import select

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.reading import ClaimEnded, DiscrepancyOpened, Priority, ReadPost, ReadWithdrawn
from registry_api.reading import reviews
from registry_api.reading.claims import Claim
from registry_api.reading.grants import GrantSigner, make_grant
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import Purpose, State
from registry_api.reading.offers import one_read, open_reads, own_reads
from registry_api.reading.tables import PeerReviewRow, ReadRequestRow, SlotRow
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import HASH, Story, acknowledged, delivered, opened, receipt

AddReader = Callable[..., str]
Post = Callable[..., ReadPost]


@dataclass
class Result:
    """A signed read and who may review it."""

    story: Story
    reader: str
    reviewer: str
    claim: Claim

    def claims_review(self) -> Claim:
        claim = self.story.claims(self.reviewer, REQUEST)
        self.story.arrives(opened(claim))
        return claim


@pytest.fixture
def result(story: Story, post: Post, add_reader: AddReader) -> Result:
    reader, reviewer = add_reader("Reader"), add_reader("Reviewer")
    story.arrives(post(priority=Priority.STAT))
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    story.arrives(delivered(claim))
    return Result(story, reader, reviewer, claim)


def purposes(story: Story) -> list[str]:
    return story.look(lambda session: list(session.exec(select(SlotRow.purpose))))


def test_each_result_is_drawn_for_once(result: Result) -> None:
    assert result.story.draws(0) == 0
    assert result.story.draws(100) == 0, "the draw is over, whatever it said"
    assert purposes(result.story) == ["read"]


def test_the_draw_asks_the_operating_system_and_keeps_to_its_share(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    values = iter(range(100))
    monkeypatch.setattr(reviews.secrets, "randbelow", lambda bound: asked.append(bound) or next(values))
    with story.database.writing() as session:
        for number in range(100):
            moment = {"posted_at": story.now, "due_at": story.now, "expires_at": story.now, "undrawn_since": story.now}
            session.add(
                ReadRequestRow(
                    request_id=f"{number:032x}", site="northport", priority="routine", age_band="60-69", sex="female",
                    slices=1, megabytes=1, ggo_percent=1, jurisdiction="XA", language="en", reads_required=1, **moment,
                )
            )  # fmt: skip
    assert story.draws(5) == 5
    assert asked == [100] * 100


def test_a_double_read_is_drawn_for_when_it_has_a_result(story: Story, post: Post, add_reader: AddReader) -> None:
    story.arrives(post(reads_required=2))
    for reader in (add_reader("A"), add_reader("B")):
        assert story.draws() == 0
        claim = story.claims(reader, REQUEST)
        story.arrives(opened(claim))
        story.arrives(receipt(claim))
        story.signs(claim, reader)
    assert story.draws() == 1
    view = story.look(lambda session: one_read(session, REQUEST, None, now=story.now))
    assert (view.agreed, view.result_slot, view.opinions) == (True, 1, ()), "while nobody has claimed the review"


def test_a_review_leaves_state_due_time_and_acknowledgement_of_the_request_alone(result: Result) -> None:
    before = result.story.look(lambda session: session.get_one(ReadRequestRow, REQUEST)).due_at
    result.story.draws()
    result.story.arrives(acknowledged(result.claim))
    view = result.story.look(lambda session: one_read(session, REQUEST, None, now=result.story.now))
    assert (view.state, view.due_at, view.escalation) == (State.CLOSED, before, None)
    result.story.wait(hours=30)
    assert result.story.escalates() == 0
    assert result.story.sweeps() == 0
    with pytest.raises(ConflictError):
        result.story.arrives(ReadWithdrawn(request_id=REQUEST))
    result.story.wait(days=14)
    assert result.story.sweeps() == 1
    assert result.story.state(REQUEST, 2) is State.EXPIRED


def test_reviews_come_after_everything_that_somebody_waits_for(result: Result, post: Post) -> None:
    result.story.draws()
    result.story.arrives(post("2" * 32))
    offered = result.story.look(
        lambda session: open_reads(session, result.reviewer, now=result.story.now, eligible_only=True)
    )
    assert [view.request_id for view in offered] == ["2" * 32, REQUEST]


def test_the_reviewer_sees_the_codes_and_not_whose_they_are(result: Result) -> None:
    result.story.draws()
    result.claims_review()
    (mine,) = result.story.look(lambda session: own_reads(session, result.reviewer))
    (opinion,) = mine.opinions
    assert (opinion.rsna_class, opinion.corads) == ("typical", 5)
    seen = mine.model_dump_json()
    assert not [secret for secret in (result.reader, result.claim.claim_id, HASH) if secret in seen]
    assert [(slot.purpose, slot.state) for slot in mine.slots][1] == (Purpose.REVIEW, State.READING)


@pytest.mark.parametrize("who", ["reader", "colleague"])
def test_neither_the_reader_nor_a_colleague_reviews(result: Result, who: str) -> None:
    with result.story.database.writing() as session:
        for reader in (result.reader, result.reviewer):
            set_group(session, reader, group="Night readers")
    result.story.draws()
    with pytest.raises(RefusedError):
        result.story.claims(result.reader if who == "reader" else result.reviewer, REQUEST)


def test_a_grant_for_a_review_is_for_looking_only(result: Result) -> None:
    result.story.draws()
    claim = result.claims_review()
    signer = GrantSigner(Ed25519PrivateKey.generate())
    with result.story.database.writing() as session:
        issued = make_grant(session, claim.claim_id, result.reviewer, jkt="j" * 43, signer=signer, now=result.story.now)
    assert b'"scope":"view"' in jws.extract_compact(issued.token.encode()).payload.replace(b": ", b":")
    with pytest.raises(ConflictError) as refused:
        result.story.arrives(receipt(claim))
    assert refused.value.code is Code.ILLEGAL_TRANSITION


@pytest.mark.parametrize("score", [1, 2, 3, 4])
def test_the_hospital_hears_of_what_matters(result: Result, score: int) -> None:
    result.story.draws()
    claim = result.claims_review()
    result.story.scores(claim, result.reviewer, score)
    row = result.story.look(lambda session: session.exec(select(PeerReviewRow)).one())
    assert (row.score, row.reviewed_claim_id) == (score, result.claim.claim_id)
    ended = ClaimEnded(request_id=REQUEST, claim_id=claim.claim_id)
    told = DiscrepancyOpened(request_id=REQUEST, claim_id=result.claim.claim_id, score=score) if score > 2 else None
    assert result.story.notices()[-1] == (told or ended)
    assert ended in result.story.notices()
    assert result.story.state(REQUEST, 2) is State.CLOSED


def test_one_score_for_a_review_after_a_look_and_under_its_fence(result: Result) -> None:
    result.story.draws()
    claim = result.story.claims(result.reviewer, REQUEST)
    with pytest.raises(ConflictError) as unseen:
        result.story.scores(claim, result.reviewer, 1)
    assert unseen.value.code is Code.ILLEGAL_TRANSITION
    result.story.arrives(opened(claim))
    with pytest.raises(ConflictError) as stale:
        result.story.scores(claim, result.reviewer, 1, fence=7)
    assert stale.value.code is Code.STALE_FENCE
    result.story.scores(claim, result.reviewer, 1)
    with pytest.raises(ConflictError):
        result.story.scores(claim, result.reviewer, 4)


def test_a_read_is_not_scored(story: Story, post: Post, add_reader: AddReader) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    with pytest.raises(ConflictError) as refused:
        story.scores(claim, reader, 1)
    assert refused.value.code is Code.ILLEGAL_TRANSITION
    assert story.state(REQUEST) is State.READING


def test_an_amendment_takes_no_part_in_the_draw(result: Result) -> None:
    result.story.draws(0)
    result.story.amends(result.claim, result.reader)
    result.story.arrives(receipt(result.claim, version=2, report_sha256="5e" * 32))
    result.story.signs(result.claim, result.reader, sha256="5e" * 32)
    assert result.story.draws(100) == 0
