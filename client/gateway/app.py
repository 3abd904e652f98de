"""The gateway's routes. One study per session; there is no list, no search and no download, and what is not the reader's looks absent.

Every route is a coroutine, so that all of them run in the event loop's thread, one after another, on one database connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.staticfiles import StaticFiles

from client.gateway import dicomweb, grant, pages, rim
from client.gateway.asking import absent, desk_of, session_for, session_of
from client.gateway.desk import Desk
from client.gateway.messages import Message, MessageCreate, Side
from client.gateway.report import Report, ReportCreate
from client.gateway.reports import Kept
from client.gateway.sending import VolumeName, send_volume
from client.gateway.sessions import Session
from protocol.reading import GrantClaims, ReportStatus
from protocol.shape import OpaqueId, Sha256

_PATIENCE_STEP_SECONDS = 0.25

RequestId = Annotated[OpaqueId, Path()]
ClaimId = Annotated[OpaqueId, Path()]

router = APIRouter()
_ROOMS = (router, dicomweb.router)


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


def routes() -> list[str]:
    """Return the path of every route."""
    return [route.path for room in _ROOMS for route in room.routes if isinstance(route, APIRoute)]


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
    for room in _ROOMS:
        app.include_router(room)
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
    return pages.reader_page(desk_of(request).site)


@router.get("/session")
async def show_session(request: Request) -> HTMLResponse:
    """Show the page that exchanges the grant in the address's fragment, which browsers never send."""
    return pages.session_page(desk_of(request).site)


@router.post("/session", status_code=201)
async def open_session(
    request: Request, wish: SessionCreate, dpop: Annotated[str, Header(alias="DPoP", max_length=grant.TOKEN_BYTES_MAX)]
) -> Response:
    """Exchange a grant and a proof for a session: a cookie that only this host gets and no script can read."""
    desk = desk_of(request)
    rim.refuse_foreign_page(request, desk)
    now_s = desk.book.now_s()
    claims = grant.read_grant(wish.token, key=desk.grant_key, site=desk.site, now_s=now_s)
    request.state.subject = claims.request_id
    ath = grant.token_hash(wish.token)
    proof = grant.read_proof(dpop, ath=ath, method="POST", address=f"{desk.origin}/session", now_s=now_s)
    await _wait_for_claim(desk, claims)
    cookie = desk.sessions.open(claims, proof, ath=ath)
    answer = JSONResponse(
        {"request_id": claims.request_id, "claim_id": claims.claim_id, "expires_at": _moment(claims.exp)},
        status_code=201,
    )
    return _with_cookie(answer, desk, cookie, lasts_s=claims.exp - now_s)


@router.put("/session")
async def prolong_session(
    request: Request, dpop: Annotated[str, Header(alias="DPoP", max_length=grant.TOKEN_BYTES_MAX)]
) -> Response:
    """Let the session go on if the centre has sent a fresh grant for it; the proof is made anew, for the grant that opened it."""
    desk, session = desk_of(request), session_of(request)
    rim.refuse_foreign_page(request, desk)
    request.state.subject = session.claim.request_id
    now_s = desk.book.now_s()
    proof = grant.read_proof(dpop, ath=session.ath, method="PUT", address=f"{desk.origin}/session", now_s=now_s)
    cookie = request.cookies[desk.cookie]
    longer = desk.sessions.prolong(cookie, proof)
    answer = JSONResponse({"request_id": session.claim.request_id, "expires_at": _moment(longer.expires_s)})
    return _with_cookie(answer, desk, cookie, lasts_s=longer.expires_s - now_s)


@router.get("/view/{request_id}")
async def show_view(request: Request, request_id: RequestId) -> HTMLResponse:
    """Show the viewer with the report form."""
    desk, session = desk_of(request), session_for(request, request_id)
    desk.viewer()
    return pages.view_page(desk.site, session, desk.findings.finding(session.claim.study_key))


@router.get("/vol/{request_id}/{name}")
async def read_volume(request: Request, request_id: RequestId, name: VolumeName) -> Response:
    """Send the study's volume, its opacity mask, or their coarse copies; the first look is told to the centre."""
    desk, session = desk_of(request), session_for(request, request_id)
    answer = await send_volume(desk, session.claim.study_key, name)
    desk.reports.note_opened(session_for(request, request_id).claim)
    return answer


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


@router.get("/viewer/niivue.umd.js")
async def read_viewer(request: Request) -> FileResponse:
    """Return NiiVue's ready-made bundle."""
    return FileResponse(desk_of(request).viewer(), media_type="text/javascript")


def _refuse_other_claim(session: Session, claim_id: OpaqueId) -> None:
    if session.claim.claim_id != claim_id:
        raise absent()


def _with_cookie(answer: Response, desk: Desk, cookie: str, *, lasts_s: int) -> Response:
    answer.set_cookie(desk.cookie, cookie, max_age=lasts_s, path="/", secure=True, httponly=True, samesite="strict")
    return answer


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
