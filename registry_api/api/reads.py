"""Routes of the reading exchange: what is to be read, claims, heartbeats, grants, signatures, reassignment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.reading import GrantScope
from protocol.shape import OpaqueId, Sha256, SiteId, Thumbprint
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.api.errand import Errand, ErrandRoute, errand
from registry_api.api.reach import sites_of
from registry_api.loops import keep_on
from registry_api.people.roles import Role
from registry_api.reading import claims, turns
from registry_api.reading.claims import Claim
from registry_api.reading.escalation import escalate
from registry_api.reading.grants import GrantSigner, make_grant, renew_grant, revoke_grant
from registry_api.reading.heartbeats import heartbeat
from registry_api.reading.lifecycle import State
from registry_api.reading.offers import ReadView, all_reads, offered, one_read, open_reads
from registry_api.reading.reassignment import reassign
from registry_api.reading.reviews import draw
from registry_api.reading.turns import SkipReason
from registry_api.runtime import Runtime

SWEEP_SECONDS = 5.0
"""How often leases and clocks are looked at when nobody asks; a claim looks at leases by itself."""


@asynccontextmanager
async def _sweeping(app: FastAPI) -> AsyncIterator[None]:
    """Take back lapsed leases and escalate what waits, for as long as the registry serves."""
    sweep = partial(asyncio.to_thread, _sweep_once, app.state.runtime)
    sweeper = asyncio.create_task(keep_on("reads", sweep, every_seconds=SWEEP_SECONDS))
    yield
    sweeper.cancel()


def _sweep_once(runtime: Runtime) -> None:
    with runtime.database.writing() as session:
        claims.sweep(session, now=runtime.clock())
        escalate(session, now=runtime.clock())
        draw(session, percent=runtime.settings.reading.peer_review_percent, now=runtime.clock())


router = APIRouter(prefix="/v1", lifespan=_sweeping, route_class=ErrandRoute)

ReaderCaller = Annotated[Caller, require(Role.READER)]
ReaderErrand = Annotated[Errand, errand(Role.READER)]
ClaimId = Annotated[OpaqueId, Path()]


class GrantCreate(BaseModel):
    """Which key the grant is bound to (its RFC 7638 thumbprint), and what it lets its reader do."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jkt: Thumbprint
    scope: GrantScope = GrantScope.REPORT


class Signature(BaseModel):
    """Which report is signed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    report_sha256: Sha256


class Reassignment(BaseModel):
    """Who shall read instead; without a name, whoever claims it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reader_id: OpaqueId | None = None


class Skip(BaseModel):
    """Why the next case is left to others."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reason: SkipReason


class ClaimAnswer(BaseModel):
    """A claim as its holder sees it; `fence` is also the ETag."""

    claim_id: OpaqueId
    request_id: OpaqueId
    fence: int
    state: State
    lease_until: datetime | None


class NextAnswer(BaseModel):
    """The reader's next case, None if nothing waits for them."""

    read: ReadView | None
    skips_left: int


class GrantAnswer(BaseModel):
    """Where to take the token: `POST {gateway}/session`, or `{gateway}/session#{token}` in a browser.

    `gateway_pin` is the SHA-256 of the gateway's public key: a program that compares it is not deceived by any certificate.
    """

    token: str
    gateway: str
    gateway_pin: str | None
    request_id: OpaqueId
    expires_at: datetime


def fence_of(if_match: str) -> int:
    """Return the fence in `If-Match`, with or without quotation marks.

    Raises:
        InvalidInputError: `bad-request` if it is no number.
    """
    value = if_match.strip().removeprefix('"').removesuffix('"')
    if not (value.isascii() and value.isdecimal()):
        raise InvalidInputError(Code.BAD_REQUEST, 'Send the claim\'s fence as `If-Match`, such as `If-Match: "1"`.')
    return int(value)


@router.get("/reads")
def list_reads(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.READER, Role.COORDINATOR)],
    eligible: Annotated[str | None, Query(pattern="^me$")] = None,
) -> list[ReadView]:
    """List what waits for a reader, in order. `eligible=me` leaves out what this reader may not claim."""
    if caller.role is Role.COORDINATOR:
        return all_reads(session, sites=sites_of(session, caller))
    return open_reads(session, caller.person_id, now=runtime.clock(), eligible_only=eligible is not None)


@router.get("/reads/next")
async def read_next(runtime: RuntimeDep, errand: ReaderErrand) -> NextAnswer:
    """Return the reader's next case, if there is one, and how often the reader may still leave one to others."""

    def look(session: Session, caller: Caller) -> NextAnswer:
        first = turns.next_case(session, caller.person_id, now=runtime.clock())
        read = offered(session, first, caller.person_id) if first is not None else None
        return NextAnswer(read=read, skips_left=turns.skips_left(session, caller.person_id))

    return await errand.run(look)


@router.post("/reads/{request_id}:skip", status_code=204)
def skip_read(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    request_id: Annotated[OpaqueId, Path()],
    wish: Skip,
) -> None:
    """Leave the next case to others, with the reason."""
    turns.skip(session, request_id, caller.person_id, reason=wish.reason, now=runtime.clock())


@router.get("/reads/{request_id}")
def read_one(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.READER, Role.COORDINATOR)],
    request_id: Annotated[OpaqueId, Path()],
) -> ReadView:
    """Return one request with its slots and what happened to them."""
    reader_id, sites = _sight(session, caller)
    return one_read(session, request_id, reader_id, now=runtime.clock(), sites=sites)


@router.post("/reads/{request_id}/claims", status_code=201)
async def create_claim(
    runtime: RuntimeDep,
    errand: ReaderErrand,
    request_id: Annotated[OpaqueId, Path()],
    response: Response,
    reason: SkipReason = SkipReason.CHOSE_ANOTHER,
) -> ClaimAnswer:
    """Claim an open slot; of any number of readers at once, one gets it. `reason` says why it is not the next case, if it is not."""

    def take(session: Session, caller: Caller) -> Claim:
        return turns.take(session, request_id, caller.person_id, now=runtime.clock(), reason=reason)

    return _answer(await errand.run(take), response)


@router.post("/reads/{request_id}/slots/{number}:reassign")
def reassign_slot(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.COORDINATOR)],
    request_id: Annotated[OpaqueId, Path()],
    number: Annotated[int, Path(ge=1, le=1000)],
    wish: Reassignment,
) -> ReadView:
    """Take a read from its reader, and give it to the one who is named or back to everybody."""
    sites = sites_of(session, caller)
    reassign(session, request_id, number, reader_id=wish.reader_id, now=runtime.clock(), sites=sites)
    return one_read(session, request_id, None, now=runtime.clock())


@router.put("/claims/{claim_id}/heartbeat")
async def put_heartbeat(
    runtime: RuntimeDep, errand: ReaderErrand, claim_id: ClaimId, response: Response
) -> ClaimAnswer:
    """Say that the reader is still there; once a minute is right. A grant that is half over is renewed at the hospital."""

    def beat(session: Session, caller: Caller) -> Claim:
        now = runtime.clock()
        held = heartbeat(session, claim_id, caller.person_id, now=now)
        renew_grant(session, claim_id, caller.person_id, signer=GrantSigner(runtime.grant_key), now=now)
        return held

    return _answer(await errand.run(beat), response)


@router.post("/claims/{claim_id}/grants", status_code=201)
def create_grant(
    runtime: RuntimeDep, session: SessionDep, caller: ReaderCaller, claim_id: ClaimId, wish: GrantCreate
) -> GrantAnswer:
    """Make a grant of ten minutes, bound to the reader's key."""
    issued = make_grant(
        session,
        claim_id,
        caller.person_id,
        jkt=wish.jkt,
        scope=wish.scope,
        signer=GrantSigner(runtime.grant_key),
        now=runtime.clock(),
    )
    return GrantAnswer(
        token=issued.token,
        gateway=issued.gateway,
        gateway_pin=issued.gateway_pin,
        request_id=issued.request_id,
        expires_at=issued.expires_at,
    )


@router.delete("/grants/{jti}", status_code=204)
def delete_grant(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: Annotated[Caller, require(Role.READER, Role.COORDINATOR)],
    jti: Annotated[OpaqueId, Path()],
) -> None:
    """Make a grant void at once; the node is told over the link."""
    reader_id, sites = _sight(session, caller)
    revoke_grant(session, jti, reader_id=reader_id, now=runtime.clock(), sites=sites)


@router.post("/claims/{claim_id}:release", status_code=204)
def release_claim(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: ClaimId,
    if_match: Annotated[str, Header()],
) -> None:
    """Give the slot back, so that another reader can take it."""
    claims.release(session, claim_id, caller.person_id, fence=fence_of(if_match), now=runtime.clock())


@router.post("/claims/{claim_id}:sign")
def sign_claim(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: ClaimId,
    signature: Signature,
    if_match: Annotated[str, Header()],
) -> dict[str, State]:
    """Sign the report that the hospital holds under this claim."""
    state = claims.sign(
        session,
        claim_id,
        caller.person_id,
        fence=fence_of(if_match),
        report_sha256=signature.report_sha256,
        now=runtime.clock(),
    )
    return {"state": state}


@router.post("/claims/{claim_id}:amend")
def amend_claim(
    runtime: RuntimeDep,
    session: SessionDep,
    caller: ReaderCaller,
    claim_id: ClaimId,
    if_match: Annotated[str, Header()],
    response: Response,
) -> ClaimAnswer:
    """Open a signed report again: for two hours the claim is good for grants, a new version and its signature."""
    claim = claims.amend(session, claim_id, caller.person_id, fence=fence_of(if_match), now=runtime.clock())
    return _answer(claim, response)


def _sight(session: Session, caller: Caller) -> tuple[OpaqueId | None, frozenset[SiteId] | None]:
    """Return whose reads the caller sees: a reader's own and what may be claimed, a coordinator's by place."""
    return (None, sites_of(session, caller)) if caller.role is Role.COORDINATOR else (caller.person_id, None)


def _answer(claim: Claim, response: Response) -> ClaimAnswer:
    response.headers["ETag"] = f'"{claim.fence}"'
    return ClaimAnswer(
        claim_id=claim.claim_id,
        request_id=claim.request_id,
        fence=claim.fence,
        state=claim.state,
        lease_until=claim.lease_until,
    )
