"""The start page, log-in and log-out."""

import asyncio
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from identity.provider import Provider, Vouched
from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from registry_api.api.access import (
    COOKIE,
    CallerOrNobody,
    RuntimeDep,
    SessionDep,
    address_of,
    refuse_after,
    refuse_foreign_origin,
)
from registry_api.pages.language import COOKIE as LANGUAGE_COOKIE
from registry_api.pages.language import LANGUAGES
from registry_api.pages.render import page
from registry_api.people.roles import Role
from registry_api.people.service import SESSION_HOURS, close_page_session, open_page_session, person_by_key
from registry_api.people.vouched import meet
from registry_api.runtime import Runtime

router = APIRouter()

_FAILURES_MAX = 5
_YEAR_SECONDS = 365 * 86_400
_BINDING = "__Host-acinus-registry-oidc"
_MINUTES_AT_PROVIDER = 10
_HOME = {Role.MINISTRY: "/registry", Role.READER: "/worklist", Role.HOSPITAL: "/quality"}
"""Where a role goes after logging in."""


@router.get("/", response_class=HTMLResponse)
def read_start(caller: CallerOrNobody) -> HTMLResponse:
    """Say what this is."""
    return page("start.html", caller=caller)


@router.get("/language")
def read_language(request: Request, to: Annotated[str, Query(max_length=5)]) -> Response:
    """Remember the language that the reader chose, and go back to the page that the link stood on."""
    back = urlsplit(request.headers.get("Referer", ""))
    path = f"{back.path}?{back.query}" if back.query else back.path
    answer = RedirectResponse(_own_path(path) or "/", status_code=303)
    answer.set_cookie(
        LANGUAGE_COOKIE, to if to in LANGUAGES else "", max_age=_YEAR_SECONDS, path="/", secure=True, httponly=True, samesite="lax"
    )  # fmt: skip
    return answer


@router.get("/login", response_class=HTMLResponse)
def read_login(
    runtime: RuntimeDep, next_page: Annotated[str, Query(alias="next", max_length=200)] = ""
) -> HTMLResponse:
    """Show the log-in form."""
    return _login_page(runtime, next_page)


def _login_page(
    runtime: Runtime, next_page: str = "", *, failed: Literal["", "key", "organisation"] = ""
) -> HTMLResponse:
    """Return the log-in, and what was wrong with the last try if there was one."""
    provided = runtime.provider is not None
    status = 401 if failed else 200
    return page(
        "login.html", caller=None, status=status, next_page=_own_path(next_page), failed=failed, provided=provided
    )


@router.post("/login", dependencies=[Depends(refuse_foreign_origin)])
def create_login(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    api_key: Annotated[str, Form(max_length=200)],
    next_page: Annotated[str, Form(alias="next", max_length=200)] = "",
) -> Response:
    """Log in with an API key; the browser gets a cookie that scripts cannot read and other sites cannot send."""
    attempt = f"login {address_of(request)}"
    refuse_after(request, attempt, limit=_FAILURES_MAX)
    now = runtime.clock()
    person = person_by_key(session, api_key.strip())
    if person is None:
        runtime.attempts.failed(attempt, now=now)
        return _login_page(runtime, next_page, failed="key")
    opened = open_page_session(session, person.id, now=now)
    answer = RedirectResponse(_own_path(next_page) or _HOME.get(Role(person.role), "/"), status_code=303)
    return _welcomed(answer, opened.cookie)


def _welcomed(answer: Response, cookie: str) -> Response:
    """Give the browser its cookie."""
    answer.set_cookie(
        COOKIE, cookie, max_age=SESSION_HOURS * 3600, path="/", secure=True, httponly=True, samesite="strict"
    )
    return answer


@router.get("/login/oidc")
async def begin_oidc(runtime: RuntimeDep) -> Response:
    """Send the browser to the identity provider. A cookie binds what comes back to this browser.

    It is `Lax`: the browser comes back from another site, and a strict cookie would stay behind.
    """
    address, flow = await _provider_of(runtime).begin()
    answer = RedirectResponse(address, status_code=303)
    answer.set_cookie(
        _BINDING, flow.binding, max_age=_MINUTES_AT_PROVIDER * 60, path="/", secure=True, httponly=True, samesite="lax"
    )
    return answer


@router.get("/login/oidc/callback")
async def finish_oidc(request: Request, runtime: RuntimeDep) -> Response:
    """Log in whom the provider vouches for.

    The answer is a page that goes on by itself, no redirect: a strict cookie does not travel on a chain that another site began.
    """
    try:
        vouched = await _provider_of(runtime).finish(dict(request.query_params), request.cookies.get(_BINDING))
    except RefusedError as error:
        if error.code is not Code.UNAUTHENTICATED:
            raise
        return _login_page(runtime, failed="organisation")  # the general way would show the log-in without a word
    cookie, home = await asyncio.to_thread(_enter, runtime, vouched)
    answer = _welcomed(page("entered.html", caller=None, home=home), cookie)
    answer.delete_cookie(_BINDING, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def _enter(runtime: Runtime, vouched: Vouched) -> tuple[str, str]:
    """Open a session for a person; return its cookie and the page to go on to.

    A refusal may end sessions, so it is raised after they are stored as ended.
    """
    now = runtime.clock()
    with runtime.database.writing() as session:
        person = meet(session, vouched, runtime.settings.oidc.grants, now=now)
        if person is not None:
            opened = open_page_session(session, person.id, now=now)
            return opened.cookie, _HOME.get(Role(person.role), "/")
    raise RefusedError(
        Code.FORBIDDEN, "Your organisation knows you, but the registry grants nothing to you. Ask the coordinator."
    )


def _provider_of(runtime: Runtime) -> Provider:
    if runtime.provider is None:
        raise InvalidInputError(Code.NOT_FOUND, "This registry knows no identity provider. Log in with an API key.")
    return runtime.provider


@router.post("/logout")
def create_logout(request: Request, session: SessionDep, caller: CallerOrNobody) -> Response:
    """Log out."""
    if caller is not None:
        close_page_session(session, request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/", status_code=303)
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def _own_path(path: str) -> str:
    """Return the path if it is one of this site, else nothing: the log-in must not lead elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path else ""
