"""What the hospital's systems have not taken, on the network page: seen, and sent again by whoever looks after the node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.pacs.pulled import MOST_ATTEMPTS, Pulled
from client.rooms.pacs import open_outgoing, open_pulled, open_report_queue
from client.sections import PacsSettings, PullRule, PullSettings, ReportsSettings
from client.staff.roles import Role
from protocol.codes import Code
from tests.fakes.node_home import Home
from tests.unit.client.console.conftest import Staff

STUDY, CLAIM, OTHER = "4" * 32, "5" * 32, "6" * 32
SHA256 = "a" * 64
BUTTON = "Send again now"


@pytest.fixture
def ada(tmp_path: Path) -> Iterator[Staff]:
    """An administrator is logged in; findings and reports are sent."""
    home = Home(tmp_path / "home")
    pacs = PacsSettings(send="c-store", host="pacs.example", ae_title="PACS")
    home.settings = home.settings.model_copy(update={"pacs": pacs, "reports": ReportsSettings(host="ris.example")})
    with Staff(home) as staff:
        staff.hire("ada", Role.ADMINISTRATOR)
        assert staff.enter("ada").status_code == 303
        yield staff


def stick(staff: Staff) -> None:
    """A refused segmentation, a refused HL7 message, an SR that waits for its next try, and a report that was taken."""
    findings, reports = open_outgoing(staff.home.settings), open_report_queue(staff.home.settings)
    findings.put(STUDY, 1, SHA256, ["seg"])
    (segmentation,) = findings.due()
    findings.park(segmentation, Code.PEER_REFUSED)
    reports.put(OTHER, SHA256, study_key=STUDY, contents={"oru": b"MSH"})
    (taken,) = reports.due("oru")
    reports.settle_sent(taken)
    reports.put(CLAIM, SHA256, study_key=STUDY, contents={"oru": b"MSH", "sr": b"DICM"})
    (message,) = reports.due("oru")
    reports.park(message, Code.PEER_REFUSED)
    (report,) = reports.due("sr")
    reports.postpone(report, Code.PEER_UNREACHABLE, 0.5)


def test_where_nothing_is_stuck_nothing_is_sent_again(ada: Staff) -> None:
    shown = ada.get("/network").text
    assert "<h2>PACS</h2>" in shown
    assert BUTTON not in shown


def test_what_is_stuck_is_sent_again_and_the_audit_says_by_whom(ada: Staff) -> None:
    stick(ada)
    shown = ada.get("/network").text
    assert shown.count('<td class="number">1 try</td>') == 3
    assert BUTTON in shown
    answer = ada.send("/network/send")
    assert answer.status_code == 303
    findings, reports = open_outgoing(ada.home.settings), open_report_queue(ada.home.settings)
    assert [one.object for one in findings.due()] == ["seg"]
    assert [one.claim_id for channel in ("oru", "sr") for one in reports.due(channel)] == [CLAIM, CLAIM]
    assert reports.counts() == {"waiting": 2, "sent": 1, "parked": 0}
    assert "3 objects are tried again now" in ada.get(answer.headers["location"]).text
    (row,) = [row for row in ada.audit.rows() if row.event == "network.sent-again"]
    assert row.subject == next(one.account_id for one in ada.accounts.all() if one.name == "ada")
    assert row.verdict == "clear"


def test_a_form_of_another_page_sends_nothing(ada: Staff) -> None:
    stick(ada)
    assert ada.post("/network/send").status_code == 403
    assert open_outgoing(ada.home.settings).counts()["parked"] == 1
    assert [row for row in ada.audit.rows() if row.event == "network.sent-again"] == []


def test_a_radiologist_sends_again_what_belongs_to_a_read_and_no_more(ada: Staff) -> None:
    stick(ada)
    ada.hire("rosa", Role.RADIOLOGIST)
    rosa = ada.another()
    assert rosa.enter("rosa").status_code == 303
    assert rosa.send("/network/send").status_code == 403
    assert open_outgoing(ada.home.settings).counts()["parked"] == 1


PULLS = "Fetch again"


def stick_pulls(staff: Staff) -> Pulled:
    """A study that twelve tries did not bring, one that waits after its first, and one that came."""
    pulled = open_pulled(staff.home.settings)
    for _ in range(MOST_ATTEMPTS):
        pulled.postpone(STUDY, 3, "rules", code=Code.PEER_GARBLED.value, chance=0.5)
    pulled.postpone(OTHER, 3, "rules", code=Code.PEER_UNREACHABLE.value, chance=0.5)
    pulled.complete(CLAIM, 3, "rules")
    return pulled


@pytest.fixture
def bob(tmp_path: Path) -> Iterator[Staff]:
    """An administrator is logged in; studies are pulled."""
    home = Home(tmp_path / "home")
    update = {"pacs": PacsSettings(dicomweb="https://pacs.example"), "pull": PullSettings(rules=(PullRule(),))}
    home.settings = home.settings.model_copy(update=update)
    with Staff(home) as staff:
        staff.hire("bob", Role.ADMINISTRATOR)
        assert staff.enter("bob").status_code == 303
        yield staff


def test_parked_pulls_are_tried_again_and_the_audit_says_by_whom(bob: Staff) -> None:
    assert PULLS not in bob.get("/network").text
    pulled = stick_pulls(bob)
    assert pulled.is_settled(STUDY, 3, "rules"), "parked: nothing tries it by itself"
    shown = bob.get("/network").text
    assert f'<td class="number">{MOST_ATTEMPTS} tries</td><td><code>peer-garbled</code></td>' in shown
    assert '<td class="number">1 try</td><td><code>peer-unreachable</code></td>' in shown
    assert BUTTON not in shown, "nothing waits to be sent"
    answer = bob.send("/network/pull")
    assert answer.status_code == 303
    assert not pulled.is_settled(STUDY, 3, "rules")
    assert not pulled.is_settled(OTHER, 3, "rules")
    assert pulled.is_settled(CLAIM, 3, "rules"), "what came is not fetched anew"
    shown = bob.get(answer.headers["location"]).text
    assert "2 studies are tried with the next look into the PACS" in shown
    assert PULLS not in shown
    (row,) = [row for row in bob.audit.rows() if row.event == "network.pulled-again"]
    assert row.subject == next(one.account_id for one in bob.accounts.all() if one.name == "bob")
    assert row.verdict == "clear"


def test_what_fails_again_has_twelve_tries_again(bob: Staff) -> None:
    pulled = stick_pulls(bob)
    bob.send("/network/pull")
    for _ in range(MOST_ATTEMPTS - 1):
        pulled.postpone(STUDY, 3, "rules", code=Code.PEER_GARBLED.value, chance=0.5)
        assert not any(one.parked for one in pulled.stuck())
    pulled.postpone(STUDY, 3, "rules", code=Code.PEER_GARBLED.value, chance=0.5)
    assert [one.study_key for one in pulled.stuck() if one.parked] == [STUDY]


def test_a_form_of_another_page_fetches_nothing(bob: Staff) -> None:
    stick_pulls(bob)
    assert bob.post("/network/pull").status_code == 403
    assert open_pulled(bob.home.settings).state().parked == 1
    assert [row for row in bob.audit.rows() if row.event == "network.pulled-again"] == []
