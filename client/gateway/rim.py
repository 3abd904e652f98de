"""What every request at the gateway passes: size limit, security headers, errors as answers, and a row in the audit chain."""

import logging
import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.gateway.desk import Desk
from client.gateway.masks import PACKED_MOST
from client.gateway.pages import error_page
from client.gateway.strays import Strays
from client.logs import fault_of
from protocol.codes import MEANINGS, Code
from protocol.errors import FederationError, RefusedError

log = logging.getLogger(__name__)

BODY_MAX = 64 * 1024
_BODY_OF_MASKS = "/masks/"
"""Below which a packed mask may come."""

STATUS = {Code.UNAUTHENTICATED: 401, Code.NOT_FOUND: 404}
"""Where HTTP has a closer status than the family's own."""

# NiiVue needs less than it might: no WebAssembly, no blob. Its letters (R, L, A, P) are a picture in a data URL. The worker is our own file.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
}

_AUDITED = {
    "/session": "gateway.session",
    "/view/{request_id}": "gateway.view",
    "/vol/{request_id}/{name}": "gateway.volume",
    "/prior/{request_id}/{name}": "gateway.prior",
    "/reports/{claim_id}": "gateway.report",
    "/messages/{claim_id}": "gateway.message",
    "/masks/{claim_id}": "gateway.mask",
}
"""Routes that touch a study, below which all of DICOMweb is one."""

_DICOMWEB = "/dicom-web/"
_STRAY = "gateway.stray"
_SAME_FOR_ALL = frozenset({"/", "/health", "/reader", "/viewer/niivue.umd.js"})
_STATIC = "/static/"
"""Pages and scripts that are the same for everybody are not worth a row."""

_KNOWN = "known"
"""In a request's state (`asking.note_known`): it came under a session that holds."""

Note = Callable[[Scope, str, str, str], None]
"""(request, event, subject, verdict): append one row to the audit chain, durably, or raise."""

_OPAQUE = re.compile(r"[0-9a-f]{32}")
_REFUSAL = "acinus.refusal"
_TOO_LARGE = "The request is too large; a report or a mask is far smaller."


_BY_BEGINNING = {route.partition("{")[0]: event for route, event in _AUDITED.items()}


def event_of(method: str, route: str) -> str | None:
    """Return under which name a request stands in the audit chain; `None` for what is the same for everybody.

    Args:
        method: Of the request.
        route: The path of the route that it matched, or the path itself if it matched none, or came to none.
    """
    if route in _SAME_FOR_ALL or route.startswith(_STATIC) or (method, route) == ("GET", "/session"):
        return None
    if route.startswith(_DICOMWEB):
        return "gateway.dicomweb"
    found = (
        event
        for begins, event in _BY_BEGINNING.items()
        if route == begins or (begins[-1] == "/" and route.startswith(begins))
    )
    return next(found, _STRAY)


def install(app: FastAPI) -> None:
    """Map every error of `app` to an answer with a code."""
    app.add_exception_handler(FederationError, _federation_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


def refuse_foreign_page(request: Request, desk: Desk) -> None:
    """Refuse a browser's request that another site's page sent. Programs send no `Origin` and have no cookie to abuse.

    Raises:
        RefusedError: `forbidden`.
    """
    origin = request.headers.get("Origin")
    foreign = request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}
    if foreign or (origin is not None and origin != desk.origin):
        raise RefusedError(Code.FORBIDDEN, "The request comes from a page of another site.")


class Rim:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._strays = Strays(desk)
        self._headers = HEADERS | _transport_security(desk.origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its audit row is on the disk before the first byte of the answer leaves."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self._note, self._headers, scope, receive, send)
        try:
            await exchange.run(self._app)
        except Exception as error:  # the rim: a fault of ours becomes an answer like the others
            if exchange.started:
                raise
            await exchange.reply(_fault(Request(scope), error))

    def _note(self, scope: Scope, event: str, subject: str, verdict: str) -> None:
        """Append a row: always for who has a session, and within bounds for whoever knocks."""
        known = scope.get("state", {}).get(_KNOWN, False)
        (self._desk.audit if known else self._strays.note)(event, subject, verdict)


class _Exchange:
    """One request and its answer."""

    def __init__(self, note: Note, headers: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        self._note, self._headers = note, headers
        self._scope, self._receive, self._send = scope, receive, send
        self._received = 0
        self._most = PACKED_MOST if scope["path"].startswith(_BODY_OF_MASKS) else BODY_MAX
        self.started = False

    async def run(self, app: ASGIApp) -> None:
        """Let `app` answer, unless the body is said to be too large."""
        length = Headers(scope=self._scope).get("content-length", "0")
        if length.isdecimal() and int(length) <= self._most:
            await app(self._scope, self._read, self._answer)
        else:
            await self.reply(_answer(Request(self._scope), Code.BAD_REQUEST.value, 413, _TOO_LARGE))

    async def reply(self, response: Response) -> None:
        """Send an answer that the application did not make."""
        await response(self._scope, self._receive, self._answer)

    async def _read(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise HTTPException(413)
        return message

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._audit(message["status"])
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers[name] = value
        await self._send(message)

    def _audit(self, status: int) -> None:
        """Append who asked for what and what became of it; of a path that matches no route only an opaque id is repeated."""
        scope, state = self._scope, self._scope.get("state", {})
        event = event_of(scope["method"], str(getattr(scope.get("route"), "path", scope["path"])))
        if event is None:
            return
        subject = next((part for part in scope["path"].split("/") if _OPAQUE.fullmatch(part)), "-")
        refusal = state.get(_REFUSAL, "")
        self._note(scope, event, state.get("subject", subject), refusal or f"answered-{status}")
        log.info("gateway.served", extra={"gateway_event": event, "status": status, "code": refusal})


def _transport_security(origin: str) -> dict[str, str]:
    """Return the header that makes browsers insist on TLS: for names only, not for the loopback of a demonstration."""
    host = urlsplit(origin).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return {} if host == "localhost" else {"Strict-Transport-Security": "max-age=31536000"}
    return {}


def _answer(request: Request, code: str, status: int, detail: str) -> Response:
    request.scope.setdefault("state", {})[_REFUSAL] = code
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return error_page(code, status, detail)
    body = {"type": "about:blank", "code": code, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def _federation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, FederationError):
        raise error
    return _answer(request, error.code.value, STATUS.get(error.code, error.http_status), str(error))


def _validation_error(request: Request, error: Exception) -> Response:
    """Name the fields that are wrong, never what they held."""
    if not isinstance(error, RequestValidationError):
        raise error
    named = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return _answer(request, Code.BAD_REQUEST.value, 422, f"{named}. Correct it and send it again.")


def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = Code.NOT_FOUND if error.status_code in {404, 405} else Code.BAD_REQUEST
    return _answer(request, code.value, error.status_code, MEANINGS[code][1])


def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours; neither log nor answer repeats the exception's text, which may quote a request."""
    log.error("gateway.fault", extra=fault_of(error))
    return _answer(request, Code.NODE_FAULT.value, 500, "A fault inside the hospital's gateway; its log says more.")
