"""The gateway's routes. One study per session; there is no list, no search and no download, and what is not the reader's looks absent.

Every route is a coroutine, so that all of them run in the event loop's thread, one after another, on one database connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles

from client.gateway import correcting, dicomweb, grant, pages, rim, writing
from client.gateway.asking import absent, desk_of, note_known, session_for, session_of
from client.gateway.desk import Desk
from client.gateway.sending import VolumeName, send_volume
from protocol.reading import GrantClaims
from protocol.shape import OpaqueId

_PATIENCE_STEP_SECONDS = 0.25

RequestId = Annotated[OpaqueId, Path()]

router = APIRouter()
_ROOMS = (router, writing.router, correcting.router, dicomweb.router)


class SessionCreate(BaseModel):
    """The grant to be exchanged."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    token: str


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

    app = FastAPI(
        title="Acinus gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, routes=[*_routes()]
    )
    app.state.desk = desk
    rim.install(app)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    app.add_middleware(rim.Rim, desk=desk)
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Return the routes, once for all applications of a process: FastAPI works them out at the first request."""
    table = APIRouter()
    for room in _ROOMS:
        table.include_router(room)
    return tuple(table.routes)


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
    note_known(request)
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
    finding, prior = desk.findings.finding(session.claim.study_key), desk.book.prior(request_id)
    kept = bool(desk.reports.of_claim(session.claim.claim_id))
    return pages.view_page(desk.site, session, finding, prior, kept=kept)


@router.get("/vol/{request_id}/{name}")
async def read_volume(request: Request, request_id: RequestId, name: VolumeName) -> Response:
    """Send the study's volume, its opacity mask, or their coarse copies; the first look is told to the centre."""
    desk, session = desk_of(request), session_for(request, request_id)
    answer = await send_volume(desk, session.claim.study_key, name, holds=lambda: session_for(request, request_id))
    desk.reports.note_opened(session_for(request, request_id).claim)
    return answer


@router.get("/prior/{request_id}/{name}")
async def read_prior(request: Request, request_id: RequestId, name: VolumeName) -> Response:
    """Send a volume of the earlier study that the hospital chose to show with this read; without one it looks absent."""
    desk, session = desk_of(request), session_for(request, request_id)
    prior = desk.book.prior(session.claim.request_id)
    if prior is None:
        raise absent()
    answer = await send_volume(desk, prior.study_key, name, holds=lambda: session_for(request, request_id))
    desk.reports.note_opened(session_for(request, request_id).claim)
    return answer


@router.get("/viewer/niivue.umd.js")
async def read_viewer(request: Request) -> FileResponse:
    """Return NiiVue's ready-made bundle."""
    return FileResponse(desk_of(request).viewer(), media_type="text/javascript")


def _with_cookie(answer: Response, desk: Desk, cookie: str, *, lasts_s: int) -> Response:
    answer.set_cookie(desk.cookie, cookie, max_age=lasts_s, path="/", secure=True, httponly=True, samesite="strict")
    return answer


async def _wait_for_claim(desk: Desk, claims: GrantClaims) -> None:
    """Give the centre's word of the claim a moment to arrive: a quick reader can be here before it."""
    waited = 0.0
    while not desk.sessions.knows(claims.claim_id) and waited < desk.patience_seconds:
        await asyncio.sleep(_PATIENCE_STEP_SECONDS)
        waited += _PATIENCE_STEP_SECONDS


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
