"""One-time invites: written, revoked, used once."""

import secrets
from datetime import datetime, timedelta

from sqlmodel import Session, col, update

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from registry_api.enrolment.tables import InviteRow, SiteRow
from registry_api.people.service import secret_sha256
from registry_api.units.service import ensure_unit


def create_invite(session: Session, *, site: str, region: str, hours: float, now: datetime) -> str:
    """Write an invite for `site` and return its token. Earlier unused invites of the site end.

    Raises:
        ConflictError: `already-exists` if the site is known in another region.
    """
    row = session.get(SiteRow, site)
    if row is not None and row.region != region:
        raise ConflictError(
            Code.ALREADY_EXISTS, f"{site} is already known, in region {row.region}. Use that region or another name."
        )
    if row is None:
        ensure_unit(session, region)
        session.add(SiteRow(site=site, region=region))
        session.flush()
    end_invites(session, site, now=now)
    token = secrets.token_urlsafe(32)
    session.add(InviteRow(token_sha256=secret_sha256(token), site=site, expires_at=now + timedelta(hours=hours)))
    return token


def revoke_invites(session: Session, site: str, *, now: datetime) -> int:
    """End the unused invites of `site` and return how many there were.

    Raises:
        InvalidInputError: `not-found` if there was none.
    """
    ended = end_invites(session, site, now=now)
    if not ended:
        raise InvalidInputError(Code.NOT_FOUND, f"{site} has no invite that is open.")
    return ended


def end_invites(session: Session, site: str, *, now: datetime) -> int:
    """End the unused invites of `site`, if there are any, and return how many there were."""
    result = session.exec(
        update(InviteRow)
        .where(col(InviteRow.site) == site, col(InviteRow.used_at).is_(None), col(InviteRow.revoked_at).is_(None))
        .values(revoked_at=now)
    )
    return int(result.rowcount)


def use_invite(session: Session, token: str, *, now: datetime) -> SiteRow:
    """Use the invite up and return the site it is for.

    One UPDATE decides, so of any number of simultaneous tries exactly one goes on. If the caller's transaction is
    undone afterwards (a damaged signing request), the invite is unused again.

    Raises:
        ConflictError: `invite-used` if it was used before.
        RefusedError: `invite-invalid` if it is unknown, expired or revoked.
    """
    token_sha256 = secret_sha256(token)
    used = session.exec(
        update(InviteRow)
        .where(
            col(InviteRow.token_sha256) == token_sha256,
            col(InviteRow.used_at).is_(None),
            col(InviteRow.revoked_at).is_(None),
            col(InviteRow.expires_at) > now,
        )
        .values(used_at=now)
    )
    row = session.get(InviteRow, token_sha256)
    if row is not None and used.rowcount == 1:
        return session.get_one(SiteRow, row.site)
    if row is not None and row.used_at is not None:
        raise ConflictError(Code.INVITE_USED, "This invite was used before. Ask the coordinator for a new one.")
    raise RefusedError(
        Code.INVITE_INVALID, "The invite is unknown, expired or revoked. Ask the coordinator for a new one."
    )
