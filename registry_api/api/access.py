"""Who is calling, what they may do, and the transaction their request runs in."""

import hmac
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import RefusedError, UnavailableError
from registry_api.api.gate import Gate
from registry_api.people.keys import Holder, caller_by_key
from registry_api.people.roles import Role, Scope
from registry_api.people.service import person_by_cookie, secret_sha256
from registry_api.people.tables import PersonRow
from registry_api.runtime import Runtime

COOKIE = "__Host-acinus-registry"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = ("application/x-www-form-urlencoded", "multipart/form-data")
_KEY_FAILURES_MAX = 60


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who proved who they are. `region` limits what a ministry sees; None is no limit (of other roles).

    `site` is the hospital of a caller of role hospital. `csrf` goes into forms of pages; it is empty for callers with an API key, whom no foreign page can impersonate.
    """

    person_id: str
    role: Role
    region: str | None
    name: str
    csrf: str = ""
    site: str | None = None
    scopes: frozenset[Scope] | None = None
    """What the key of a program opens; None is all that the role may."""


def runtime_of(request: Request) -> Runtime:
    """Return the running registry."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def _turn_of(request: Request) -> AsyncIterator[None]:
    """Wait until the database has room for one request more."""
    gate: Gate = request.app.state.gate
    async with gate.turn(writes=request.method not in SAFE_METHODS):
        yield


def _session_of(
    request: Request,
    _turn: Annotated[None, Depends(_turn_of, scope="function")],
) -> Iterator[Session]:
    """One transaction per request: stored before the answer goes out, or undone if the route raises."""
    database = runtime_of(request).database
    with database.reading() if request.method in SAFE_METHODS else database.writing() as session:
        yield session


async def _runtime(request: Request) -> Runtime:
    """As `runtime_of`; asynchronous, since a dependency that waits for nothing needs no thread."""
    return runtime_of(request)


RuntimeDep = Annotated[Runtime, Depends(_runtime)]
SessionDep = Annotated[Session, Depends(_session_of, scope="function")]
"""A GET gets a reading transaction, everything else a writing one; routes never commit by themselves."""


def address_of(request: Request) -> str:
    """Return the caller's network address, as far as it is known."""
    return request.client.host if request.client else "unknown"


def _identify(request: Request, session: SessionDep) -> Caller | None:
    return identify(request, session)


def identify(request: Request, session: Session) -> Caller | None:
    """Return who is calling, by API key or by the pages' cookie; None if they show neither.

    Raises:
        RefusedError: `unauthenticated` if what they show is not valid.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        return _caller_by_key(request, session, scheme, key.strip())
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    found = person_by_cookie(session, cookie, now=runtime_of(request).clock())
    return _paced(request, _caller(found[0], csrf=found[1])) if found else None


def _caller_by_key(request: Request, session: Session, scheme: str, key: str) -> Caller:
    runtime = runtime_of(request)
    if scheme.lower() == "bearer" and hmac.compare_digest(secret_sha256(key), runtime.service_token_sha256):
        return Caller(person_id="service", role=Role.SERVICE, region=None, name="centre")
    found = caller_by_key(session, key, now=runtime.clock()) if scheme.lower() == "bearer" else None
    if found is None:
        count_failure(request, f"key {address_of(request)}", limit=_KEY_FAILURES_MAX)
        raise RefusedError(Code.UNAUTHENTICATED, "The API key is not valid. Ask the coordinator for a new one.")
    return _paced(request, _caller(found, scopes=found.scopes))


def _paced(request: Request, caller: Caller) -> Caller:
    """Count the request.

    Raises:
        UnavailableError: `rate-limited` if the caller asks too fast.
    """
    runtime = runtime_of(request)
    if not runtime.pace.take(caller.person_id, now=runtime.clock()):
        most = runtime.settings.limits.requests_per_minute
        raise UnavailableError(
            Code.RATE_LIMITED, f"At most {most} requests a minute. Wait a little and go on more slowly."
        )
    return caller


def _caller(person: PersonRow | Holder, *, csrf: str = "", scopes: frozenset[Scope] | None = None) -> Caller:
    return Caller(
        person_id=person.id,
        role=Role(person.role),
        region=person.region,
        name=person.name,
        csrf=csrf,
        site=person.site,
        scopes=scopes,
    )


def count_failure(request: Request, key: str, *, limit: int) -> None:
    """Note a failed log-in under `key`.

    Raises:
        UnavailableError: `rate-limited` if there were `limit` of them already.
    """
    runtime = runtime_of(request)
    now = runtime.clock()
    refuse_after(request, key, limit=limit)
    runtime.attempts.failed(key, now=now)


def refuse_after(request: Request, key: str, *, limit: int) -> None:
    """Refuse to go on when `limit` attempts under `key` have failed.

    Raises:
        UnavailableError: `rate-limited`.
    """
    runtime = runtime_of(request)
    if runtime.attempts.count(key, now=runtime.clock()) >= limit:
        raise UnavailableError(Code.RATE_LIMITED, "Too many log-ins failed. Wait a quarter of an hour and try again.")


async def _guarded(request: Request, caller: Annotated[Caller | None, Depends(_identify)]) -> Caller | None:
    if caller is not None and caller.csrf and request.method not in SAFE_METHODS:
        refuse_forged(request, caller, await form_token(request))
    return caller


def refuse_forged(request: Request, caller: Caller, token: bytes) -> None:
    """Let a changing request that rests on the cookie alone pass only if it comes from one of our own forms.

    Raises:
        RefusedError: `forbidden` if it may come from a foreign page.
    """
    if caller.csrf and request.method not in SAFE_METHODS:
        refuse_foreign_origin(request)
        if not hmac.compare_digest(token, caller.csrf.encode()):
            raise RefusedError(Code.FORBIDDEN, "The form is out of date. Load the page again and repeat.")


def refuse_foreign_origin(request: Request) -> None:
    """Refuse a browser's request that another site's page sent.

    Raises:
        RefusedError: `forbidden`.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin != runtime_of(request).settings.http.origin:
        raise RefusedError(Code.FORBIDDEN, "The request comes from a page of another site.")


async def form_token(request: Request) -> bytes:
    """Return the form token from the header (scripts) or the form (pages)."""
    sent: object = request.headers.get(CSRF_HEADER)
    if sent is None and request.headers.get("Content-Type", "").startswith(_FORM):
        sent = (await request.form()).get(CSRF_FIELD)
    return sent.encode() if isinstance(sent, str) else b""


CallerOrNobody = Annotated[Caller | None, Depends(_guarded)]


def require(*roles: Role, scope: Scope | None = None) -> Any:
    """Return the dependency that lets callers of these roles in and hands them on as a `Caller`.

    The key of a program gets in only where `scope` is one that it was made for; without a scope no such key does.

    Use it as `caller: Annotated[Caller, require(Role.READER)]`. Others get `unauthenticated` (401) or `forbidden` (403).
    """

    async def allowed(caller: CallerOrNobody) -> Caller:
        return admitted(caller, roles, scope)

    return Depends(allowed)


def admitted(caller: Caller | None, roles: Collection[Role], scope: Scope | None = None) -> Caller:
    """Return a caller who is of one of these roles, with a key that is for this.

    Raises:
        RefusedError: `unauthenticated` or `forbidden`.
    """
    if caller is None:
        raise RefusedError(Code.UNAUTHENTICATED, "Log in, or send an API key as `Authorization: Bearer …`.")
    if caller.role not in roles:
        raise RefusedError(Code.FORBIDDEN, f"This is for: {', '.join(roles)}. Your role is {caller.role}.")
    if caller.scopes is not None and scope not in caller.scopes:
        raise RefusedError(Code.FORBIDDEN, f"This key is only for: {', '.join(sorted(caller.scopes))}.")
    return caller
