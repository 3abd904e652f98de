"""The gateway's routes. One study per session; there is no list, no search and no download, and what is not the reader's looks absent.

Every route is a coroutine, so that all of them run in the event loop's thread, one after another, on one database connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.staticfiles import StaticFiles

from client.gateway import grant, pages, rim, volume
from client.gateway.desk import Desk
from client.gateway.messages import Message, MessageCreate, Side
from client.gateway.report import Report, ReportCreate
from client.gateway.reports import Kept
from client.gateway.sessions import Session
from client.store.results import CT, MASK
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import GrantClaims, ReportStatus
from protocol.shape import OpaqueId, Sha256

_PATIENCE_STEP_SECONDS = 0.25

RequestId = Annotated[OpaqueId, Path()]
ClaimId = Annotated[OpaqueId, Path()]

router = APIRouter()


class SessionCreate(BaseModel):
    """The grant to be exchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    token: str


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


def create_app(desk: Desk) -> FastAPI:
    """Return the application that serves `desk`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        desk.reports.catch_up()
        desk.messages.catch_up()
        yield

    app = FastAPI(title="Acinus gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.desk = desk
    rim.install(app)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.add_middleware(rim.Rim, desk=desk)
    return app


@router.get("/")
async def root() -> RedirectResponse:
    """Lead a visitor to the one page that is for everybody."""
    return RedirectResponse("/reader", status_code=303)


@router.get("/health")
async def read_health() -> dict[str, bool]:
    """Say that the gateway answers."""
    return {"ok": True}


@router.get("/reader")
async def show_reader(request: Request) -> HTMLResponse:
    """Show the page on which a reader's browser makes its key."""
    return pages.reader_page(_desk(request).site)


@router.get("/session")
async def show_session(request: Request) -> HTMLResponse:
    """Show the page that exchanges the grant in the address's fragment, which browsers never send."""
    return pages.session_page(_desk(request).site)


@router.post("/session", status_code=201)
async def open_session(
    request: Request, wish: SessionCreate, dpop: Annotated[str, Header(alias="DPoP", max_length=grant.TOKEN_BYTES_MAX)]
) -> Response:
    """Exchange a grant and a proof for a session: a cookie that only this host gets and no script can read."""
    desk = _desk(request)
    rim.refuse_foreign_page(request, desk)
    now_s = desk.book.now_s()
    claims = grant.read_grant(wish.token, key=desk.grant_key, site=desk.site, now_s=now_s)
    request.state.subject = claims.request_id
    proof = grant.read_proof(dpop, token=wish.token, method="POST", address=f"{desk.origin}/session", now_s=now_s)
    await _wait_for_claim(desk, claims)
    cookie = desk.sessions.open(claims, proof)
    answer = JSONResponse(
        {"request_id": claims.request_id, "claim_id": claims.claim_id, "expires_at": _moment(claims.exp)},
        status_code=201,
    )
    answer.set_cookie(
        desk.cookie, cookie, max_age=claims.exp - now_s, path="/", secure=True, httponly=True, samesite="strict"
    )
    return answer


@router.get("/view/{request_id}")
async def show_view(request: Request, request_id: RequestId) -> HTMLResponse:
    """Show the viewer with the report form."""
    desk, session = _desk(request), _session_for(request, request_id)
    desk.viewer()
    return pages.view_page(desk.site, session, desk.findings.finding(session.claim.study_key))


@router.get("/vol/{request_id}/{name}")
async def read_volume(
    request: Request, request_id: RequestId, name: Literal["ct.nii.gz", "mask.nii.gz"]
) -> StreamingResponse:
    """Send the study's volume or its opacity mask; the first look is told to the centre."""
    desk, session = _desk(request), _session_for(request, request_id)
    path = desk.findings.folder(session.claim.study_key) / {"ct.nii.gz": CT, "mask.nii.gz": MASK}[name]
    volume.refuse_identifiers(path)
    desk.reports.note_opened(session.claim)
    return StreamingResponse(
        volume.bare(path),
        media_type="application/gzip",
        headers={"Content-Length": str(volume.bare_size(path)), "Content-Disposition": "inline"},
    )


@router.post("/reports/{claim_id}", status_code=201)
async def create_report(request: Request, claim_id: ClaimId, content: ReportCreate) -> ReportAnswer:
    """Keep the next version of the report; the centre gets its hash and codes."""
    desk, session = _desk(request), _session_of(request)
    rim.refuse_foreign_page(request, desk)
    _refuse_other_claim(session, claim_id)
    finding = desk.findings.finding(session.claim.study_key)
    release = finding.model_release if finding is not None else None
    return _answer(desk.reports.submit(session, content, model_release=release), session)


@router.get("/reports/{claim_id}")
async def read_report(request: Request, claim_id: ClaimId) -> ReportAnswer:
    """Return the reader's own latest version."""
    desk, session = _desk(request), _session_of(request)
    _refuse_other_claim(session, claim_id)
    kept = desk.reports.of_claim(claim_id)
    if not kept:
        raise _absent()
    return _answer(kept[0], session)


@router.post("/messages/{claim_id}", status_code=201)
async def create_message(request: Request, claim_id: ClaimId, content: MessageCreate) -> MessageAnswer:
    """Ask the hospital something; the words go no further. Until it answers, the clock of the read stands still."""
    desk, session = _desk(request), _session_of(request)
    rim.refuse_foreign_page(request, desk)
    _refuse_other_claim(session, claim_id)
    return _message(desk.messages.ask(session.claim, content.text))


@router.get("/messages/{claim_id}")
async def read_messages(request: Request, claim_id: ClaimId) -> list[MessageAnswer]:
    """Return what the reader asked under this claim, and what the hospital answered."""
    desk, session = _desk(request), _session_of(request)
    _refuse_other_claim(session, claim_id)
    return [_message(one) for one in desk.messages.of_claim(claim_id)]


@router.get("/viewer/niivue.umd.js")
async def read_viewer(request: Request) -> FileResponse:
    """Return NiiVue's ready-made bundle."""
    return FileResponse(_desk(request).viewer(), media_type="text/javascript")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _session_of(request: Request) -> Session:
    desk = _desk(request)
    return desk.sessions.find(request.cookies.get(desk.cookie))


def _session_for(request: Request, request_id: OpaqueId) -> Session:
    """Return the caller's session if it is for this request; any other request looks absent."""
    session = _session_of(request)
    if session.claim.request_id != request_id:
        raise _absent()
    return session


def _refuse_other_claim(session: Session, claim_id: OpaqueId) -> None:
    if session.claim.claim_id != claim_id:
        raise _absent()


def _absent() -> InvalidInputError:
    return InvalidInputError(Code.NOT_FOUND, "There is nothing of that name that you may see.")


async def _wait_for_claim(desk: Desk, claims: GrantClaims) -> None:
    """Give the centre's word of the claim a moment to arrive: a quick reader can be here before it."""
    waited = 0.0
    while not desk.sessions.knows(claims.claim_id) and waited < desk.patience_seconds:
        await asyncio.sleep(_PATIENCE_STEP_SECONDS)
        waited += _PATIENCE_STEP_SECONDS


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


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
