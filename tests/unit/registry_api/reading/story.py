"""Short words for the steps of a read, so that a test reads like the story it tells."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlmodel import Session, select

from protocol.case import RsnaClass
from protocol.parcel import Notice, Parcel, parse_notice
from protocol.reading import (
    CodedResult,
    InfoAnswered,
    InfoAsked,
    ReadAcknowledged,
    ReadDelivered,
    ReadOpened,
    ReportNoted,
    ReportReceipt,
    ReportStatus,
)
from registry_api.database import Database
from registry_api.link.tables import NoticeRow
from registry_api.reading import claims, escalation, heartbeats, questions, reassignment, reviews, service
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import State
from registry_api.reading.privileges import accept_privilege
from registry_api.reading.tables import ReadEventRow, SlotRow

T = TypeVar("T")
HASH = "ab" * 32
CODED = CodedResult(rsna_class=RsnaClass.TYPICAL, corads=5, severity_score=9, agrees_with_measurement=True)

ACCEPT = {
    "read-post": service.accept_post,
    "read-opened": service.accept_opened,
    "info-asked": questions.accept_asked,
    "info-answered": questions.accept_answered,
    "report-receipt": service.accept_receipt,
    "read-delivered": service.accept_delivered,
    "read-acknowledged": service.accept_acknowledged,
    "report-noted": service.accept_noted,
    "read-withdrawn": service.accept_withdrawn,
    "read-reposted": service.accept_reposted,
    "reader-privilege": accept_privilege,
}


@dataclass
class Story:
    """A registry with a clock that the test moves."""

    database: Database
    now: datetime
    site: str = "northport"

    def wait(self, **span: float) -> None:
        self.now += timedelta(**span)

    def arrives(self, parcel: Parcel, *, site: str | None = None) -> None:
        with self.database.writing() as session:
            ACCEPT[parcel.kind](session, site or self.site, parcel, self.now)  # type: ignore[operator]

    def claims(self, reader: str, request: str) -> Claim:
        with self.database.writing() as session:
            return claims.claim(session, request, reader, now=self.now)

    def signs(self, claim: Claim, reader: str, *, sha256: str = HASH, fence: int | None = None) -> State:
        with self.database.writing() as session:
            return claims.sign(
                session, claim.claim_id, reader, fence=fence or claim.fence, report_sha256=sha256, now=self.now
            )

    def amends(self, claim: Claim, reader: str, *, fence: int | None = None) -> Claim:
        with self.database.writing() as session:
            return claims.amend(session, claim.claim_id, reader, fence=fence or claim.fence, now=self.now)

    def draws(self, percent: int = 100) -> int:
        with self.database.writing() as session:
            return reviews.draw(session, percent=percent, now=self.now)

    def scores(self, claim: Claim, reviewer: str, score: int, *, fence: int | None = None) -> None:
        with self.database.writing() as session:
            reviews.review(session, claim.claim_id, reviewer, fence=fence or claim.fence, score=score, now=self.now)

    def heartbeat(self, claim: Claim, reader: str) -> Claim:
        with self.database.writing() as session:
            return heartbeats.heartbeat(session, claim.claim_id, reader, now=self.now)

    def releases(self, claim: Claim, reader: str, *, fence: int | None = None) -> None:
        with self.database.writing() as session:
            claims.release(session, claim.claim_id, reader, fence=fence or claim.fence, now=self.now)

    def sweeps(self) -> int:
        with self.database.writing() as session:
            return claims.sweep(session, now=self.now)

    def escalates(self) -> int:
        with self.database.writing() as session:
            return escalation.escalate(session, now=self.now)

    def reassigns(self, request: str, number: int, reader: str | None) -> Claim | None:
        with self.database.writing() as session:
            return reassignment.reassign(session, request, number, reader_id=reader, now=self.now)

    def events(self, request: str) -> list[str]:
        query = select(ReadEventRow.event).where(ReadEventRow.request_id == request).order_by(ReadEventRow.id)  # type: ignore[arg-type]
        return self.look(lambda session: list(session.exec(query)))

    def state(self, request: str, number: int = 1) -> State:
        return State(self.slot(request, number).state)

    def slot(self, request: str, number: int = 1) -> SlotRow:
        return self.look(lambda session: session.get_one(SlotRow, (request, number)))

    def notices(self, site: str | None = None) -> list[Notice]:
        query = select(NoticeRow.body).where(NoticeRow.site == (site or self.site)).order_by(NoticeRow.seq)  # type: ignore[arg-type]
        return self.look(lambda session: [parse_notice(body) for body in session.exec(query)])

    def look(self, at: Callable[[Session], T]) -> T:
        with self.database.reading() as session:
            return at(session)


def opened(claim: Claim, **changes: object) -> ReadOpened:
    content = {"request_id": claim.request_id, "claim_id": claim.claim_id, "fence": claim.fence}
    return ReadOpened.model_validate(content | changes)


def asked(claim: Claim, question: int = 1) -> InfoAsked:
    return InfoAsked(request_id=claim.request_id, claim_id=claim.claim_id, fence=claim.fence, question=question)


def answered(claim: Claim, question: int = 1, *, fence: int | None = None) -> InfoAnswered:
    return InfoAnswered(
        request_id=claim.request_id, claim_id=claim.claim_id, fence=fence or claim.fence, question=question
    )


def receipt(claim: Claim, **changes: object) -> ReportReceipt:
    content: dict[str, object] = {
        "request_id": claim.request_id, "claim_id": claim.claim_id, "fence": claim.fence, "version": 1,
        "status": ReportStatus.PRELIMINARY, "report_sha256": HASH, "coded": CODED,
    }  # fmt: skip
    return ReportReceipt.model_validate(content | changes)


def delivered(claim: Claim, *, sha256: str = HASH) -> ReadDelivered:
    return ReadDelivered(request_id=claim.request_id, claim_id=claim.claim_id, report_sha256=sha256)


def noted(claim: Claim, *, sha256: str = HASH) -> ReportNoted:
    return ReportNoted(request_id=claim.request_id, claim_id=claim.claim_id, report_sha256=sha256)


def acknowledged(claim: Claim, *sha256s: str) -> ReadAcknowledged:
    return ReadAcknowledged(request_id=claim.request_id, reports=sha256s)
