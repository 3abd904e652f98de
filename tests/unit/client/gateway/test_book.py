"""What the node knows of its reads: stages, repeated notices, keys, reports, and what a restart makes up for."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gate.policy import ReadingPolicy, Refusal
from client.gateway import viewer
from client.gateway.notices import receivers
from client.gateway.records import Result, Stage
from client.gateway.report import ReportCreate, Zones, sha256_of
from client.gateway.reports import Kept
from client.gateway.requests import post_read, repost_read, withdraw_read
from client.gateway.viewer import BUNDLE, find_bundle
from client.gateway.volume import Extent, extent
from client.store.database import connect
from client.store.files import make_folder
from client.store.records import Finding, SignedScores
from protocol.case import CaseRecord
from protocol.codes import Code
from protocol.errors import ConflictError, FederationError, InvalidInputError, RefusedError, UnavailableError
from protocol.reading import (
    AdjudicationOpened,
    AlarmReason,
    AmendmentOpened,
    ClaimEnded,
    ClaimMade,
    DiscrepancyOpened,
    GrantRevoked,
    Priority,
    ReadAcknowledged,
    ReadAlarm,
    ReadConcluded,
    ReadExpired,
    ReadPost,
    ReadReposted,
    ReadWithdrawn,
    ReportSigned,
    ReportStatus,
    SecondReadAdded,
)
from protocol.shape import canonical_json
from tests.fakes.gateway import CLAIM, READER, REQUEST, STUDY, GatewayUnderTest, a_post
from tests.unit.client.gateway.test_app import REPORT

OTHER = "9" * 32


def stage(gateway: GatewayUnderTest) -> Stage:
    return gateway.book.request(REQUEST).stage


def reported(gateway: GatewayUnderTest) -> Kept:
    gateway.enter()
    gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz")
    assert gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT).status_code == 201
    return gateway.reports.of_claim(CLAIM)[0]


def keeping(scored: list[SignedScores]) -> Callable[[SignedScores], bool]:
    """A store that keeps every reader's scores."""

    def keep(scores: SignedScores) -> bool:
        scored.append(scores)
        return True

    return keep


def signature(kept: Kept, **changes: object) -> ReportSigned:
    content = {"request_id": REQUEST, "claim_id": CLAIM, "fence": 1, "report_sha256": kept.report_sha256}
    return ReportSigned.model_validate(content | changes)


def test_the_stages_of_a_read(gateway: GatewayUnderTest) -> None:
    seen = [stage(gateway)]
    kept = reported(gateway)
    seen.append(stage(gateway))
    gateway.reports.sign(signature(kept))
    seen.append(stage(gateway))
    gateway.take_note()
    seen.append(stage(gateway))
    assert seen == [Stage.CLAIMED, Stage.PRELIMINARY, Stage.DELIVERED, Stage.CLOSED]
    assert gateway.gate.kinds() == ["read-opened", "report-receipt", "read-delivered", "read-acknowledged"]


def test_a_released_claim_leaves_the_read_open(gateway: GatewayUnderTest) -> None:
    reported(gateway)
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    assert stage(gateway) is Stage.OPEN
    gateway.claimed(OTHER, fence=2)
    assert stage(gateway) is Stage.CLAIMED


def test_notices_may_repeat_and_may_be_of_something_unknown(gateway: GatewayUnderTest) -> None:
    kept = reported(gateway)
    scored: list[SignedScores] = []
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping(scored))
    stranger = {"request_id": OTHER, "claim_id": OTHER}
    for notice in (
        ClaimMade(reader_id=READER, fence=1, **stranger),
        ClaimEnded(**stranger),
        GrantRevoked(jti=OTHER),
        GrantRevoked(jti=OTHER),
        ReportSigned(fence=1, report_sha256="0" * 64, **stranger),
        ClaimMade(request_id=REQUEST, claim_id=CLAIM, reader_id=READER, fence=1),
        signature(kept),
        signature(kept),
    ):
        hands[notice.kind](notice)
    assert gateway.book.claim(OTHER) is None
    assert gateway.gate.kinds().count("read-delivered") == 1
    assert scored[0] == scored[-1]
    assert len(scored) == 2, "once for each time it was said"
    assert stage(gateway) is Stage.DELIVERED


def test_a_step_that_fails_keeps_no_other_from_being_taken(gateway: GatewayUnderTest) -> None:
    taken: list[str] = []

    def refused(_: str) -> None:
        raise InvalidInputError(Code.NOT_FOUND)

    def broken(_: str) -> None:
        raise KeyError("of ours")

    kept = reported(gateway)
    steps = (refused, broken, taken.append)
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]), steps)
    for _ in range(2):
        with pytest.raises(KeyError):
            hands["report-signed"](signature(kept))
    assert taken == [CLAIM, CLAIM]
    assert stage(gateway) is Stage.DELIVERED


@pytest.mark.parametrize("change", [{"fence": 2}, {"report_sha256": "0" * 64}, {"request_id": OTHER}])
def test_a_signature_of_something_else_makes_nothing_final(
    gateway: GatewayUnderTest, change: dict[str, object]
) -> None:
    kept = reported(gateway)
    assert not gateway.reports.sign(signature(kept, **change))
    assert gateway.reports.of_claim(CLAIM)[0].status is ReportStatus.PRELIMINARY
    assert "read-delivered" not in gateway.gate.kinds()


def test_the_final_report_is_the_one_with_the_signed_hash(gateway: GatewayUnderTest) -> None:
    kept = reported(gateway)
    gateway.reports.sign(signature(kept))
    (final,) = gateway.reports.of_request(REQUEST)
    assert (final.status, final.delivered) == (ReportStatus.FINAL, True)
    assert sha256_of(final.report.encode()) == final.report_sha256 == kept.report_sha256
    assert final.report.content.impression == "Bilateral ground glass."


def test_the_zone_scores_are_those_of_the_signed_version(gateway: GatewayUnderTest) -> None:
    reported(gateway)
    assert gateway.reports.scores(CLAIM) is None, "nobody has signed"
    other = {"right": {"upper": 4, "middle": 0, "lower": 0}, "left": {"upper": 0, "middle": 0, "lower": 1}}
    gateway.wait(seconds=30)
    assert gateway.ask("POST", f"/reports/{CLAIM}", json=REPORT | {"zones": other}).status_code == 201
    gateway.wait(seconds=30)
    gateway.reports.sign(signature(gateway.reports.of_claim(CLAIM)[0]))
    now = gateway.book.now_s()
    assert gateway.reports.scores(CLAIM) == SignedScores(
        study_key=STUDY, reader_id=READER, points=((0, 1), (0, 0), (4, 0)), reported_at=now - 30 + 1.0, signed_at=now
    )


def test_a_signature_of_something_else_labels_nothing(gateway: GatewayUnderTest) -> None:
    kept = reported(gateway)
    scored: list[SignedScores] = []
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping(scored))
    hands["report-signed"](signature(kept, report_sha256="0" * 64))
    assert scored == []


def test_a_restart_sends_what_was_written_down_but_not_sent(gateway: GatewayUnderTest) -> None:
    """As if the node had died between the commit and the gate, at each of the three places."""
    kept = reported(gateway)
    gateway.reports.sign(signature(kept))
    gateway.book.connection.execute("UPDATE read_requests SET sent_s = NULL")
    gateway.book.connection.execute("UPDATE read_claims SET ended_s = NULL")
    gateway.book.connection.execute("UPDATE reports SET receipt_s = NULL, delivered_s = NULL")
    gateway.gate.parcels.clear()
    gateway.reports.catch_up()
    assert gateway.gate.kinds() == ["read-post", "report-receipt", "read-delivered"]
    gateway.reports.catch_up()
    assert len(gateway.gate.parcels) == 3


def test_all_of_it_survives_the_process(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    kept = reported(gateway)
    gateway.book.connection.close()
    again = connect(tmp_path / "node.db")
    assert again.execute("SELECT report_sha256 FROM reports").fetchone()[0] == kept.report_sha256
    assert again.execute("SELECT count(*) FROM gateway_sessions").fetchone()[0] == 1


def test_withdrawing_ends_the_session_and_is_said(gateway: GatewayUnderTest) -> None:
    gateway.enter()
    assert withdraw_read(gateway.book, gateway.gate, REQUEST).stage is Stage.WITHDRAWN
    assert gateway.gate.parcels == [ReadWithdrawn(request_id=REQUEST)]
    assert gateway.ask("GET", f"/view/{REQUEST}").json()["code"] == "grant-invalid"


def test_what_is_signed_is_acknowledged_not_withdrawn(gateway: GatewayUnderTest) -> None:
    kept = reported(gateway)
    with pytest.raises(ConflictError) as early:
        gateway.take_note()
    assert early.value.code is Code.ILLEGAL_TRANSITION
    gateway.reports.sign(signature(kept))
    with pytest.raises(ConflictError):
        withdraw_read(gateway.book, gateway.gate, REQUEST)
    gateway.take_note()
    assert gateway.take_note().stage is Stage.CLOSED
    assert gateway.gate.parcels[-2:] == [ReadAcknowledged(request_id=REQUEST, reports=(kept.report_sha256,))] * 2


def live(gateway: GatewayUnderTest, claim_id: str) -> bool:
    claim = gateway.book.claim(claim_id)
    assert claim is not None
    return claim.live


def critical(gateway: GatewayUnderTest) -> list[AlarmReason]:
    gateway.book.alarmed(alarm(AlarmReason.CRITICAL))
    return gateway.book.alarms(gateway.book.request(REQUEST))


def test_taking_a_double_read_back_leaves_the_alarm_of_what_is_signed(gateway: GatewayUnderTest) -> None:
    gateway.book.connection.execute("UPDATE read_requests SET reads_required = 2")
    kept = reported(gateway)
    gateway.claimed(OTHER)
    gateway.reports.sign(signature(kept))
    assert withdraw_read(gateway.book, gateway.gate, REQUEST).stage is Stage.DELIVERED
    assert critical(gateway) == [AlarmReason.CRITICAL]
    assert not live(gateway, OTHER)
    gateway.book.reopened(AmendmentOpened(request_id=REQUEST, claim_id=CLAIM, fence=1))
    assert live(gateway, CLAIM), "what is signed may be amended"
    assert gateway.take_note().stage is Stage.CLOSED
    assert gateway.gate.parcels[-1] == ReadAcknowledged(request_id=REQUEST, reports=(kept.report_sha256,))
    assert critical(gateway) == []


def test_a_signature_outlives_a_withdrawal_that_came_too_late(gateway: GatewayUnderTest) -> None:
    """The centre had the signature already and refuses to take the read back; its word of both is on the way."""
    kept = reported(gateway)
    assert withdraw_read(gateway.book, gateway.gate, REQUEST).stage is Stage.WITHDRAWN
    assert gateway.reports.sign(signature(kept))
    gateway.claimed(OTHER, fence=1)
    assert live(gateway, OTHER), "whoever peer reviews it is let in"
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=OTHER))
    assert critical(gateway) == [AlarmReason.CRITICAL]
    with pytest.raises(ConflictError):
        withdraw_read(gateway.book, gateway.gate, REQUEST)
    assert gateway.take_note().stage is Stage.CLOSED


def test_a_read_that_is_unknown_is_not_found(gateway: GatewayUnderTest) -> None:
    steps: tuple[Callable[[], object], ...] = (
        lambda: withdraw_read(gateway.book, gateway.gate, OTHER),
        lambda: repost_read(gateway.book, gateway.gate, OTHER),
        lambda: gateway.take_note(OTHER),
    )
    for step in steps:
        with pytest.raises(InvalidInputError) as absent:
            step()
        assert absent.value.code is Code.NOT_FOUND


class OneMeasuredStudy:
    """The store, with one measured study and one that is not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def study(self, study_key: str) -> None:
        if study_key not in {STUDY, OTHER}:
            raise InvalidInputError(Code.NOT_FOUND)

    def finding(self, study_key: str) -> Finding | None:
        record = CaseRecord.model_validate(
            {
                "case_id": "c" * 32,
                "epi_week": "2026-W08",
                "age_band": "40-49",
                "sex": "male",
                "ggo_percent": 17,
                "consolidation_percent": 2,
                "opacity_percent": 19,
                "severity_score": 5,
                "severity_band": "mild",
                "model_release": "ggo@0",
            }
        )
        if study_key == OTHER:
            return None
        return Finding(
            study_key=study_key, model_release="ggo@0", document="{}", record=record.model_dump_json(), version=1, verdict=None,
            measured_at=0.0,
        )  # fmt: skip

    def folder(self, study_key: str) -> Path:
        return self._folder / study_key


WISH = ReadingPolicy(posts=True, jurisdiction="XA-N", language="pt")


def posted(gateway: GatewayUnderTest, study_key: str = STUDY) -> ReadPost:
    store = OneMeasuredStudy(gateway.studies)
    request = post_read(
        gateway.book, gateway.gate, store, study_key=study_key, wish=WISH, priority=Priority.URGENT  # type: ignore[arg-type]
    )  # fmt: skip
    (post,) = (parcel for parcel in gateway.gate.parcels if parcel.kind == "read-post")
    assert post.request_id == request.request_id
    return post


def test_a_post_says_what_the_record_says_and_no_more(gateway: GatewayUnderTest) -> None:
    gateway.book.mark(REQUEST, what="withdrawn")
    post = posted(gateway)
    assert post.model_dump(mode="json", exclude={"request_id"}) == {
        "kind": "read-post", "priority": "urgent", "age_band": "40-49", "sex": "male", "slices": 24, "megabytes": 1,
        "ggo_percent": 17, "jurisdiction": "XA-N", "language": "pt", "reads_required": 1,
        "subspecialty": None, "uncertainty_percent": 0,
    }  # fmt: skip
    assert STUDY not in post.model_dump_json()
    assert gateway.book.unsent() == []


def test_one_read_of_a_study_at_a_time(gateway: GatewayUnderTest) -> None:
    with pytest.raises(ConflictError) as twice:
        posted(gateway)
    assert twice.value.code is Code.ALREADY_EXISTS


@pytest.mark.parametrize("study_key", [OTHER, "0" * 32])
def test_only_measured_studies_are_posted(gateway: GatewayUnderTest, study_key: str) -> None:
    with pytest.raises(InvalidInputError) as absent:
        posted(gateway, study_key)
    assert absent.value.code is Code.NOT_FOUND


def test_a_post_that_the_gate_refuses_leaves_nothing_behind(gateway: GatewayUnderTest) -> None:
    gateway.book.mark(REQUEST, what="withdrawn")
    gateway.gate.answer = lambda _: Refusal(code=Code.POLICY_SHARING)
    with pytest.raises(FederationError) as refused:
        posted(gateway)
    assert refused.value.code is Code.POLICY_SHARING
    assert [one.request_id for one in gateway.book.requests()] == [REQUEST]


def test_requests_come_newest_first(gateway: GatewayUnderTest) -> None:
    gateway.wait(minutes=1)
    gateway.book.post(a_post(OTHER), study_key="8" * 32)
    assert [one.request_id for one in gateway.book.requests()] == [OTHER, REQUEST]


@pytest.mark.parametrize("jkt", ["", "short", "a" * 44, "a" * 42 + "=", "a" * 42 + "\n"])
def test_only_a_thumbprint_can_be_approved(gateway: GatewayUnderTest, jkt: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        gateway.keys.approve(jkt, name="Dr")
    assert refused.value.code is Code.BAD_REQUEST


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_key_has_a_name(gateway: GatewayUnderTest, name: str) -> None:
    with pytest.raises(InvalidInputError):
        gateway.keys.approve("a" * 43, name=name)


def test_approving_again_renames_and_renews(gateway: GatewayUnderTest) -> None:
    gateway.keys.approve("a" * 43, name="First")
    gateway.keys.revoke("a" * 43)
    assert gateway.keys.find("a" * 43) is None
    with pytest.raises(InvalidInputError):
        gateway.keys.revoke("a" * 43)
    gateway.keys.approve("a" * 43, name="Second")
    assert {key.name for key in gateway.keys.all()} == {"Dr Example", "Second"}


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_the_total_is_the_sum_of_the_zones_and_never_typed(points: list[int]) -> None:
    names = ("upper", "middle", "lower")
    zones = {
        "right": dict(zip(names, points[:3], strict=True)),
        "left": dict(zip(names, points[3:], strict=True)),
    }
    report = ReportCreate.model_validate(REPORT | {"zones": zones})
    assert report.severity_score == report.coded.severity_score == sum(points)
    assert Zones.model_validate(zones).right.total == sum(points[:3])


def test_a_report_has_one_byte_string(gateway: GatewayUnderTest) -> None:
    report = reported(gateway).report
    assert report.encode() == canonical_json(report.model_dump(mode="json"))
    assert type(report).model_validate_json(report.encode()) == report


def test_the_extent_of_a_volume(gateway: GatewayUnderTest) -> None:
    assert extent(gateway.studies / STUDY / "ct.nii.gz") == Extent(columns=64, rows=64, slices=24)


def test_the_viewer_is_looked_for_in_the_home_first_and_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "BUNDLE", Path("nowhere") / BUNDLE.name)
    with pytest.raises(UnavailableError) as absent:
        find_bundle(tmp_path)
    assert "npm ci" in str(absent.value)
    own = tmp_path / "viewer" / BUNDLE.name
    make_folder(own.parent)
    own.write_text("something else", encoding="utf-8")
    with pytest.raises(RefusedError) as other:
        find_bundle(tmp_path)
    assert other.value.code is Code.SIGNATURE_INVALID


def test_a_missing_viewer_is_said_and_keeps_no_program_from_reading(
    gateway: GatewayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "BUNDLE", Path("nowhere") / BUNDLE.name)
    (tmp_path / "viewer" / BUNDLE.name).unlink()
    gateway.enter()
    answer = gateway.ask("GET", f"/view/{REQUEST}")
    assert (answer.status_code, answer.json()["code"]) == (503, "node-fault")
    assert "npm ci" in answer.json()["detail"]
    assert gateway.ask("GET", f"/vol/{REQUEST}/ct.nii.gz").status_code == 200


def test_a_second_read_that_was_agreed_is_waited_for(gateway: GatewayUnderTest) -> None:
    """The hospital asked for one read and has it; the centre said that there are two."""
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))
    for _ in range(2):
        hands["second-read-added"](SecondReadAdded(request_id=REQUEST))
    assert gateway.book.request(REQUEST).reads_required == 2
    gateway.book.connection.execute("INSERT INTO reports VALUES (?, 1, x'00', ?, 0, 0, 1, 1)", (CLAIM, CLAIM * 2))
    gateway.book.connection.execute("UPDATE read_claims SET ended_s = 1")
    assert stage(gateway) is Stage.OPEN
    hands["adjudication-opened"](AdjudicationOpened(request_id=REQUEST))
    hands["second-read-added"](SecondReadAdded(request_id=REQUEST))
    assert gateway.book.request(REQUEST).reads_required == 3


def test_a_double_read_that_disagrees_waits_for_the_third_report(gateway: GatewayUnderTest) -> None:
    """Two of two reports are there; the centre says that they disagree; the hospital cannot take note of them yet."""
    gateway.book.connection.execute("UPDATE read_requests SET reads_required = 2")
    gateway.claimed(OTHER, fence=1)
    for claim_id in (CLAIM, OTHER):
        gateway.book.connection.execute(
            "INSERT INTO reports VALUES (?, 1, x'00', ?, 0, 0, 1, 1)", (claim_id, claim_id * 2)
        )
    gateway.book.connection.execute("UPDATE read_claims SET ended_s = 1")
    assert stage(gateway) is Stage.DELIVERED
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))
    for _ in range(2):
        hands["adjudication-opened"](AdjudicationOpened(request_id=REQUEST))
    assert stage(gateway) is Stage.OPEN
    with pytest.raises(ConflictError):
        gateway.take_note()
    assert gateway.book.request(REQUEST).reads_required == 3


def test_the_result_of_a_double_read_is_what_the_centre_said_last(gateway: GatewayUnderTest) -> None:
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))
    assert gateway.book.result(REQUEST) is None
    hands["read-concluded"](ReadConcluded(request_id=REQUEST, claim_id=CLAIM, agreed=True))
    assert gateway.book.result(REQUEST) == Result(CLAIM, agreed=True)
    hands["read-concluded"](ReadConcluded(request_id=REQUEST, claim_id=OTHER, agreed=False))
    assert gateway.book.result(REQUEST) == Result(OTHER, agreed=False)
    hands["read-concluded"](ReadConcluded(request_id="0" * 32, claim_id=OTHER, agreed=True))
    assert gateway.book.result("0" * 32) is None


def test_a_single_read_is_never_made_a_triple_one(gateway: GatewayUnderTest) -> None:
    gateway.book.adjudication_opened(AdjudicationOpened(request_id=REQUEST))
    assert gateway.book.request(REQUEST).reads_required == 1


def alarm(reason: AlarmReason, request_id: str = REQUEST) -> ReadAlarm:
    return ReadAlarm(request_id=request_id, reason=reason)


def test_alarms_are_shown_until_they_are_over(gateway: GatewayUnderTest) -> None:
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))

    def shown() -> list[AlarmReason]:
        return gateway.book.alarms(gateway.book.request(REQUEST))

    for notice in (alarm(AlarmReason.LATE), alarm(AlarmReason.LATE), alarm(AlarmReason.OVERDUE, OTHER)):
        hands["read-alarm"](notice)
    assert shown() == [AlarmReason.LATE]
    kept = reported(gateway)
    assert shown() == [AlarmReason.LATE], "a report that nobody signed is still late"
    gateway.reports.sign(signature(kept))
    hands["read-alarm"](alarm(AlarmReason.CRITICAL))
    assert shown() == [AlarmReason.CRITICAL]
    gateway.take_note()
    assert shown() == []


def expired(gateway: GatewayUnderTest, number: int = 2, request_id: str = REQUEST) -> None:
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))
    hands["read-expired"](ReadExpired(request_id=request_id, number=number))


def test_of_a_double_read_of_which_one_half_expired_the_other_is_acknowledged(gateway: GatewayUnderTest) -> None:
    gateway.book.connection.execute("UPDATE read_requests SET reads_required = 2")
    kept = reported(gateway)
    for _ in range(2):
        expired(gateway)
    expired(gateway, request_id=OTHER)
    assert stage(gateway) is Stage.PRELIMINARY
    gateway.reports.sign(signature(kept))
    request = gateway.book.request(REQUEST)
    assert (request.stage, request.expired) == (Stage.DELIVERED, 1)
    assert gateway.book.alarms(request) == [AlarmReason.EXPIRED]
    closed = gateway.take_note()
    assert closed.stage is Stage.CLOSED
    assert gateway.book.alarms(closed) == []
    with pytest.raises(ConflictError):
        repost_read(gateway.book, gateway.gate, REQUEST)
    gateway.book.concluded(ReadConcluded(request_id=REQUEST, claim_id=CLAIM, agreed=False))
    result = gateway.book.result(REQUEST)
    assert result is not None
    assert "only report" in result.how
    assert gateway.reports.result(CLAIM) is not None


def test_the_missing_half_of_a_double_read_is_asked_for_anew(gateway: GatewayUnderTest) -> None:
    gateway.book.connection.execute("UPDATE read_requests SET reads_required = 2")
    gateway.reports.sign(signature(reported(gateway)))
    expired(gateway)
    assert repost_read(gateway.book, gateway.gate, REQUEST).stage is Stage.OPEN
    assert gateway.gate.parcels[-1] == ReadReposted(request_id=REQUEST, number=2)
    assert gateway.book.alarms(gateway.book.request(REQUEST)) == []
    with pytest.raises(ConflictError) as twice:
        repost_read(gateway.book, gateway.gate, REQUEST)
    assert twice.value.code is Code.ILLEGAL_TRANSITION
    with pytest.raises(ConflictError):
        gateway.take_note()
    expired(gateway, 3)
    assert stage(gateway) is Stage.DELIVERED


def test_a_study_that_nobody_read_in_time_may_be_posted_again(gateway: GatewayUnderTest) -> None:
    gateway.book.claim_ended(ClaimEnded(request_id=REQUEST, claim_id=CLAIM))
    expired(gateway, 1)
    assert stage(gateway) is Stage.EXPIRED
    assert gateway.book.alarms(gateway.book.request(REQUEST)) == [AlarmReason.EXPIRED]
    assert not gateway.book.is_under_way(STUDY)
    posted(gateway)
    with pytest.raises(ConflictError) as twice:
        repost_read(gateway.book, gateway.gate, REQUEST)
    assert twice.value.code is Code.ALREADY_EXISTS
    assert withdraw_read(gateway.book, gateway.gate, REQUEST).stage is Stage.WITHDRAWN
    assert gateway.book.alarms(gateway.book.request(REQUEST)) == []


def test_a_discrepancy_alarms_until_it_is_acknowledged(gateway: GatewayUnderTest) -> None:
    gateway.reports.sign(signature(reported(gateway)))
    gateway.take_note()
    hands = receivers(gateway.book, gateway.sessions, gateway.reports, keeping([]))
    told = DiscrepancyOpened(request_id=REQUEST, claim_id=CLAIM, score=3)
    for _ in range(2):
        hands["discrepancy-opened"](told)
    assert gateway.book.alarms(gateway.book.request(REQUEST)) == [AlarmReason.DISCREPANCY]
    assert gateway.book.discrepancies(REQUEST) == {CLAIM: 3}
    gateway.take_note()
    hands["discrepancy-opened"](told)
    assert gateway.book.alarms(gateway.book.request(REQUEST)) == [], "the same word a second time alarms nobody"
    hands["discrepancy-opened"](told.model_copy(update={"claim_id": OTHER}))
    assert gateway.book.discrepancies(REQUEST) == {CLAIM: 3}
