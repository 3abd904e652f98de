"""The staff page's rim: who is served, headers on every answer, every error as a page with a code, forms from our own pages only."""

import hmac
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.console.pages import page
from client.console.rights import OPEN, may
from client.console.ward import Ward
from client.staff.sessions import Visitor
from protocol.codes import Code
from protocol.errors import FederationError, RefusedError

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_OWN_SITES = {"same-origin", "none"}
_FOREIGN = "The form is not from this page. Go back, reload and send it again."

_STATUS = {Code.UNAUTHENTICATED: 401, Code.NOT_FOUND: 404, Code.RATE_LIMITED: 429}


RENEWED = "renewed"
"""The mark on the address of a page that renews itself: nobody clicked."""

_WITHOUT_CHANGE = {"/password", "/logout"}
_TOO_LONG = 413
_BODY_MOST = 256 << 10
"""A policy of 64 KiB, every byte of it escaped."""


class NotEntered(Exception):  # noqa: N818 - no error: a visitor who is shown the way in
    """A visitor without a session."""


class MustChangePassword(Exception):  # noqa: N818 - no error: a visitor who is shown where
    """A visitor whose password somebody else knows."""


def install(app: FastAPI) -> None:
    """Map every error of `app` to a page, and put headers on every answer."""
    app.add_exception_handler(NotEntered, lambda _request, _error: go_to("/login"))
    app.add_exception_handler(MustChangePassword, lambda _request, _error: go_to("/password"))
    app.add_exception_handler(FederationError, _federation_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(_Headers)


def ward_of(request: Request) -> Ward:
    """Return what the pages work with."""
    ward: Ward = request.app.state.ward
    return ward


def cookie_name(ward: Ward) -> str:
    """Return the session cookie's name. Browsers share cookies between ports of one host, hence the port in it."""
    return f"__Host-acinus-console-{ward.port}"


async def admit(request: Request) -> None:
    """Look at whoever sends a request before its route does anything; every route but the way in depends on it.

    Raises:
        NotEntered: Without a session.
        MustChangePassword: If the password was given by somebody else.
        RefusedError: `forbidden` if the role does not allow the route, or a form is not from our own page in this session.
    """
    asked = (request.method, request.scope["route"].path)
    if asked in OPEN:
        return
    ward = ward_of(request)
    visitor = ward.entrance.sessions.find(
        request.cookies.get(cookie_name(ward)), active=RENEWED not in request.query_params
    )
    if visitor is None:
        raise NotEntered
    request.state.visitor = visitor
    if not may(visitor.roles, *asked):
        raise RefusedError(Code.FORBIDDEN, "Your role does not allow this. An administrator gives roles.")
    if visitor.must_change and asked[1] not in _WITHOUT_CHANGE:
        raise MustChangePassword
    if request.method != "GET":
        refuse_foreign_page(request)
        word = (await request.form()).get("csrf")
        if not isinstance(word, str) or not hmac.compare_digest(word.encode(), visitor.csrf.encode()):
            raise RefusedError(Code.FORBIDDEN, _FOREIGN)


def visitor_of(request: Request) -> Visitor:
    """Return who sends the request; `admit` has looked at them."""
    visitor: Visitor = request.state.visitor
    return visitor


def show(request: Request, template: str, **content: Any) -> HTMLResponse:
    """Return a page to its visitor."""
    return page(template, ward_of(request), visitor=visitor_of(request), **content)


def go_to(path: str) -> RedirectResponse:
    """Send the browser to a page of ours after a form."""
    return RedirectResponse(path, status_code=303)


def refuse_foreign_page(request: Request) -> None:
    """Refuse a form that the browser says was sent by another site's page.

    Our pages send no referrer, and browsers then send `Origin: null` with a form; what tells then is Sec-Fetch-Site.

    Raises:
        RefusedError: `forbidden`.
    """
    origin, host = request.headers.get("Origin", "null"), f"https://{request.headers.get('Host', '')}"
    own = {"null", host, ward_of(request).origin}
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in _OWN_SITES or origin not in own:
        raise RefusedError(Code.FORBIDDEN, _FOREIGN)


class _Headers:
    """Puts the headers on every answer, and stops reading a form that is too long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        received = 0

        async def read() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > _BODY_MOST:
                raise HTTPException(_TOO_LONG)
            return message

        if scope["type"] == "http":
            await self._app(scope, read, answer)
        else:
            await self._app(scope, receive, send)


def _answer(request: Request, code: Code, status: int, said: str) -> Response:
    visitor = getattr(request.state, "visitor", None)
    return page("error.html", ward_of(request), visitor=visitor, status=status, code=code.value, said=said)


def _federation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, FederationError):
        raise error
    return _answer(request, error.code, _STATUS.get(error.code, error.http_status), str(error))


def _bad_request(request: Request, _error: Exception) -> Response:
    return _answer(request, Code.BAD_REQUEST, 422, "The form lacks something. Go back and fill it in.")


def _http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == _TOO_LONG:
        return _answer(request, Code.BAD_REQUEST, status, "The form is too long. Shorten it and send it again.")
    return _answer(request, Code.NOT_FOUND, status, "There is no such page.")


def _fault(request: Request, error: Exception) -> Response:
    log.error("console.fault", exc_info=error)
    answer = _answer(request, Code.NODE_FAULT, 500, "A fault inside the node; logs/console.jsonl says more.")
    answer.headers.update(HEADERS)  # Starlette answers faults outside of all middleware
    return answer
