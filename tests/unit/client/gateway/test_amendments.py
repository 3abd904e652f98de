"""At the node: a signed report is opened again by the centre's word, gets a second version, and is taken note of anew."""

import pytest

from client.gateway.erase import forget_reports
from client.gateway.notices import receivers
from client.gateway.records import Stage
from client.gateway.reports import Kept
from protocol.reading import AlarmReason, AmendmentOpened, ClaimEnded, ReadAlarm, ReportStatus
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest
from tests.unit.client.gateway.test_app import REPORT
from tests.unit.client.gateway.test_book import keeping, reported, signature, stage

REOPENED = AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1)


@pytest.fixture
def closed(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """A read whose report was signed and acknowledged."""
    gateway.reports.sign(signature(reported(gateway)))
    gateway.take_note()
    gateway.gate.parcels.clear()
    return gateway


def hear(gateway: GatewayUnderTest, notice: AmendmentOpened | ClaimEnded) -> None:
    receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))[notice.kind](notice)


def amended(gateway: GatewayUnderTest) -> Kept:
    hear(gateway, REOPENED)
    assert gateway.enter().status_code == 201
    assert gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"critical": True}).status_code == 201
    return gateway.reports.of_claim(CLAIM)[0]


def test_a_signed_report_lets_nobody_in_until_it_is_opened_again(closed: GatewayUnderTest) -> None:
    assert closed.enter().json()["code"] == "grant-invalid"
    hear(closed, REOPENED)
    assert closed.enter().status_code == 201
    hear(closed, ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    assert closed.ask("GET", f"/view/{REQUEST}").json()["code"] == "grant-invalid"


def test_the_second_version_is_said_to_be_an_amendment(closed: GatewayUnderTest) -> None:
    kept = amended(closed)
    (said,) = closed.gate.parcels
    assert (said.kind, said.version, said.status) == ("report-receipt", 2, ReportStatus.AMENDED)  # type: ignore[union-attr]
    assert [one.status for one in closed.reports.of_claim(CLAIM)] == [ReportStatus.PRELIMINARY, ReportStatus.FINAL]
    closed.reports.sign(signature(kept))
    assert [one.status for one in closed.reports.of_claim(CLAIM)] == [ReportStatus.AMENDED, ReportStatus.FINAL]
    assert closed.gate.kinds() == ["report-receipt", "read-delivered"]


def test_the_hospital_takes_note_of_an_amendment_anew(closed: GatewayUnderTest) -> None:
    first = closed.take_note()
    assert first.stage is Stage.CLOSED
    noted = closed.gate.parcels.pop()
    kept = amended(closed)
    assert stage(closed) is Stage.CLOSED, "until it is signed the first version counts"
    closed.reports.sign(signature(kept))
    assert stage(closed) is Stage.DELIVERED
    assert closed.take_note().stage is Stage.CLOSED
    assert closed.gate.kinds()[-1] == "read-acknowledged"
    assert closed.gate.parcels[-1] != noted, "the same parcel would be taken for the first word of it, and not be sent"


def test_a_study_that_is_deleted_while_it_is_amended_stays_deleted(closed: GatewayUnderTest) -> None:
    hear(closed, REOPENED)
    closed.enter()
    forget_reports(closed.book, STUDY)
    for path, body in ((f"/reports/{CLAIM}", REPORT), (f"/messages/{CLAIM}", {"text": "Mrs Wolkenstein?"})):
        assert closed.ask("POST", path, json=body).json()["code"] == "grant-invalid"
    hear(closed, REOPENED)
    assert closed.enter().json()["code"] == "grant-invalid"
    left = "\n".join(closed.book.connection.iterdump())
    assert REPORT["impression"] not in left
    assert "Wolkenstein" not in left


def test_what_was_critical_before_an_amendment_alarms_no_more(closed: GatewayUnderTest) -> None:
    closed.book.alarmed(ReadAlarm(request_id=REQUEST, reason=AlarmReason.CRITICAL))
    closed.take_note()
    hear(closed, REOPENED)
    closed.enter()
    closed.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    closed.reports.sign(signature(closed.reports.of_claim(CLAIM)[0]))
    assert stage(closed) is Stage.DELIVERED
    assert closed.book.alarms(closed.book.request(REQUEST)) == []


def test_hearing_of_a_signature_twice_opens_nothing_again(closed: GatewayUnderTest) -> None:
    kept = closed.reports.of_claim(CLAIM)[0]
    closed.reports.sign(signature(kept))
    assert stage(closed) is Stage.CLOSED


def test_the_zone_scores_are_those_of_the_amendment(closed: GatewayUnderTest) -> None:
    hear(closed, REOPENED)
    closed.enter()
    zones = {"right": {"upper": 4, "middle": 0, "lower": 0}, "left": {"upper": 0, "middle": 0, "lower": 1}}
    closed.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"zones": zones})
    closed.reports.sign(signature(closed.reports.of_claim(CLAIM)[0]))
    scores = closed.reports.scores(CLAIM)
    assert scores is not None
    assert scores.points == ((0, 1), (0, 0), (4, 0))


@pytest.mark.parametrize("change", [{"fence": 2}, {"request_id": "9" * 32}, {"claim_id": "9" * 32}])
def test_another_claim_is_not_opened(closed: GatewayUnderTest, change: dict[str, object]) -> None:
    hear(closed, REOPENED.model_copy(update=change))
    assert closed.enter().json()["code"] == "grant-invalid"


def test_a_claim_that_ended_without_a_signature_is_not_opened(gateway: GatewayUnderTest) -> None:
    reported(gateway)
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    hear(gateway, REOPENED)
    entry = gateway.book.claim(CLAIM)
    assert entry is not None
    assert not entry.live


def test_a_restart_delivers_an_amendment_once(closed: GatewayUnderTest) -> None:
    closed.reports.sign(signature(amended(closed)))
    closed.book.connection.execute("UPDATE reports SET delivered_s = NULL WHERE version = 2")
    assert stage(closed) is Stage.SIGNED
    closed.gate.parcels.clear()
    closed.reports.catch_up()
    closed.reports.catch_up()
    assert closed.gate.kinds() == ["read-delivered"]
    assert stage(closed) is Stage.DELIVERED
