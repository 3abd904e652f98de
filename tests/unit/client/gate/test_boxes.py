"""Outbox, inbox, contact and dispatcher: nothing lost, nothing doubled, nothing overtaken."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gate.backoff import Backoff
from client.gate.dispatch import Dispatcher, Receiver
from client.gate.inbox import Inbox
from client.gate.outbox import envelope_id
from client.store.database import transaction
from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from protocol.parcel import Notice
from protocol.reading import GrantRevoked, ReportSigned
from protocol.release import Manifest, ReleaseAnnounced, SignedManifest
from protocol.shape import Shape, canonical_json
from tests.fakes.parcels import a_case, a_claim, an_end
from tests.unit.client.gate.conftest import Border


def put(border: Border, number: int) -> str:
    body = canonical_json(a_case(number))
    with transaction(border.connection):
        border.gate.outbox.put("case-record", body)
    return envelope_id(body)


def test_the_outbox_keeps_its_order_and_forgets_nothing(border: Border) -> None:
    ids = [put(border, number) for number in range(1, 6)]
    assert [queued.envelope_id for queued in border.gate.outbox.waiting(limit=3)] == ids[:3]
    assert [queued.envelope_id for queued in border.gate.outbox.waiting(limit=3, but=set(ids[:3]))] == ids[3:]


def test_a_verdict_settles_once(border: Border) -> None:
    outbox = border.gate.outbox
    first, second = put(border, 1), put(border, 2)
    assert outbox.settle(first, accepted=True, code="")
    assert not outbox.settle(first, accepted=False, code="bad-shape"), "the first verdict counts"
    assert outbox.settle(second, accepted=False, code="illegal-transition")
    assert not outbox.settle("f" * 32, accepted=True, code="")
    assert outbox.counts() == {"waiting": 0, "accepted": 1, "parked": 1}
    assert [(parked.envelope_id, parked.code) for parked in outbox.parked()] == [(second, "illegal-transition")]


def test_the_envelope_is_named_by_its_content() -> None:
    assert envelope_id(b"{}") == envelope_id(b"{}") != envelope_id(b"{ }")
    assert len(envelope_id(b"")) == 32


def test_a_notice_is_stored_once(border: Border) -> None:
    assert border.inbox.store("1" * 32, "claim-made", b"{}")
    assert not border.inbox.store("1" * 32, "claim-made", b"{}")
    assert len(border.inbox.pending()) == 1


def test_the_last_contact_survives_a_loss(border: Border) -> None:
    assert border.contact.read().heard is None
    border.contact.heard()
    heard = border.now
    border.wait(seconds=60)
    border.contact.lost()
    assert (border.contact.read().heard, border.contact.read().connected) == (heard, False)
    border.contact.heard()
    assert border.contact.last_heard() == border.now
    assert border.contact.read().connected


def test_a_clock_that_is_set_back_hides_no_word_of_the_centre(border: Border) -> None:
    """Otherwise the gateway would hold a word from two hours ahead for a fresh one until then."""
    border.contact.heard()
    border.wait(hours=-2)
    border.contact.heard()
    assert border.contact.last_heard() == border.now


def test_what_was_put_off_does_not_wait_for_a_clock_that_is_set_back(border: Border) -> None:
    border.inbox.store("1" * 32, "claim-made", b"{}")
    border.inbox.postpone("1" * 32, timedelta(seconds=300), code=Code.DISK_FULL)
    border.wait(seconds=299)
    assert not border.inbox.pending()[0].due
    border.wait(hours=-2)
    assert border.inbox.pending()[0].due


def test_a_centre_that_shuts_the_node_out_takes_its_word_back(border: Border) -> None:
    border.contact.shut_out()  # before any word
    assert border.contact.last_heard() is None
    border.contact.heard()
    border.contact.shut_out()
    assert border.contact.last_heard() is None
    assert not border.contact.read().connected
    border.contact.lost()
    assert border.contact.last_heard() is None
    border.contact.heard()
    assert border.contact.last_heard() == border.now


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_grows_to_its_ceiling(failures: int, chance: float) -> None:
    backoff = Backoff(first=0.5, ceiling=30.0)
    step = min(30.0, 0.5 * 2 ** min(failures - 1, 100))
    assert step / 2 <= backoff.delay(failures, chance) <= step


# The dispatcher


class Ears:
    """Receivers that remember, and fail as told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.faults: dict[str, list[Exception]] = {}

    def receivers(self, *kinds: str) -> dict[str, Receiver]:
        def take(notice: Any) -> None:
            waiting = self.faults.get(notice.kind)
            if waiting:
                raise waiting.pop(0)
            self.heard.append(notice.kind)

        return dict.fromkeys(kinds, take)


KINDS = ("claim-made", "claim-ended", "release-announced")


def arrive(border: Border, *notices: Notice) -> None:
    for number, notice in enumerate(notices, start=1):
        assert isinstance(notice, Shape)
        border.inbox.store(f"{number:032x}", notice.kind, canonical_json(notice))


def a_release() -> ReleaseAnnounced:
    manifest = Manifest(
        name="ggo@1", lineage="ggo", version=1, parent="ggo@0", architecture="lite-2p5d", weights_sha256="a" * 64, weights_bytes=1,
        created="2026-03-01T00:00:00Z", run_id=None, rounds=1, sites=1, epsilon_max=None, scores=None,
    )  # fmt: skip
    return ReleaseAnnounced(signed=SignedManifest(manifest=manifest, signature="x" * 86))


def outcomes(border: Border) -> list[str | None]:
    return [row["outcome"] for row in border.connection.execute("SELECT outcome FROM inbox ORDER BY seq")]


def test_notices_reach_their_receivers_in_order(border: Border) -> None:
    ears = Ears()
    arrive(border, a_claim(), a_release(), an_end())
    assert Dispatcher(border.inbox, ears.receivers(*KINDS)).step() == 3
    assert ears.heard == ["claim-made", "release-announced", "claim-ended"]
    assert border.inbox.pending() == []


def test_nothing_overtakes_in_its_lane_and_a_slow_release_holds_up_nobody(border: Border) -> None:
    ears = Ears()
    ears.faults = {
        "claim-made": [UnavailableError(Code.DISK_FULL)], "release-announced": [UnavailableError(Code.PEER_UNREACHABLE)],
    }  # fmt: skip
    arrive(border, a_claim(), a_release(), an_end())
    dispatcher = Dispatcher(border.inbox, ears.receivers(*KINDS))
    assert dispatcher.step() == 0
    assert ears.heard == [], "the end of a claim waits for its beginning"
    border.wait(seconds=2)
    assert dispatcher.step() == 3
    assert ears.heard == ["claim-made", "release-announced", "claim-ended"]


REVOKED = GrantRevoked(jti="7" * 32)


@pytest.mark.parametrize("fault", [UnavailableError(Code.DISK_FULL), ValueError("DOE^JANE")])
def test_what_ends_a_readers_leave_waits_for_no_other_claim(border: Border, fault: Exception) -> None:
    """The report of one claim cannot be taken yet: the end of another claim and of a grant are heard at once."""
    ears = Ears()
    ears.faults = {"report-signed": [fault] * 12}
    signed = ReportSigned(request_id="1" * 32, claim_id="1" * 32, fence=1, report_sha256="a" * 64)
    arrive(border, signed, an_end(2), a_claim(3), REVOKED, an_end(3))
    hands = ears.receivers("report-signed", "grant-revoked", *KINDS)
    assert Dispatcher(border.inbox, hands).step() == 4
    assert ears.heard == ["claim-ended", "claim-made", "grant-revoked", "claim-ended"]
    assert [one.kind for one in border.inbox.pending()] == ["report-signed"]


def test_two_reads_of_one_request_wait_for_each_other_in_nothing(border: Border) -> None:
    ears = Ears()
    ears.faults = {"claim-made": [UnavailableError(Code.DISK_FULL)]}
    arrive(border, a_claim(1), an_end(2).model_copy(update={"request_id": f"{1:032x}"}))
    Dispatcher(border.inbox, ears.receivers(*KINDS)).step()
    assert ears.heard == ["claim-ended"]


@pytest.mark.parametrize("fault", [RefusedError(Code.SIGNATURE_INVALID), RefusedError(Code.POLICY_LINEAGE)])
def test_a_refusal_is_final(border: Border, fault: Exception) -> None:
    ears = Ears()
    ears.faults = {"release-announced": [fault]}
    arrive(border, a_release())
    Dispatcher(border.inbox, ears.receivers(*KINDS)).step()
    assert outcomes(border) == [fault.code.value]  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", [UnavailableError(Code.DISK_FULL), ValueError("DOE^JANE")])
def test_what_cannot_be_taken_is_tried_until_it_can_and_nothing_of_its_read_overtakes(
    border: Border, fault: Exception
) -> None:
    ears = Ears()
    ears.faults = {"claim-made": [fault] * 30}
    arrive(border, a_claim(), an_end())
    dispatcher = Dispatcher(border.inbox, ears.receivers(*KINDS))
    for _ in range(30):
        assert dispatcher.step() == 0
        border.wait(seconds=300)
    (stuck,) = border.inbox.stuck()
    assert (stuck.kind, stuck.attempts) == ("claim-made", 30)
    assert stuck.code == ("disk-full" if isinstance(fault, UnavailableError) else "node-fault")
    assert dispatcher.step() == 2
    assert ears.heard == ["claim-made", "claim-ended"]
    assert border.inbox.stuck() == []


def test_why_is_that_of_the_last_try_and_not_yet_known_of_one_before_codes_were_kept(border: Border) -> None:
    arrive(border, a_claim())
    border.connection.executescript("UPDATE inbox SET attempts = 3; ALTER TABLE inbox DROP COLUMN code;")
    inbox = Inbox(border.connection, border.clock)
    assert [(one.attempts, one.code) for one in inbox.stuck()] == [(3, None)]
    ears = Ears()
    ears.faults = {"claim-made": [UnavailableError(Code.DISK_FULL), KeyError("DOE^JANE")]}
    for code in ("disk-full", "node-fault"):
        Dispatcher(inbox, ears.receivers(*KINDS)).step()
        assert [one.code for one in inbox.stuck()] == [code]
        border.wait(seconds=300)


def test_a_wait_grows_to_five_minutes_and_stays(border: Border) -> None:
    ears = Ears()
    ears.faults = {"claim-made": [UnavailableError(Code.DISK_FULL)] * 30}
    arrive(border, a_claim())
    border.connection.execute("UPDATE inbox SET attempts = 20000")  # two months of them
    dispatcher = Dispatcher(border.inbox, ears.receivers(*KINDS))
    dispatcher.step()
    border.wait(seconds=299)
    dispatcher.step()
    assert border.inbox.stuck()[0].attempts == 20_001
    border.wait(seconds=1)
    dispatcher.step()
    assert border.inbox.stuck()[0].attempts == 20_002


def test_a_release_that_cannot_be_had_lets_the_next_one_pass_in_the_end(border: Border) -> None:
    ears = Ears()
    ears.faults = {"release-announced": [UnavailableError(Code.PEER_UNREACHABLE)] * 13}
    arrive(border, a_release(), a_release())
    dispatcher = Dispatcher(border.inbox, ears.receivers(*KINDS))
    for _ in range(12):
        assert dispatcher.step() == 0
        border.wait(seconds=300)
    assert [one.attempts for one in border.inbox.pending()] == [12, 0]
    assert dispatcher.step() == 1
    assert outcomes(border) == [None, "done"]


def test_what_is_no_notice_is_settled_as_such(border: Border) -> None:
    border.inbox.store("1" * 32, "unknown", b'{"kind": "take-this"}')
    border.inbox.store("2" * 32, "unknown", b"[" * 100_000)
    border.inbox.store("3" * 32, "unknown", b"[]")
    border.inbox.store("4" * 32, "claim-made", canonical_json(a_claim()))
    ears = Ears()
    assert Dispatcher(border.inbox, ears.receivers(*KINDS)).step() == 4
    assert outcomes(border) == ["bad-shape", "bad-shape", "bad-shape", "done"]


def test_a_node_that_died_before_the_answer_was_stored_offers_it_again(border: Border) -> None:
    ears = Ears()
    arrive(border, a_claim())
    dispatcher = Dispatcher(border.inbox, ears.receivers(*KINDS))
    dispatcher._offer(border.inbox.pending()[0])
    border.connection.execute("UPDATE inbox SET outcome = NULL")
    dispatcher.step()
    assert ears.heard == ["claim-made", "claim-made"]
