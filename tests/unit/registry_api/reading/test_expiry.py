"""A read that nobody claims in time: the hospital hears of it, is content with what came, or asks anew."""

from collections.abc import Callable

import pytest

from protocol.errors import FederationError
from protocol.reading import AdjudicationOpened, ReadConcluded, ReadExpired, ReadPost, ReadReposted, ReadWithdrawn
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import Purpose, State
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import CODED, Story, acknowledged, delivered
from tests.unit.registry_api.reading.test_adjudication import A_HASH, B_HASH, C_HASH, OTHERWISE, Double

ANEW = ReadReposted(request_id=REQUEST, number=2)


@pytest.fixture
def double(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> Double:
    story.arrives(post(reads_required=2))
    return Double(story, add_reader("First"), add_reader("Second"), add_reader("Third"))


@pytest.fixture
def claim(double: Double) -> Claim:
    """The one claim of a double read whose report is signed and delivered; the other slot has expired."""
    claim = double.reads(double.first, CODED, A_HASH)
    double.story.arrives(delivered(claim, sha256=A_HASH))
    expire(double)
    return claim


def expire(double: Double) -> None:
    double.story.wait(hours=48)
    double.story.sweeps()


def read_anew(double: Double, reader: str, coded: object = CODED, sha256: str = B_HASH) -> None:
    double.story.arrives(delivered(double.reads(reader, coded, sha256), sha256=sha256))  # type: ignore[arg-type]


def test_the_hospital_hears_that_nobody_claimed_its_read(double: Double) -> None:
    for _ in range(2):
        expire(double)
    assert double.story.notices() == [ReadExpired(request_id=REQUEST, number=number) for number in (1, 2)]


@pytest.mark.usefixtures("claim")
def test_nobody_hears_of_a_peer_review_that_nobody_claimed(double: Double) -> None:
    story = double.story
    story.arrives(ANEW)
    read_anew(double, double.second)
    assert story.draws() == 1
    told = len(story.notices())
    story.wait(days=14)
    assert story.sweeps() == 1
    assert story.state(REQUEST, 4) is State.EXPIRED
    assert len(story.notices()) == told


def test_the_only_report_is_the_result_once_the_hospital_is_content_with_it(double: Double, claim: Claim) -> None:
    view = double.view()
    assert (view.state, view.result_slot) == (State.DELIVERED, None), "the hospital may still ask anew"
    assert double.story.notices()[-1] == ReadExpired(request_id=REQUEST, number=2)
    double.story.arrives(acknowledged(claim, A_HASH))
    view = double.view()
    assert (view.state, view.result_slot, view.agreed) == (State.CLOSED, 1, False)
    assert double.story.notices()[-1] == ReadConcluded(request_id=REQUEST, claim_id=claim.claim_id, agreed=False)
    assert double.story.draws() == 0, "a report that stands alone is drawn for no peer review"


def test_taking_the_rest_of_a_read_back_makes_the_only_report_the_result(double: Double) -> None:
    claim = double.reads(double.first, CODED, A_HASH)
    double.story.arrives(ReadWithdrawn(request_id=REQUEST))
    assert double.story.notices()[-1] == ReadConcluded(request_id=REQUEST, claim_id=claim.claim_id, agreed=False)
    assert double.view().state is State.SIGNED


@pytest.mark.usefixtures("claim")
def test_a_read_that_is_asked_for_anew_is_compared_with_the_other(double: Double) -> None:
    double.story.arrives(ANEW)
    view = double.view()
    assert [(slot.purpose, slot.state) for slot in view.slots][2] == (Purpose.READ, State.OPEN)
    assert view.state is State.OPEN
    assert view.due_at > double.story.now, "with the whole time of its priority"
    with pytest.raises(FederationError):
        double.claims(double.first)
    read_anew(double, double.second)
    assert (double.view().agreed, double.view().result_slot) == (True, 1)


@pytest.mark.usefixtures("claim")
def test_a_read_that_is_asked_for_anew_may_disagree_and_its_third_read_expire_too(double: Double) -> None:
    double.story.arrives(ANEW)
    read_anew(double, double.second, OTHERWISE)
    assert AdjudicationOpened(request_id=REQUEST) in double.story.notices()
    expire(double)
    assert double.story.notices()[-1] == ReadExpired(request_id=REQUEST, number=4)
    double.story.arrives(ReadReposted(request_id=REQUEST, number=4))
    assert double.view().slots[4].purpose is Purpose.ADJUDICATION
    read_anew(double, double.third, OTHERWISE, C_HASH)
    assert (double.view().agreed, double.view().result_slot) == (False, 5)


@pytest.mark.usefixtures("claim")
@pytest.mark.parametrize("number", [1, 3])
def test_only_what_has_expired_is_asked_for_anew(double: Double, number: int) -> None:
    with pytest.raises(FederationError):
        double.story.arrives(ReadReposted(request_id=REQUEST, number=number))
