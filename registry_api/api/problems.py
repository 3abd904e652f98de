"""The HTTPS rim: errors become application/problem+json (RFC 9457) with a code; pages get a page or the log-in."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException

from protocol.codes import MEANINGS, Code
from protocol.errors import FederationError
from registry_api.database import overtaken
from registry_api.logs import fault_of, own_steps
from registry_api.pages.render import error_page
from registry_api.releases.query import QuestionError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUS = {Code.UNAUTHENTICATED: 401, Code.NOT_FOUND: 404, Code.RATE_LIMITED: 429}
"""Where HTTP has a closer status than the family's own."""

_RETRY_SECONDS = "60"

_SCHEMA = {
    "type": "object",
    "required": ["type", "code", "status", "title", "detail"],
    "properties": {
        "type": {"type": "string"},
        "code": {"type": "string"},
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
    },
}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
    for status, description in {
        400: "The body cannot be read.",
        401: "Nobody is known by what was shown.",
        403: "The caller's role, or their key, does not open this.",
        404: "There is no such thing that the caller may see.",
        413: "The request is too large.",
        409: "Somebody or something else was first.",
        422: "Something that was given cannot be used as it is.",
        429: "Too many requests, or too many failed log-ins.",
        503: "A disk, a network or a peer does not serve at the moment.",
    }.items()
}
"""What any route may answer instead, for the document of the API."""

_TITLES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


def install(app: FastAPI) -> None:
    """Map every error of `app`."""
    app.add_exception_handler(FederationError, _federation_error)
    app.add_exception_handler(IntegrityError, _overtaken_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _fault)


def problem(
    code: str,
    status: int,
    *,
    title: str,
    detail: str,
    members: Mapping[str, object] = MappingProxyType({}),
    allow: str | None = None,
) -> Response:
    """Return the answer that says what went wrong; `members` say more of it to programs (RFC 9457 section 3.2), `allow` which methods there are."""
    body = {"type": "about:blank", "code": code, "status": status, "title": title, "detail": detail, **members}
    headers = {"Cache-Control": "no-store", **({"Allow": allow} if allow else {})}
    if status == STATUS[Code.UNAUTHENTICATED]:
        headers["WWW-Authenticate"] = "Bearer"
    if status == STATUS[Code.RATE_LIMITED]:
        headers["Retry-After"] = _RETRY_SECONDS
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def is_page(request: Request) -> bool:
    """Say whether a person's browser asks, rather than a program."""
    return not request.url.path.startswith("/v1/")


def _federation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, FederationError):
        raise error
    status = STATUS.get(error.code, error.http_status)
    if is_page(request):
        return _page_answer(request, error.code, status, str(error))
    members = error.members if isinstance(error, QuestionError) else {}
    return problem(error.code.value, status, title=MEANINGS[error.code][1], detail=str(error), members=members)


def _overtaken_error(request: Request, error: Exception) -> Response:
    """What the database would not store beside what is there, although the route saw nothing against it: somebody was faster, or nobody looked."""
    known = overtaken(error)
    if known is None:
        return _fault(request, error)
    log.warning("request.overtaken", extra={"code": known.code.value, "where": own_steps(error)})
    return _federation_error(request, known)


def _page_answer(request: Request, code: Code, status: int, detail: str) -> Response:
    """Lead a browser without a log-in to the log-in and back; show others what went wrong."""
    if code is Code.UNAUTHENTICATED and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
    return error_page(code.value, status, detail)


def _validation_error(request: Request, error: Exception) -> Response:
    """Name the fields that are wrong, never what they held."""
    if not isinstance(error, RequestValidationError):
        raise error
    named = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['type']}" for one in error.errors())
    if is_page(request):
        return error_page(Code.BAD_REQUEST.value, 422, named)
    return problem(Code.BAD_REQUEST.value, 422, title=MEANINGS[Code.BAD_REQUEST][1], detail=named)


def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = _TITLES.get(error.status_code, str(error.detail))
    code = Code.NOT_FOUND if error.status_code == STATUS[Code.NOT_FOUND] else Code.BAD_REQUEST
    if is_page(request):
        return error_page(code.value, error.status_code, detail)
    allow = (error.headers or {}).get("Allow")
    return problem(code.value, error.status_code, title=MEANINGS[code][1], detail=detail, allow=allow)


def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours. The log says where; neither log nor answer repeats the exception's text, which may quote a request."""
    log.error("request.fault", extra=fault_of(error))
    detail = "A fault inside the registry; its log says where. Tell the coordinator."
    if is_page(request):
        return error_page("fault", 500, detail)
    return problem("fault", 500, title="A fault inside the registry.", detail=detail)
