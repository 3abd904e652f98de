"""The staff page's rim: headers on every answer, every error as a page with a code, forms from our own pages only."""

import hmac
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.console.entrance import Session
from client.console.pages import page
from client.console.ward import Ward
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


class NotEntered(Exception):  # noqa: N818 - no error: a visitor who is shown the way in
    """A visitor without a session."""


def install(app: FastAPI) -> None:
    """Map every error of `app` to a page, and put headers on every answer."""
    app.add_exception_handler(NotEntered, _show_in)
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


def session_of(request: Request) -> Session:
    """Return the visitor's session.

    Raises:
        NotEntered: Without one.
    """
    ward = ward_of(request)
    session = ward.entrance.find(request.cookies.get(cookie_name(ward)))
    if session is None:
        raise NotEntered
    return session


def refuse_foreign_form(request: Request, csrf: str) -> None:
    """Refuse a form that did not come from our own page in this session.

    Raises:
        NotEntered: Without a session.
        RefusedError: `forbidden`.
    """
    own = session_of(request).csrf
    refuse_foreign_page(request)
    if not hmac.compare_digest(csrf.encode(), own.encode()):
        raise RefusedError(Code.FORBIDDEN, _FOREIGN)


def refuse_foreign_page(request: Request) -> None:
    """Refuse a form that the browser says was sent by another site's page.

    Our pages send no referrer, and browsers then send `Origin: null` with a form; what tells then is Sec-Fetch-Site.

    Raises:
        RefusedError: `forbidden`.
    """
    origin, own = request.headers.get("Origin", "null"), f"https://{request.headers.get('Host', '')}"
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in _OWN_SITES or origin not in {"null", own}:
        raise RefusedError(Code.FORBIDDEN, _FOREIGN)


class _Headers:
    """Puts the headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


def _show_in(_request: Request, _error: Exception) -> Response:
    return RedirectResponse("/login", status_code=303)


def _answer(request: Request, code: Code, status: int, said: str) -> Response:
    return page("error.html", ward_of(request), status=status, code=code.value, said=said)


def _federation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, FederationError):
        raise error
    return _answer(request, error.code, _STATUS.get(error.code, error.http_status), str(error))


def _bad_request(request: Request, _error: Exception) -> Response:
    return _answer(request, Code.BAD_REQUEST, 422, "The form lacks something. Go back and fill it in.")


def _http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _answer(request, Code.NOT_FOUND, status, "There is no such page.")


def _fault(request: Request, error: Exception) -> Response:
    log.error("console.fault", exc_info=error)
    answer = _answer(request, Code.NODE_FAULT, 500, "A fault inside the node; logs/console.jsonl says more.")
    answer.headers.update(HEADERS)  # Starlette answers faults outside of all middleware
    return answer
