"""Grants: a reader's leave to see one study at one node for at most ten minutes, bound to the reader's own key.

The centre signs; it cannot let anybody in by that alone, because the node also asks for a proof by a key that the *hospital* approved.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OKPKey
from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError, UnavailableError
from protocol.reading import GRANT_SECONDS_MAX, GrantClaims, GrantRenewed, GrantRevoked, GrantScope
from protocol.shape import OpaqueId, RegionCode, SiteId, Thumbprint
from registry_api.database import UtcDateTime, among, ask, lines, row_table
from registry_api.enrolment.tables import SiteRow
from registry_api.reading.claims import held_slot
from registry_api.reading.lifecycle import HELD, Purpose
from registry_api.reading.matching import may_go_on
from registry_api.reading.readers import profile, remember_key
from registry_api.reading.slots import request_of, tell
from registry_api.reading.tables import ClaimRow, GrantRow, ReadRequestRow, SlotRow

ALGORITHM = "Ed25519"
"""RFC 9864's full name of EdDSA on this curve; nothing else is signed with or accepted."""

RENEW_BEFORE = timedelta(seconds=GRANT_SECONDS_MAX // 2)
"""A reader who is still there gets a fresh grant once less than this is left: a lost heartbeat or two cost nobody their read."""

TOKEN_TYPE = "acinus-grant+jwt"  # noqa: S105 - the `typ` header, so that no other token of the centre can pass for a grant


@dataclass(frozen=True, slots=True)
class Issued:
    """What a reader needs to open the study: the token, where to take it, and by which key to know that place."""

    token: str
    gateway: str
    gateway_pin: str | None
    request_id: OpaqueId
    expires_at: datetime


class GrantSigner:
    """Signs grants with the centre's grant key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = OKPKey.import_key(key)

    def sign(self, claims: GrantClaims) -> str:
        """Return the grant as a compact JWT."""
        content = claims.model_dump(mode="json", exclude={"cnf_jkt"}) | {"cnf": {"jkt": claims.cnf_jkt}}
        return jwt.encode({"alg": ALGORITHM, "typ": TOKEN_TYPE}, content, self._key, algorithms=[ALGORITHM])


def make_grant(  # noqa: PLR0913 - who, under which claim, by which key, how much
    session: Session,
    claim_id: OpaqueId,
    reader_id: OpaqueId,
    *,
    jkt: Thumbprint,
    signer: GrantSigner,
    now: datetime,
    scope: GrantScope = GrantScope.REPORT,
) -> Issued:
    """Make a grant under a live claim. Who peer reviews may look and not report.

    Raises:
        ConflictError: `stale-fence` if the claim has ended.
        RefusedError: `forbidden` if licence, agreement or privilege have ended since.
    """
    slot, request = held_slot(session, claim_id, reader_id, now=now)
    scope = GrantScope.VIEW if slot.purpose == Purpose.REVIEW.value else scope
    under = _Under(claim_id, reader_id, slot.request_id, slot.fence, request.site, request.jurisdiction)
    token, expires_at = _issue(session, under, jkt=jkt, scope=scope, signer=signer, now=now)
    gateway, pin = _gateway(session, request.site)
    remember_key(session, reader_id, site=request.site, jkt=jkt)
    return Issued(token, gateway, pin, slot.request_id, expires_at)


@dataclass(frozen=True, slots=True)
class _Under:
    """What a grant says of the claim under which it is made, and where the patient is."""

    claim_id: OpaqueId
    reader_id: OpaqueId
    request_id: OpaqueId
    fence: int
    site: SiteId
    jurisdiction: RegionCode


def _issue(
    session: Session, under: _Under, *, jkt: Thumbprint, scope: GrantScope, signer: GrantSigner, now: datetime
) -> tuple[str, datetime]:
    """Make a grant, write it down, and return the token and when it ends.

    Raises:
        RefusedError: `forbidden` if licence, agreement or privilege have ended.
    """
    if not may_go_on(profile(session, under.reader_id), under.site, under.jurisdiction, now):
        raise RefusedError(
            Code.FORBIDDEN, "Your licence there, your agreement with the hospital or its privilege is no longer valid."
        )
    issued_s = int(now.timestamp())
    claims = GrantClaims(
        aud=under.site,
        sub=under.reader_id,
        jti=secrets.token_hex(16),
        claim_id=under.claim_id,
        request_id=under.request_id,
        fence=under.fence,
        scope=scope,
        cnf_jkt=jkt,
        iat=issued_s,
        nbf=issued_s,
        exp=issued_s + GRANT_SECONDS_MAX,
    )
    expires_at = now + timedelta(seconds=GRANT_SECONDS_MAX)
    values = {"jti": claims.jti, "claim_id": under.claim_id, "jkt": jkt, "expires_at": expires_at}
    ask(session, sa.insert(row_table(GrantRow)), **values)
    return signer.sign(claims), expires_at


def renew_grant(
    session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, signer: GrantSigner, now: datetime
) -> bool:
    """Send the node a fresh grant for a reader who is still there, once the last one is half over; return whether it was time.

    It goes over the link, never through the reader. The node lets a session that stands go on by it, and never more than that
    session may: the scope is the node's to keep. Whether the claim still holds is asked of the heartbeat before.
    """
    last = next(iter(lines(session, _last(), claim_id=claim_id, reader_id=reader_id, now=now)), None)
    if last is None or last.expires_at - now > RENEW_BEFORE:
        return False
    under = _Under(claim_id, reader_id, last.request_id, last.fence, last.site, last.jurisdiction)
    scope = GrantScope.VIEW if last.purpose == Purpose.REVIEW.value else GrantScope.REPORT
    try:
        token, _ = _issue(session, under, jkt=last.jkt, scope=scope, signer=signer, now=now)
    except RefusedError:  # licence or agreement ended: the last grant runs out, the heartbeat is heard all the same
        return False
    tell(session, last.site, GrantRenewed(token=token))
    return True


def revoke_grant(
    session: Session,
    jti: OpaqueId,
    *,
    reader_id: OpaqueId | None,
    now: datetime,
    sites: Collection[SiteId] | None = None,
) -> None:
    """Make a grant void, with those that renewed it, and tell the node. Doing it twice changes nothing.

    Args:
        session: The transaction.
        jti: The grant's id.
        reader_id: Whose grant it must be; None for the coordinator, who may revoke any.
        now: The time.
        sites: At whose reads it must be; None is any, which a coordinator of a place may not revoke.

    Raises:
        InvalidInputError: `not-found` if there is no such grant of this reader.
    """
    row = session.get(GrantRow, jti)
    claim = session.get(ClaimRow, row.claim_id) if row is not None else None
    if row is None or claim is None or reader_id not in {None, claim.reader_id}:
        raise InvalidInputError(Code.NOT_FOUND, "There is no grant with this id.")
    site = request_of(session, claim.request_id, sites=sites).site
    _hold_renewals(session, claim.claim_id)
    for one in (row, *_standing(session, claim.claim_id, now, jkt=row.jkt)):
        if one.revoked_at is None:
            one.revoked_at = now
            session.add(one)
            tell(session, site, GrantRevoked(jti=one.jti))


@cache
def _last() -> Any:
    """Return the statement that finds the grant under a live claim that ends last, of those that hold, and what a renewal says. It is made once."""
    grants, claims, slots, requests, sites = (
        row_table(row) for row in (GrantRow, ClaimRow, SlotRow, ReadRequestRow, SiteRow)
    )
    grant, slot, site, now = grants.c, slots.c, sites.c, bindparam("now", type_=UtcDateTime)
    live = among(slot.state, HELD) & (slot.lease_until > now) | (slot.amend_until > now)
    return (
        sa.select(
            grant.jkt, grant.expires_at, slot.request_id, slot.fence, slot.purpose, slot.site, requests.c.jurisdiction,
        )
        .select_from(grants)
        .join(claims, claims.c.claim_id == grant.claim_id)
        .join(slots, slot.claim_id == grant.claim_id)
        .join(requests, requests.c.request_id == slot.request_id)
        .join(sites, site.site == slot.site)
        .where(grant.claim_id == bindparam("claim_id"), claims.c.reader_id == bindparam("reader_id"))
        .where(grant.revoked_at.is_(None), grant.expires_at > now, live)
        .where(site.enrolled_at.is_not(None), site.revoked_at.is_(None), site.gateway_origin.is_not(None))
        .order_by(grant.expires_at.desc())
        .limit(1)
    )  # fmt: skip


def _hold_renewals(session: Session, claim_id: OpaqueId) -> None:
    """Let no heartbeat renew a grant until the transaction ends: PostgreSQL locks the slot, as a heartbeat does; SQLite has one writer."""
    session.exec(select(SlotRow.number).where(SlotRow.claim_id == claim_id).with_for_update()).first()


def _standing(
    session: Session, claim_id: OpaqueId, now: datetime, *, jkt: Thumbprint | None = None
) -> Sequence[GrantRow]:
    """Return the grants under a claim that hold now, of one key where it is given."""
    query = select(GrantRow).where(
        GrantRow.claim_id == claim_id, col(GrantRow.revoked_at).is_(None), col(GrantRow.expires_at) > now
    )
    return session.exec(query if jkt is None else query.where(GrantRow.jkt == jkt)).all()


def _gateway(session: Session, site: SiteId) -> tuple[str, str | None]:
    """Return where the site's gateway answers, and the pin of its key, which its node brought when it enrolled."""
    row = session.get(SiteRow, site)
    if row is None or not row.active or row.gateway_origin is None:
        raise UnavailableError(
            Code.PEER_UNREACHABLE, "The hospital's gateway is not enrolled at the moment. Try later."
        )
    return row.gateway_origin, row.gateway_pin
