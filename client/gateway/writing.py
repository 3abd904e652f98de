"""What a reader writes at the gateway: reports, questions, corrected masks. Each only under a grant to report, and only of the own claim."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from client.gateway import rim
from client.gateway.asking import absent, desk_of, session_of
from client.gateway.masks import read_labels, volumes_ml
from client.gateway.messages import Message, MessageCreate, Side
from client.gateway.report import Report, ReportCreate
from client.gateway.reports import Kept
from client.gateway.sessions import Session
from client.store.results import MASK
from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.reading import ReportStatus
from protocol.shape import OpaqueId, Sha256

PACKED = "application/gzip"

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


class MaskAnswer(BaseModel):
    """What the hospital holds of a corrected mask: the hash of its DICOM SEG, and how much of each label there is."""

    claim_id: OpaqueId
    sha256: Sha256
    ground_glass_ml: float
    consolidation_ml: float


@router.post("/reports/{claim_id}", status_code=201)
async def create_report(request: Request, claim_id: ClaimId, content: ReportCreate) -> ReportAnswer:
    """Keep the next version of the report; the centre gets its hash and codes."""
    desk, session = desk_of(request), session_of(request)
    rim.refuse_foreign_page(request, desk)
    _refuse_other_claim(session, claim_id)
    session.refuse_mere_viewer()
    finding = desk.findings.finding(session.claim.study_key)
    release = finding.model_release if finding is not None else None
    return _answer(desk.reports.submit(session, content, model_release=release), session)


@router.get("/reports/{claim_id}")
async def read_report(request: Request, claim_id: ClaimId) -> ReportAnswer:
    """Return the reader's own latest version."""
    desk, session = desk_of(request), session_of(request)
    _refuse_other_claim(session, claim_id)
    kept = desk.reports.of_claim(claim_id)
    if not kept:
        raise absent()
    return _answer(kept[0], session)


@router.post("/messages/{claim_id}", status_code=201)
async def create_message(request: Request, claim_id: ClaimId, content: MessageCreate) -> MessageAnswer:
    """Ask the hospital something; the words go no further. Until it answers, the clock of the read stands still."""
    desk, session = desk_of(request), session_of(request)
    rim.refuse_foreign_page(request, desk)
    _refuse_other_claim(session, claim_id)
    session.refuse_mere_viewer()
    return _message(desk.messages.ask(session.claim, content.text))


@router.get("/messages/{claim_id}")
async def read_messages(request: Request, claim_id: ClaimId) -> list[MessageAnswer]:
    """Return what the reader asked under this claim, and what the hospital answered."""
    desk, session = desk_of(request), session_of(request)
    _refuse_other_claim(session, claim_id)
    return [_message(one) for one in desk.messages.of_claim(claim_id)]


@router.post("/masks/{claim_id}", status_code=201)
async def create_mask(request: Request, claim_id: ClaimId) -> MaskAnswer:
    """Keep the mask as the reader corrected it. It comes as the study's own mask went out: gzipped NIfTI, the same header."""
    desk, session = desk_of(request), session_of(request)
    rim.refuse_foreign_page(request, desk)
    _refuse_other_claim(session, claim_id)
    session.refuse_mere_viewer()
    if not session.claim.opened:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "Open the study before you correct its mask.")
    if request.headers.get("Content-Type") != PACKED:
        raise InvalidInputError(Code.BAD_REQUEST, f"Send the mask as {PACKED}.")
    packed, study_key = await request.body(), session.claim.study_key
    own = desk.findings.folder(study_key) / MASK
    async with desk.unpacking:
        labels = await asyncio.to_thread(read_labels, packed, own)
        segmentation = await asyncio.to_thread(desk.segment, study_key, labels, session.reader_name)
    kept = desk.corrections.keep(session_of(request).claim.claim_id, study_key, segmentation)
    return MaskAnswer(claim_id=claim_id, sha256=kept.sha256, **volumes_ml(labels, own))


def _refuse_other_claim(session: Session, claim_id: OpaqueId) -> None:
    if session.claim.claim_id != claim_id:
        raise absent()


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
