"""What a reader writes at the gateway: reports and questions. Each only under a grant to report, and only of the own claim."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from client.gateway.asking import absent, desk_of, refuse_other_claim, session_of, session_to_write
from client.gateway.messages import Message, MessageCreate, Side
from client.gateway.report import Report, ReportCreate
from client.gateway.reports import Kept
from client.gateway.sessions import Session
from protocol.reading import ReportStatus
from protocol.shape import OpaqueId, Sha256

ClaimId = Annotated[OpaqueId, Path()]

router = APIRouter()


class ReportAnswer(BaseModel):
    """What the reader needs to sign the report at the centre."""

    request_id: OpaqueId
    claim_id: OpaqueId
    fence: int
    version: int
    status: ReportStatus
    report_sha256: Sha256
    severity_score: int
    report: Report


class MessageAnswer(BaseModel):
    """A question of the reader, or the hospital's answer to it."""

    question: int
    side: Side
    text: str
    written_at: str


@router.post("/reports/{claim_id}", status_code=201)
async def create_report(request: Request, claim_id: ClaimId, content: ReportCreate) -> ReportAnswer:
    """Keep the next version of the report; the centre gets its hash and codes."""
    desk, session = desk_of(request), session_to_write(request, claim_id)
    finding = desk.findings.finding(session.claim.study_key)
    release = finding.model_release if finding is not None else None
    return _answer(desk.reports.submit(session, content, model_release=release), session)


@router.get("/reports/{claim_id}")
async def read_report(request: Request, claim_id: ClaimId) -> ReportAnswer:
    """Return the reader's own latest version."""
    desk, session = desk_of(request), session_of(request)
    refuse_other_claim(session, claim_id)
    kept = desk.reports.of_claim(claim_id)
    if not kept:
        raise absent()
    return _answer(kept[0], session)


@router.post("/messages/{claim_id}", status_code=201)
async def create_message(request: Request, claim_id: ClaimId, content: MessageCreate) -> MessageAnswer:
    """Ask the hospital something; the words go no further. Until it answers, the clock of the read stands still."""
    desk, session = desk_of(request), session_to_write(request, claim_id)
    return _message(desk.messages.ask(session.claim, content.text))


@router.get("/messages/{claim_id}")
async def read_messages(request: Request, claim_id: ClaimId) -> list[MessageAnswer]:
    """Return what the reader asked under this claim, and what the hospital answered."""
    desk, session = desk_of(request), session_of(request)
    refuse_other_claim(session, claim_id)
    return [_message(one) for one in desk.messages.of_claim(claim_id)]


def _answer(kept: Kept, session: Session) -> ReportAnswer:
    return ReportAnswer(
        request_id=kept.report.request_id,
        claim_id=kept.report.claim_id,
        fence=session.claim.fence,
        version=kept.report.version,
        status=kept.status,
        report_sha256=kept.report_sha256,
        severity_score=kept.report.severity_score,
        report=kept.report,
    )


def _message(one: Message) -> MessageAnswer:
    written_at = one.written_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return MessageAnswer(question=one.question, side=one.side, text=one.text, written_at=written_at)
