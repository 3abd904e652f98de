"""Reads on the staff page: asked for, seen preliminary beside final, answered, taken note of, taken back."""

import json
import re
from datetime import UTC, datetime

import pytest

from client.gateway.counter import Counter
from client.gateway.privileges import Privileges
from client.rooms.border import open_gate
from client.rooms.pacs import open_report_queue
from client.staff.roles import Role
from protocol.codes import Code
from protocol.parcel import parse_parcel
from protocol.reading import (
    AlarmReason,
    AmendmentOpened,
    ClaimEnded,
    ClaimMade,
    ReadAlarm,
    ReadExpired,
    ReportNoted,
    ReportSigned,
    StudyKind,
)
from tests.fakes.gateway import CLAIM, READER, GatewayUnderTest, write_study
from tests.unit.client.commands.test_reading import RECORD
from tests.unit.client.console.conftest import Staff
from tests.unit.client.gateway.test_app import REPORT

EARLIER = "5" * 32


class Ward:
    """A radiologist at the console of a node with one measured study, and the gateway of the same node."""

    def __init__(self, staff: Staff) -> None:
        self.staff = staff
        policy = staff.home.settings.policy
        policy.write_text(policy.read_text() + '[reading]\nposts = true\njurisdiction = "XA-N"\n')
        self.study = staff.receive()
        staff.measure(self.study)
        staff.store._connection.execute("UPDATE finding SET record = ?", (json.dumps(RECORD),))
        write_study(staff.store.folder(self.study))
        self.gateway = GatewayUnderTest.__new__(GatewayUnderTest)
        self.gateway.stand_on(staff.home.settings.home)

    def post(self, **fields: object) -> str:
        answer = self.staff.send(
            f"/studies/{self.study}/read", **{"priority": "urgent", "reads": "1", "prior": ""} | fields
        )
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"].removeprefix("/reads/")

    def claim(self, request_id: str, claim_id: str = CLAIM, *, fence: int = 1) -> None:
        made = ClaimMade(request_id=request_id, claim_id=claim_id, reader_id=READER, fence=fence)
        self.gateway.book.claim_made(made)
        self.gateway.keys.approve(self.gateway.reader.jkt, name="Dr Elsewhere")

    def report(self, request_id: str, **changes: object) -> str:
        if not self.gateway.cookies:
            assert self.gateway.enter(self.gateway.grant(request_id=request_id)).status_code == 201
            self.gateway.ask("GET", f"/vol/{request_id}/ct.nii.gz")
        answer = self.gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["report_sha256"])

    def sign(self, request_id: str, sha256: str) -> None:
        assert self.gateway.reports.sign(
            ReportSigned(request_id=request_id, claim_id=CLAIM, fence=1, report_sha256=sha256)
        )


@pytest.fixture
def ward(stranger: Staff) -> Ward:
    stranger.hire("rita", Role.RADIOLOGIST)
    stranger.enter("rita")
    return Ward(stranger)


def shown(ward: Ward, request_id: str) -> str:
    return ward.staff.get(f"/reads/{request_id}").text


def test_a_read_is_asked_for_on_the_studys_page(ward: Ward) -> None:
    assert "Ask for a read" in ward.staff.get(f"/studies/{ward.study}").text
    request_id = ward.post(reads="2")
    (posted,) = ward.gateway.book.requests()
    assert (posted.request_id, posted.priority, posted.reads_required) == (request_id, "urgent", 2)
    assert request_id[:10] in ward.staff.get(f"/studies/{ward.study}").text
    assert "No report has come yet" in shown(ward, request_id)


def test_a_second_read_of_the_study_waits_for_the_first(ward: Ward) -> None:
    ward.post()
    answer = ward.staff.send(f"/studies/{ward.study}/read", priority="routine", reads="1", prior="")
    assert answer.status_code == 409
    assert "under way" in answer.text


@pytest.mark.parametrize("wrong", [{"priority": "now"}, {"reads": "3"}, {"reads": "0"}])
def test_a_form_that_was_tampered_with_posts_nothing(ward: Ward, wrong: dict[str, str]) -> None:
    fields = {"priority": "urgent", "reads": "1", "prior": ""} | wrong
    assert ward.staff.send(f"/studies/{ward.study}/read", **fields).status_code == 422
    assert ward.gateway.book.requests() == []


def test_an_earlier_study_is_offered_and_chosen(ward: Ward) -> None:
    counter = ward.staff.ward.counter
    assert isinstance(counter, Counter)
    object.__setattr__(counter, "earlier", lambda _study: [(EARLIER, 41)])
    assert "41 days earlier" in ward.staff.get(f"/studies/{ward.study}").text
    request_id = ward.post(prior=EARLIER)
    prior = ward.gateway.book.prior(request_id)
    assert prior is not None
    assert (prior.study_key, prior.days_before) == (EARLIER, 41)


def test_a_strangers_study_cannot_be_put_beside(ward: Ward) -> None:
    answer = ward.staff.send(f"/studies/{ward.study}/read", priority="urgent", reads="1", prior=EARLIER)
    assert answer.status_code == 404
    assert ward.gateway.book.requests() == []


def test_preliminary_stands_beside_final(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.report(request_id, impression="First thought.")
    assert "Preliminary report" in shown(ward, request_id)
    assert "Take note" not in shown(ward, request_id)
    sha256 = ward.report(request_id, impression="Second thought.", critical=True, bsti="classic", effusion="left")
    ward.sign(request_id, sha256)
    page = shown(ward, request_id)
    assert page.index("Second thought.") < page.index("First thought.")
    assert page.count("Final report") == page.count("Preliminary report") == 1
    assert "Critical result" in page
    assert "Dr Elsewhere" in page
    assert "classic" in page
    ward.staff.send(f"/reads/{request_id}/acknowledge", seen=sha256)
    assert ward.gateway.book.request(request_id).stage == "closed"
    assert "Take note" not in shown(ward, request_id)


def test_a_report_is_shown_as_words_not_as_a_page(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.report(request_id, impression="<script>alert(1)</script>", incidental="<b>bold</b>")
    page = shown(ward, request_id)
    assert "<script>" not in page
    assert "<b>" not in page


def test_nothing_is_acknowledged_before_it_is_final(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.report(request_id)
    assert ward.staff.send(f"/reads/{request_id}/acknowledge", seen="a" * 64).status_code == 409


def on_the_form(page: str, act: str) -> list[str]:
    """The hashes that a form of the page would send."""
    (form,) = re.findall(rf'<form method="post" action="/reads/[0-9a-f]+/{act}">.*?</form>', page, re.DOTALL)
    return re.findall(r'name="seen" value="([0-9a-f]{64})"', form)


def test_who_takes_note_has_seen_the_version_that_is_here(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.sign(request_id, ward.report(request_id, impression="No embolism."))
    page = shown(ward, request_id)
    ward.gateway.book.reopened(AmendmentOpened(request_id=request_id, claim_id=CLAIM, fence=1))
    ward.sign(request_id, ward.report(request_id, impression="Embolism."))
    stale = ward.staff.send(f"/reads/{request_id}/acknowledge", seen=on_the_form(page, "acknowledge"))
    assert (stale.status_code, "stale-report" in stale.text) == (409, True)
    assert ward.gateway.book.request(request_id).stage == "delivered"
    answer = ward.staff.send(
        f"/reads/{request_id}/acknowledge", seen=on_the_form(shown(ward, request_id), "acknowledge")
    )
    assert answer.status_code == 303
    assert ward.gateway.book.request(request_id).stage == "closed"


def test_the_critical_first_report_of_a_double_read_need_not_wait_for_the_second(ward: Ward) -> None:
    request_id = ward.post(reads="2")
    ward.claim(request_id)
    sha256 = ward.report(request_id, critical=True)
    ward.sign(request_id, sha256)
    ward.gateway.book.alarmed(ReadAlarm(request_id=request_id, reason=AlarmReason.CRITICAL))
    page = shown(ward, request_id)
    assert "Alarm: critical unacknowledged" in page
    assert ward.staff.send(f"/reads/{request_id}/note", seen="a" * 64).status_code == 409
    assert ward.staff.send(f"/reads/{request_id}/note", seen=on_the_form(page, "note")).status_code == 303
    page = shown(ward, request_id)
    assert "Alarm" not in page
    assert "you have taken note of it" in page
    assert "Take note of this report now" not in page
    said = open_gate(ward.staff.home.settings).outbox.waiting(limit=9)[-1].body
    assert parse_parcel(said) == ReportNoted(request_id=request_id, claim_id=CLAIM, report_sha256=sha256)
    assert ward.gateway.book.request(request_id).stage not in {"delivered", "closed"}, "the second is still to come"


def test_a_question_is_answered_once(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.gateway.book.claim_opened(CLAIM)
    claim = ward.gateway.book.claim(CLAIM)
    assert claim is not None
    ward.gateway.messages.ask(claim, "Was there contrast?")
    assert "Was there contrast?" in shown(ward, request_id)
    assert ward.staff.send(f"/reads/{request_id}/answer", text="None.", claim=CLAIM).status_code == 303
    page = shown(ward, request_id)
    assert "None." in page
    assert "<textarea" not in page
    assert ward.staff.send(f"/reads/{request_id}/answer", text="Again.", claim=CLAIM).status_code == 404


def test_who_lost_the_read_is_not_answered(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    ward.gateway.book.claim_opened(CLAIM)
    claim = ward.gateway.book.claim(CLAIM)
    assert claim is not None
    ward.gateway.messages.ask(claim, "Was there contrast?")
    assert "<textarea" in shown(ward, request_id)
    ward.gateway.book.claim_ended(ClaimEnded(request_id=request_id, claim_id=CLAIM))
    page = shown(ward, request_id)
    assert "Was there contrast?" in page
    assert "<textarea" not in page


def test_a_read_can_be_taken_back_until_it_is_signed(ward: Ward) -> None:
    request_id = ward.post()
    assert ward.staff.send(f"/reads/{request_id}/withdraw").status_code == 303
    assert ward.gateway.book.request(request_id).stage == "withdrawn"
    again = ward.post()
    ward.claim(again)
    ward.sign(again, ward.report(again))
    assert ward.staff.send(f"/reads/{again}/withdraw").status_code == 409


def test_what_nobody_claimed_in_time_is_shown_and_asked_for_anew(ward: Ward) -> None:
    request_id = ward.post()
    assert ward.staff.send(f"/reads/{request_id}/repost").status_code == 409
    ward.gateway.book.expired(ReadExpired(request_id=request_id, number=1))
    page = shown(ward, request_id)
    assert "Nobody claimed one read" in page
    assert "Alarm: expired" in page
    assert "expired" in ward.staff.get("/reads").text
    assert ward.staff.send(f"/reads/{request_id}/repost").status_code == 303
    assert ward.gateway.book.request(request_id).stage == "open"
    assert "Nobody claimed" not in shown(ward, request_id)
    assert "read.reposted" in [row.event for row in ward.staff.audit.newest()]


def test_what_a_person_did_is_in_the_audit_chain(ward: Ward) -> None:
    request_id = ward.post()
    ward.staff.send(f"/reads/{request_id}/withdraw")
    events = [row.event for row in ward.staff.audit.newest()]
    assert {"read.posted", "read.withdrawn"} <= set(events)


def test_a_read_of_nobody_is_not_there(ward: Ward) -> None:
    assert ward.staff.get(f"/reads/{'0' * 32}").status_code == 404


def test_who_may_not_post_sees_no_form(ward: Ward) -> None:
    viewer = ward.staff.another()
    viewer.hire("vera", Role.VIEWER)
    viewer.enter("vera")
    assert "Ask for a read" not in viewer.get(f"/studies/{ward.study}").text


def test_a_read_may_ask_for_training(ward: Ward) -> None:
    assert "any radiologist" in ward.staff.get(f"/studies/{ward.study}").text
    ward.post(subspecialty="thoracic")
    (posted,) = ward.gateway.book.connection.execute("SELECT post FROM read_requests").fetchall()
    assert json.loads(posted["post"])["subspecialty"] == "thoracic"
    answer = ward.staff.send(
        f"/studies/{ward.study}/read", priority="routine", reads="1", prior="", subspecialty="magic"
    )
    assert answer.status_code == 422


def privileged(ward: Ward) -> list[tuple[str, object, tuple[StudyKind, ...]]]:
    held = Privileges(ward.gateway.book, ward.gateway.gate).all()
    return [(one.name, one.until, one.studies) for one in held]


def test_a_privilege_is_granted_and_withdrawn_on_the_page(ward: Ward) -> None:
    fields = {"reader": f" {READER} ", "name": "Dr Elsewhere", "until": "2099-03-31", "studies": "ct-chest-adult"}
    assert ward.staff.send("/privileges", **fields).status_code == 303
    assert privileged(ward) == [("Dr Elsewhere", datetime(2099, 4, 1, tzinfo=UTC), (StudyKind.CT_CHEST_ADULT,))]
    page = ward.staff.get("/reads").text
    for words in ("Dr Elsewhere", READER, "31 Mar 2099", "<td>adults</td>"):
        assert words in page
    assert ward.staff.send("/privileges", reader=READER, name="Dr E", until="", studies="").status_code == 303
    assert privileged(ward) == [("Dr E", None, tuple(StudyKind))]
    assert ward.staff.send("/privileges/withdraw", reader=READER).status_code == 303
    assert privileged(ward) == []
    assert ward.staff.send("/privileges/withdraw", reader=READER).status_code == 404
    rows = [(row.event, row.subject.partition(":")[2]) for row in ward.staff.audit.newest()]
    assert ("privilege.granted", READER) in rows
    assert ("privilege.withdrawn", READER) in rows


@pytest.mark.parametrize(
    "wrong", [{"reader": "Dr Elsewhere"}, {"name": ""}, {"until": "soon"}, {"until": "2001-01-01"}, {"studies": "all"}]
)
def test_a_privilege_that_says_nothing_is_not_granted(ward: Ward, wrong: dict[str, str]) -> None:
    fields = {"reader": READER, "name": "R", "until": "", "studies": ""} | wrong
    assert ward.staff.send("/privileges", **fields).status_code in {400, 422}
    assert privileged(ward) == []


def test_a_report_that_a_system_refused_is_sent_again(ward: Ward) -> None:
    request_id = ward.post()
    ward.claim(request_id)
    sha256 = ward.report(request_id)
    ward.sign(request_id, sha256)
    queue = open_report_queue(ward.staff.home.settings)
    queue.put(CLAIM, sha256, study_key=ward.study, contents={"oru": b"MSH", "sr": b"DICM"})
    queue.put("8" * 32, sha256, study_key=ward.study, contents={"oru": b"MSH"})
    for one in queue.due("oru"):
        queue.park(one, Code.NOT_FOUND)
    (sent,) = queue.due("sr")
    queue.settle_sent(sent)
    page = shown(ward, request_id)
    assert "parked" in page
    assert "Send again now" in page
    assert ward.staff.send(f"/reads/{request_id}/send").status_code == 303
    assert [(one.claim_id, one.state) for one in queue.due("oru")] == [(CLAIM, "waiting")]
    assert queue.counts() == {"waiting": 1, "sent": 1, "parked": 1}
    queue.settle_sent(queue.due("oru")[0])
    assert "Send again now" not in shown(ward, request_id)
