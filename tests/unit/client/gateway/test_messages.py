"""What a reader and the hospital say to each other stays at the node; the centre learns that they did."""

from collections.abc import Callable
from pathlib import Path

import pytest

from client.gate.policy import Refusal
from client.gateway.erase import forget_reports
from client.gateway.messages import Messages
from client.store.database import connect
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError
from protocol.reading import AmendmentOpened, ClaimEnded, InfoAnswered, InfoAsked, ReadWithdrawn
from tests.fakes.gateway import CLAIM, REQUEST, STUDY, GatewayUnderTest
from tests.unit.client.gateway.test_app import REPORT
from tests.unit.client.gateway.test_book import reported, signature

OTHER = "9" * 32
WORDS = "Is there an earlier scan of Mrs Wolkenstein?"


@pytest.fixture
def looking(gateway: GatewayUnderTest) -> GatewayUnderTest:
    """A reader with the study open."""
    gateway.enter()
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200
    gateway.gate.parcels.clear()
    return gateway


def asks(gateway: GatewayUnderTest, text: str = WORDS) -> int:
    return gateway.ask("POST", f"/messages/{CLAIM}", json={"text": text}).status_code


def test_a_question_and_its_answer(looking: GatewayUnderTest) -> None:
    assert asks(looking) == 201
    looking.messages.answer(REQUEST, "  None here. ")
    said = looking.ask("GET", f"/messages/{CLAIM}").json()
    assert [(one["question"], one["side"], one["text"]) for one in said] == [
        (1, "reader", WORDS), (1, "hospital", "None here."),
    ]  # fmt: skip
    ids = {"request_id": REQUEST, "claim_id": CLAIM, "fence": 1, "question": 1}
    assert looking.gate.parcels == [InfoAsked.model_validate(ids), InfoAnswered.model_validate(ids)]


def test_the_audit_chain_says_that_it_happened_and_not_what_was_said(looking: GatewayUnderTest) -> None:
    asks(looking)
    looking.ask("GET", f"/messages/{CLAIM}")
    assert looking.audit[-2:] == [
        ("gateway.message", CLAIM, "answered-201"),
        ("gateway.message", CLAIM, "answered-200"),
    ]


def test_one_question_at_a_time(looking: GatewayUnderTest) -> None:
    assert (asks(looking), asks(looking)) == (201, 409)
    looking.messages.answer(REQUEST, "Yes.")
    assert asks(looking, "Where?") == 201
    assert [parcel.question for parcel in looking.gate.parcels if isinstance(parcel, InfoAsked)] == [1, 2]


def test_who_has_not_looked_does_not_ask(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    answer = gateway.ask("POST", f"/messages/{CLAIM}", json={"text": WORDS})
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal-transition")
    assert gateway.gate.parcels == []


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001])
def test_a_message_has_words_and_not_too_many(looking: GatewayUnderTest, text: str) -> None:
    answer = looking.ask("POST", f"/messages/{CLAIM}", json={"text": text})
    assert answer.status_code == 422
    assert "x" * 10 not in answer.text
    asks(looking)
    with pytest.raises(InvalidInputError) as refused:
        looking.messages.answer(REQUEST, text)
    assert refused.value.code is Code.BAD_REQUEST


def test_another_claims_messages_look_absent(looking: GatewayUnderTest) -> None:
    for method, body in (("GET", None), ("POST", {"text": WORDS})):
        assert looking.ask(method, f"/messages/{OTHER}", json=body).status_code == 404


def test_a_foreign_page_asks_nothing(looking: GatewayUnderTest) -> None:
    headers = {"Origin": "https://elsewhere.example"}
    answer = looking.ask("POST", f"/messages/{CLAIM}", json={"text": WORDS}, headers=headers)
    assert answer.json()["code"] == "forbidden"
    assert looking.messages.of_claim(CLAIM) == []


def test_there_is_nothing_to_answer_before_a_question(looking: GatewayUnderTest) -> None:
    for request_id in (REQUEST, OTHER):
        with pytest.raises(InvalidInputError) as absent:
            looking.messages.answer(request_id, "Yes.")
        assert absent.value.code is Code.NOT_FOUND


def test_of_two_readers_who_wait_the_staff_say_whom_they_answer(looking: GatewayUnderTest) -> None:
    asks(looking)
    looking.claimed(OTHER, fence=1)
    looking.book.claim_opened(OTHER)
    second = looking.book.claim(OTHER)
    assert second is not None
    looking.messages.ask(second, "What was asked?")
    with pytest.raises(InvalidInputError) as unclear:
        looking.messages.answer(REQUEST, "Yes.")
    assert CLAIM in str(unclear.value)
    looking.messages.answer(REQUEST, "For the second.", claim_id=OTHER)
    assert [one["side"] for one in looking.ask("GET", f"/messages/{CLAIM}").json()] == ["reader"]
    looking.messages.answer(REQUEST, "For the first.")
    assert len(looking.messages.of_request(REQUEST)) == 4


def test_who_lost_the_read_since_they_asked_is_not_one_of_those_who_wait(looking: GatewayUnderTest) -> None:
    asks(looking)
    looking.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    looking.claimed(OTHER, fence=2)
    looking.book.claim_opened(OTHER)
    holder = looking.book.claim(OTHER)
    assert holder is not None
    looking.messages.ask(holder, "Was there contrast?")
    assert looking.messages.waiting(REQUEST) == [OTHER]
    assert looking.messages.answer(REQUEST, "None.").claim_id == OTHER
    assert looking.messages.waiting(REQUEST) == []


def test_no_report_is_handed_in_while_the_hospital_is_asked(looking: GatewayUnderTest) -> None:
    asks(looking)
    early = looking.ask("POST", f"/reports/{CLAIM}", json=REPORT)
    assert (early.status_code, early.json()["code"]) == (409, "illegal-transition")
    assert looking.reports.of_claim(CLAIM) == []
    assert looking.gate.kinds() == ["info-asked"], "the centre would refuse a receipt now, and nobody could sign"
    looking.messages.answer(REQUEST, "Yes.")
    assert looking.ask("POST", f"/reports/{CLAIM}", json=REPORT).status_code == 201
    assert looking.gate.kinds() == ["info-asked", "info-answered", "report-receipt"]


def test_an_amendment_does_not_wait_for_the_answer(looking: GatewayUnderTest) -> None:
    looking.reports.sign(signature(reported(looking)))
    looking.book.reopened(AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1))
    looking.enter()
    asks(looking)
    assert looking.ask("POST", f"/reports/{CLAIM}", json=REPORT).status_code == 201


@pytest.mark.parametrize("end", [ClaimEnded, ReadWithdrawn])
def test_who_lost_the_claim_gets_no_answer(
    looking: GatewayUnderTest, end: Callable[..., ClaimEnded | ReadWithdrawn]
) -> None:
    asks(looking)
    if end is ClaimEnded:
        looking.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    else:
        looking.book.mark(REQUEST, what="withdrawn")
    with pytest.raises(ConflictError) as ended:
        looking.messages.answer(REQUEST, "Yes.")
    assert ended.value.code is Code.STALE_FENCE


def test_a_restart_says_what_was_not_said(looking: GatewayUnderTest) -> None:
    asks(looking)
    looking.messages.answer(REQUEST, "Yes.")
    looking.book.connection.execute("UPDATE read_messages SET said_s = NULL")
    looking.gate.parcels.clear()
    looking.messages.catch_up()
    looking.messages.catch_up()
    assert looking.gate.kinds() == ["info-asked", "info-answered"]


def test_a_gate_that_lets_nothing_out_is_heard_of(looking: GatewayUnderTest) -> None:
    looking.gate.answer = lambda _: Refusal(code=Code.POLICY_SHARING)
    claim = looking.book.claim(CLAIM)
    assert claim is not None
    with pytest.raises(FederationError) as refused:
        looking.messages.ask(claim, WORDS)
    assert refused.value.code is Code.POLICY_SHARING


def test_deleting_a_study_deletes_what_was_said_about_it(looking: GatewayUnderTest) -> None:
    asks(looking)
    forget_reports(looking.book, STUDY)
    assert looking.messages.of_request(REQUEST) == []
    assert "Wolkenstein" not in "\n".join(looking.book.connection.iterdump())


def test_messages_survive_the_process(looking: GatewayUnderTest) -> None:
    asks(looking)
    path = looking.book.connection.execute("PRAGMA database_list").fetchone()["file"]
    looking.book.connection = connect(Path(path))
    assert [one.text for one in Messages(looking.book, looking.gate).of_claim(CLAIM)] == [WORDS]


def test_the_page_has_a_place_to_ask(looking: GatewayUnderTest) -> None:
    text = looking.ask("GET", f"/view/{REQUEST}").text
    assert 'id="ask"' in text
    assert "/static/messages.js" in text
    assert looking.ask("GET", "/static/messages.js").status_code == 200


def test_who_may_only_look_asks_nothing(gateway: GatewayUnderTest) -> None:
    assert gateway.enter(gateway.grant(scope="view")).status_code == 201
    gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    answer = gateway.ask("POST", f"/messages/{CLAIM}", json={"text": WORDS})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert gateway.messages.of_claim(CLAIM) == []
