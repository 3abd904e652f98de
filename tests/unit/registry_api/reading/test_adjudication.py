"""Double reads: both agree, or a third reader of another organisation decides without knowing who the first two are."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from sqlmodel import select

from protocol.case import RsnaClass
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.reading import AdjudicationOpened, ClaimMade, CodedResult, ReadConcluded, ReadPost, ReportSigned
from registry_api.reading.claims import Claim
from registry_api.reading.comparison import Difference
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import Purpose, State
from registry_api.reading.matching import Obstacle
from registry_api.reading.offers import ReadView, one_read, open_reads, own_reads
from registry_api.reading.readers import set_capacity
from registry_api.reading.tables import SlotRow
from tests.unit.registry_api.reading.conftest import REQUEST
from tests.unit.registry_api.reading.story import CODED, Story, acknowledged, delivered, opened, receipt

OTHERWISE = CodedResult(
    rsna_class=RsnaClass.ATYPICAL, corads=2, severity_score=3, agrees_with_measurement=False, critical=False
)
A_HASH, B_HASH, C_HASH = "a1" * 32, "b2" * 32, "c3" * 32


@dataclass
class Double:
    """A request for two reads and those who read it."""

    story: Story
    first: str
    second: str
    third: str

    def claims(self, reader: str) -> Claim:
        return self.story.claims(reader, REQUEST)

    def reports(self, claim: Claim, coded: CodedResult, sha256: str) -> None:
        self.story.arrives(opened(claim))
        self.story.arrives(receipt(claim, coded=coded, report_sha256=sha256))

    def reads(self, reader: str, coded: CodedResult, sha256: str) -> Claim:
        claim = self.claims(reader)
        self.reports(claim, coded, sha256)
        self.story.signs(claim, reader, sha256=sha256)
        return claim

    def view(self, reader: str | None = None) -> ReadView:
        return self.story.look(lambda session: one_read(session, REQUEST, reader, now=self.story.now))


@pytest.fixture
def double(story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]) -> Double:
    story.arrives(post(reads_required=2))
    return Double(story, add_reader("First"), add_reader("Second"), add_reader("Third"))


def test_two_reads_that_agree_are_the_result(double: Double) -> None:
    claims = [double.reads(double.first, CODED, A_HASH), double.reads(double.second, CODED, B_HASH)]
    view = double.view()
    assert (view.agreed, view.result_slot, view.differences, len(view.slots)) == (True, 1, (), 2)
    assert double.story.notices()[-2:] == [
        ReadConcluded(request_id=REQUEST, claim_id=claims[0].claim_id, agreed=True),
        ReportSigned(request_id=REQUEST, claim_id=claims[1].claim_id, fence=1, report_sha256=B_HASH),
    ]


def test_two_reads_that_disagree_open_a_third_slot(double: Double) -> None:
    double.reads(double.first, CODED, A_HASH)
    assert double.view().state is State.OPEN, "the second read is still to come"
    assert len(double.view().slots) == 2
    double.reads(double.second, OTHERWISE, B_HASH)
    view = double.view()
    assert [(slot.purpose, slot.state) for slot in view.slots][2] == (Purpose.ADJUDICATION, State.OPEN)
    assert view.differences == (Difference.RSNA_CLASS, Difference.CORADS, Difference.SEVERITY_SCORE)
    assert (view.state, view.agreed, view.result_slot) == (State.OPEN, None, None)
    kinds = [notice.kind for notice in double.story.notices()]
    assert kinds[-2:] == ["adjudication-opened", "report-signed"], "the node waits for three before it has two"
    assert AdjudicationOpened(request_id=REQUEST) in double.story.notices()


def test_the_third_read_is_the_result_whatever_it_says(double: Double) -> None:
    first, second = double.reads(double.first, CODED, A_HASH), double.reads(double.second, OTHERWISE, B_HASH)
    third = double.reads(double.third, OTHERWISE, C_HASH)
    view = double.view()
    assert (view.agreed, view.result_slot) == (False, 3)
    concluded = ReadConcluded(request_id=REQUEST, claim_id=third.claim_id, agreed=False)
    assert double.story.notices()[-2] == concluded
    for claim, sha256 in ((first, A_HASH), (second, B_HASH), (third, C_HASH)):
        with pytest.raises(ConflictError):
            double.story.arrives(acknowledged(claim))
        double.story.arrives(delivered(claim, sha256=sha256))
    double.story.arrives(acknowledged(first))
    assert double.view().state is State.CLOSED


def test_a_third_slot_is_opened_once(double: Double) -> None:
    double.reads(double.first, CODED, A_HASH)
    claim = double.reads(double.second, OTHERWISE, B_HASH)
    double.story.signs(claim, double.second, sha256=B_HASH)
    double.reads(double.third, OTHERWISE, C_HASH)
    numbers = double.story.look(lambda session: session.exec(select(SlotRow.number)).all())
    assert numbers == [1, 2, 3]


def test_neither_of_the_first_two_decides(double: Double) -> None:
    double.reads(double.first, CODED, A_HASH)
    double.reads(double.second, OTHERWISE, B_HASH)
    for reader in (double.first, double.second):
        with pytest.raises(RefusedError):
            double.claims(reader)


@pytest.mark.parametrize("bond", ["group", "hospital"])
def test_who_decides_is_of_another_organisation_than_both(double: Double, bond: str) -> None:
    with double.story.database.writing() as session:
        for reader in (double.second, double.third):
            if bond == "group":
                set_group(session, reader, group="Night readers")
            else:
                set_capacity(session, reader, home_site="southbay")
    double.reads(double.first, CODED, A_HASH)
    double.reads(double.second, OTHERWISE, B_HASH)
    with pytest.raises(RefusedError) as refused:
        double.claims(double.third)
    assert "another organisation" in str(refused.value)
    (view,) = double.story.look(
        lambda session: open_reads(session, double.third, now=double.story.now, eligible_only=False)
    )
    assert view.obstacles == (Obstacle.SAME_ORGANISATION,)
    with double.story.database.writing() as session:
        set_group(session, double.third, group=None)
        set_capacity(session, double.third, home_site="")
    assert double.claims(double.third).number == 3


def test_colleagues_may_read_the_same_study_twice(double: Double) -> None:
    """Only who decides must come from elsewhere."""
    with double.story.database.writing() as session:
        for reader in (double.first, double.second):
            set_group(session, reader, group="Night readers")
    double.claims(double.first)
    assert double.claims(double.second).number == 2


def test_who_decides_sees_both_opinions_and_not_whose_they_are(double: Double) -> None:
    claims = [double.reads(double.first, CODED, A_HASH), double.reads(double.second, OTHERWISE, B_HASH)]
    double.claims(double.third)
    (mine,) = double.story.look(lambda session: own_reads(session, double.third))
    assert {(one.rsna_class, one.corads) for one in mine.opinions} == {("typical", 5), ("atypical", 2)}
    for view in (mine, double.view(double.third)):
        seen = view.model_dump_json()
        secrets = [double.first, double.second, A_HASH, B_HASH, *(claim.claim_id for claim in claims)]
        assert not [one for one in secrets if one in seen]
        assert {event.number for event in view.events} <= {3}


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_opinions_does_not_tell_who_read_first(double: Double, turned: bool) -> None:
    readers = (double.second, double.first) if turned else (double.first, double.second)
    for reader, coded, sha256 in zip(readers, (CODED, OTHERWISE), (A_HASH, B_HASH), strict=True):
        double.reads(reader, coded, sha256)
    assert [one.corads for one in double.view().opinions] == [2, 5]


def test_the_first_two_readers_never_see_the_opinions(double: Double) -> None:
    double.reads(double.first, CODED, A_HASH)
    double.reads(double.second, OTHERWISE, B_HASH)
    for reader in (double.first, double.second):
        assert (double.view(reader).opinions, double.view(reader).differences) == ((), ())


def test_the_third_slot_has_a_time_of_its_own(double: Double) -> None:
    double.reads(double.first, CODED, A_HASH)
    double.story.wait(hours=40)
    double.reads(double.second, OTHERWISE, B_HASH)
    double.story.wait(hours=23)
    assert double.story.sweeps() == 0, "the request's first time is over, the third slot's is not"
    double.story.wait(hours=26)
    assert double.story.sweeps() == 1
    assert double.story.state(REQUEST, 3) is State.EXPIRED


def test_a_single_read_is_compared_with_nothing(
    story: Story, post: Callable[..., ReadPost], add_reader: Callable[..., str]
) -> None:
    story.arrives(post())
    reader = add_reader()
    claim = story.claims(reader, REQUEST)
    story.arrives(opened(claim))
    story.arrives(receipt(claim))
    story.signs(claim, reader)
    assert [type(notice) for notice in story.notices()] == [ClaimMade, ReportSigned]


@pytest.mark.parametrize(("group", "leads"), [("", False), ("x" * 101, False), (None, True)])
def test_a_group_has_a_name_and_a_lead_has_a_group(
    story: Story, add_reader: Callable[..., str], group: str | None, leads: bool
) -> None:
    reader = add_reader()
    with pytest.raises(InvalidInputError), story.database.writing() as session:
        set_group(session, reader, group=group, leads=leads)
