"""An earlier study is shown beside a read only where the hospital chose one of the same patient, and under the same grant."""

import pytest

from client.gateway.erase import forget_reports
from client.gateway.priors import choose
from client.gateway.records import Prior
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import ClaimEnded, ReadOpened
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest, a_post, write_study

EARLIER, OTHER = "5" * 32, "9" * 32
NAMES = ["ct.nii.gz", "mask.nii.gz", "ct-coarse.nii.gz", "mask-coarse.nii.gz"]


@pytest.fixture
def beside(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """A gateway whose read has an earlier study beside it."""
    gateway.book.connection.execute("INSERT INTO read_priors VALUES (?, ?, 41)", (REQUEST, EARLIER))
    write_study(gateway.studies / EARLIER, shape=(12, 64, 64))
    gateway.enter()
    return gateway


@pytest.mark.parametrize("name", NAMES)
def test_it_comes_as_the_study_itself_does(beside: GatewayUnderTest, name: str) -> None:
    answer = beside.ask("GET", f"/prior/{REQUEST}/{name}")
    assert answer.status_code == 200
    assert answer.content != beside.ask("GET", f"/vol/{REQUEST}/{name}").content
    assert beside.audit[1] == ("gateway.prior", REQUEST, "answered-200")


def test_looking_at_it_is_looking_at_the_read(beside: GatewayUnderTest) -> None:
    beside.ask("GET", f"/prior/{REQUEST}/ct.nii.gz")
    assert beside.gate.parcels == [ReadOpened(request_id=REQUEST, claim_id=CLAIM, fence=1)]


def test_the_page_offers_it(beside: GatewayUnderTest) -> None:
    assert "41 days earlier" in beside.ask("GET", f"/view/{REQUEST}").text


def test_where_none_was_chosen_there_is_none(gateway: GatewayUnderTest) -> None:
    write_study(gateway.studies / EARLIER, shape=(12, 64, 64))
    gateway.enter()
    assert gateway.ask("GET", f"/prior/{REQUEST}/ct.nii.gz").json()["code"] == "not-found"
    assert "days earlier" not in gateway.ask("GET", f"/view/{REQUEST}").text


def test_that_of_another_read_looks_absent(beside: GatewayUnderTest) -> None:
    beside.book.post(a_post(OTHER), study_key="8" * 32, prior=Prior(EARLIER, 3))
    assert beside.ask("GET", f"/prior/{OTHER}/ct.nii.gz").json()["code"] == "not-found"


def test_it_goes_with_the_claim(beside: GatewayUnderTest) -> None:
    beside.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    assert beside.ask("GET", f"/prior/{REQUEST}/ct.nii.gz").json()["code"] == "grant-invalid"


def test_a_deleted_study_is_beside_nothing(beside: GatewayUnderTest) -> None:
    forget_reports(beside.book, EARLIER)
    assert beside.ask("GET", f"/prior/{REQUEST}/ct.nii.gz").json()["code"] == "not-found"
    assert beside.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200


@pytest.mark.parametrize(("wanted", "days"), [("latest", 41), (EARLIER, 41), (OTHER, 400)])
def test_the_hospital_names_one_or_takes_the_latest(wanted: str, days: int) -> None:
    assert choose([(EARLIER, 41), (OTHER, 400)], wanted).days_before == days


@pytest.mark.parametrize("wanted", [STUDY, "", "latest"])
def test_a_strangers_study_is_never_beside(wanted: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        choose([(EARLIER, 41)] if wanted != "latest" else [], wanted)
    assert refused.value.code is Code.NOT_FOUND
