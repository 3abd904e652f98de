"""A signed report is amended by its reader: opened again, a second version, a second signature, a second delivery."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError
from protocol.reading import AmendmentOpened, ClaimEnded, ReadPost, ReportSigned, ReportStatus
from registry_api.reading.claims import Claim
from registry_api.reading.credentials import set_term
from registry_api.reading.grants import GrantSigner, make_grant
from registry_api.reading.lifecycle import State
from registry_api.reading.offers import own_reads
from registry_api.reading.readers import profile
from tests.fakes.readers import a_term, privilege
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import (
    CODED,
    HASH,
    Story,
    acknowledged,
    answered,
    asked,
    delivered,
    opened,
    receipt,
)

SECOND = "5e" * 32
SIGNER = GrantSigner(Ed25519PrivateKey.generate())


@dataclass
class Done:
    """A read whose report the hospital has."""

    story: Story
    reader: str
    claim: Claim

    def second_version(self, **changes: object) -> None:
        content = {"version": 2, "report_sha256": SECOND, "status": ReportStatus.AMENDED}
        self.story.arrives(receipt(self.claim, **(content | changes)))

    def grant(self) -> str:
        with self.story.database.writing() as session:
            return make_grant(
                session, self.claim.claim_id, self.reader, jkt="j" * 43, signer=SIGNER, now=self.story.now
            ).token


@pytest.fixture
def done(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> Done:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    story.arrives(delivered(claim))
    return Done(story, reader, claim)


@pytest.mark.parametrize("closed", [False, True])
def test_the_whole_way_of_an_amendment(done: Done, closed: bool) -> None:
    story, claim = done.story, done.claim
    if closed:
        story.arrives(acknowledged(claim))
    before = story.state(REQUEST)
    story.amends(claim, done.reader)
    assert story.state(REQUEST) is before, "what is signed counts until something else is"
    done.second_version()
    assert story.state(REQUEST) is before
    assert story.signs(claim, done.reader, sha256=SECOND) is State.SIGNED
    story.arrives(delivered(claim, sha256=SECOND))
    story.arrives(acknowledged(claim))
    assert story.state(REQUEST) is State.CLOSED
    assert story.events(REQUEST)[-4:] == ["reopened", "amended", "delivered", "acknowledged"]
    assert story.notices()[-2:] == [
        AmendmentOpened(request_id=REQUEST, claim_id=claim.claim_id, fence=1),
        ReportSigned(request_id=REQUEST, claim_id=claim.claim_id, fence=1, report_sha256=SECOND),
    ]


def test_an_opened_report_lets_its_reader_look_again_and_no_longer(done: Done) -> None:
    with pytest.raises(ConflictError):
        done.grant()
    done.story.amends(done.claim, done.reader)
    assert done.grant()
    done.story.wait(hours=2)
    assert done.story.sweeps() == 1
    with pytest.raises(ConflictError):
        done.grant()
    assert done.story.notices()[-1] == ClaimEnded(request_id=REQUEST, claim_id=done.claim.claim_id)
    assert done.story.state(REQUEST) is State.DELIVERED


def test_what_nobody_signed_is_no_amendment(done: Done) -> None:
    """The version that was handed in stays at the hospital; the first one is still the one that is delivered."""
    done.story.amends(done.claim, done.reader)
    done.second_version()
    done.story.wait(hours=2)
    done.story.sweeps()
    with pytest.raises(ConflictError):
        done.story.signs(done.claim, done.reader, sha256=SECOND)
    done.story.arrives(delivered(done.claim))
    with pytest.raises(RefusedError):
        done.story.arrives(delivered(done.claim, sha256=SECOND))


def test_the_next_amendment_goes_on_from_the_last_version(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    done.second_version()
    done.story.releases(done.claim, done.reader)
    done.story.amends(done.claim, done.reader)
    done.second_version(version=3, report_sha256="6f" * 32)
    assert done.story.signs(done.claim, done.reader, sha256="6f" * 32) is State.SIGNED


def test_leaving_it_as_it_is_closes_it(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    done.story.releases(done.claim, done.reader)
    assert (done.story.state(REQUEST), done.story.slot(REQUEST).amend_until) == (State.DELIVERED, None)
    assert done.story.notices()[-1].kind == "claim-ended"


def test_signing_the_first_version_again_changes_nothing(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    assert done.story.signs(done.claim, done.reader, sha256=HASH) is State.DELIVERED
    assert done.story.events(REQUEST)[-1] == "reopened"


def test_nobody_else_amends_a_report(done: Done, add_reader: Callable[..., str]) -> None:
    with pytest.raises(InvalidInputError):
        done.story.amends(done.claim, add_reader("Other"))
    with pytest.raises(ConflictError) as stale:
        done.story.amends(done.claim, done.reader, fence=7)
    assert stale.value.code is Code.STALE_FENCE


def test_before_the_hospital_has_it_there_is_nothing_to_amend(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    reader = add_reader()
    story.arrives(post())
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    for step in (lambda: story.arrives(receipt(claim)), lambda: story.signs(claim, reader)):
        with pytest.raises(ConflictError) as early:
            story.amends(claim, reader)
        assert early.value.code is Code.ILLEGAL_TRANSITION
        step()


def test_a_licence_that_ended_amends_nothing(done: Done) -> None:
    with done.story.database.writing() as session:
        until = done.story.now + timedelta(hours=1)
        set_term(session, done.reader, jurisdiction="XA", term=a_term(done.story.now, until=until))
    done.story.amends(done.claim, done.reader)
    done.second_version()
    done.story.wait(hours=1)
    for attempt in (
        lambda: done.story.signs(done.claim, done.reader, sha256=SECOND),
        lambda: done.story.amends(done.claim, done.reader),
    ):
        with pytest.raises(FederationError) as refused:
            attempt()
        assert refused.value.code is Code.FORBIDDEN


def test_a_withdrawn_privilege_ends_the_amendment(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    with done.story.database.writing() as session:
        privilege(session, done.reader, now=done.story.now, granted=False, version=2)
    assert done.story.slot(REQUEST).amend_until is None
    with pytest.raises(ConflictError):
        done.grant()


def test_an_amendment_that_turns_critical_waits_for_the_hospital_again(done: Done) -> None:
    done.story.arrives(acknowledged(done.claim))
    done.story.amends(done.claim, done.reader)
    done.second_version(coded=CODED.model_copy(update={"critical": True}))
    done.story.signs(done.claim, done.reader, sha256=SECOND)
    done.story.arrives(delivered(done.claim, sha256=SECOND))
    done.story.wait(hours=1)
    done.story.escalates()
    assert done.story.events(REQUEST)[-1] == "alarmed"


def test_an_amendment_that_breaks_an_agreement_asks_for_a_third_read(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    story.arrives(post(reads_required=2))
    held = []
    for reader, sha256 in ((add_reader("A"), HASH), (add_reader("B"), "b2" * 32)):
        claim = story.claims(reader, REQUEST)
        story.arrives(opened(claim))
        story.arrives(receipt(claim, report_sha256=sha256))
        story.signs(claim, reader, sha256=sha256)
        story.arrives(delivered(claim, sha256=sha256))
        held.append((reader, claim))
    reader, claim = held[1]
    story.amends(claim, reader)
    story.arrives(receipt(claim, version=2, report_sha256=SECOND, coded=CODED.model_copy(update={"corads": 1})))
    story.signs(claim, reader, sha256=SECOND)
    assert story.state(REQUEST, 3) is State.OPEN
    assert [notice.kind for notice in story.notices()][-2:] == ["adjudication-opened", "report-signed"]


def test_the_reader_sees_until_when(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    (view,) = done.story.look(lambda session: own_reads(session, done.reader))
    assert view.slots[0].amend_until == done.story.now + timedelta(hours=2)


@pytest.mark.parametrize("closed", [False, True])
def test_a_question_keeps_the_amendment_open_until_the_hospital_answers(done: Done, closed: bool) -> None:
    story = done.story
    if closed:
        story.arrives(acknowledged(done.claim))
    before = story.state(REQUEST)
    story.amends(done.claim, done.reader)
    story.arrives(asked(done.claim))
    story.wait(hours=20)
    assert story.sweeps() == 0
    story.arrives(answered(done.claim))
    story.wait(minutes=119)
    assert story.sweeps() == 0
    done.second_version()
    assert story.state(REQUEST) is before
    assert story.signs(done.claim, done.reader, sha256=SECOND) is State.SIGNED
    assert story.events(REQUEST)[-4:] == ["reopened", "asked", "answered", "amended"]


def test_a_question_of_an_amendment_that_nobody_answers_closes_it_and_does_not_count_against_the_reader(
    done: Done,
) -> None:
    done.story.amends(done.claim, done.reader)
    done.story.arrives(asked(done.claim))
    done.story.wait(hours=24)
    assert done.story.sweeps() == 1
    assert done.story.state(REQUEST) is State.DELIVERED
    assert done.story.notices()[-1] == ClaimEnded(request_id=REQUEST, claim_id=done.claim.claim_id)
    assert done.story.look(lambda session: profile(session, done.reader)).restricted_until is None
    with pytest.raises(ConflictError) as late:
        done.story.arrives(answered(done.claim))
    assert late.value.code is Code.STALE_FENCE


def test_what_was_asked_before_may_be_answered_when_the_report_is_opened_again(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    done.story.arrives(asked(done.claim))
    done.story.wait(hours=24)
    done.story.sweeps()
    done.story.amends(done.claim, done.reader)
    done.story.arrives(answered(done.claim))
    assert done.story.events(REQUEST)[-1] == "answered"


def test_opening_it_again_takes_no_time_from_a_question(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    done.story.arrives(asked(done.claim))
    until = done.story.slot(REQUEST).amend_until
    done.story.amends(done.claim, done.reader)
    assert done.story.slot(REQUEST).amend_until == until


def test_a_signed_report_that_is_not_open_is_not_asked_about(done: Done) -> None:
    with pytest.raises(ConflictError) as refused:
        done.story.arrives(asked(done.claim))
    assert refused.value.code is Code.STALE_FENCE


def test_an_amendment_is_answered_only_what_it_asked(done: Done) -> None:
    done.story.amends(done.claim, done.reader)
    with pytest.raises(ConflictError) as refused:
        done.story.arrives(answered(done.claim))
    assert refused.value.code is Code.ILLEGAL_TRANSITION
