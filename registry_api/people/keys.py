"""Further API keys of a person: for one program each, limited in what they open and how long, ended one by one."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.people.roles import Role, Scope
from registry_api.people.service import KEY_PREFIX, person_by_key, secret_sha256
from registry_api.people.tables import ApiKeyRow, PersonRow

PREFIX_LENGTH = len(KEY_PREFIX) + 6
"""So much of a key is kept in the clear, for a person to tell keys apart: 36 of its 256 random bits."""

_LABEL_MAX = 100

OPENS: dict[Role, frozenset[Scope]] = {
    Role.COORDINATOR: frozenset({Scope.COUNTS, Scope.READ_LOG, Scope.ALERTS}),
    Role.MINISTRY: frozenset({Scope.COUNTS, Scope.ALERTS}),
    Role.AUDITOR: frozenset({Scope.COUNTS, Scope.READ_LOG}),
    Role.HOSPITAL: frozenset({Scope.QUALITY, Scope.READ_LOG}),
    Role.READER: frozenset(),
}
"""What a key of a role may be made for; the reading exchange is for people, who log in."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `api_key` exists here and nowhere else."""

    key_id: str
    api_key: str


def add_key(
    session: Session, person_id: str, *, label: str, scopes: Collection[Scope], days: int | None, now: datetime
) -> NewKey:
    """Make a key for a program of a person's.

    Args:
        session: A writing one.
        person_id: Whose.
        label: What the program is called.
        scopes: What the key opens; nothing else does it open, whatever its person may.
        days: How long it lives; None until it is revoked.
        now: The time.

    Raises:
        InvalidInputError: `not-found` if there is no such active person, `bad-request` for a label or scopes that cannot be.
    """
    person = session.get(PersonRow, person_id)
    if person is None or person.disabled_at is not None:
        raise InvalidInputError(Code.NOT_FOUND, "There is nobody of that id. `acinus-registry people list` shows them.")
    if not label.strip() or len(label) > _LABEL_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, f"Give the program a name of 1 to {_LABEL_MAX} characters.")
    allowed = OPENS.get(Role(person.role), frozenset())
    if not scopes or set(scopes) - allowed:
        raise InvalidInputError(
            Code.BAD_REQUEST,
            f"A key of role {person.role} is for: {', '.join(sorted(allowed)) or 'nothing'}. Say so by --scope.",
        )
    made = NewKey(key_id=secrets.token_hex(16), api_key=KEY_PREFIX + secrets.token_urlsafe(32))
    row = ApiKeyRow(
        id=made.key_id,
        person_id=person_id,
        label=label.strip(),
        prefix=made.api_key[:PREFIX_LENGTH],
        key_sha256=secret_sha256(made.api_key),
        scopes=",".join(sorted(scopes)),
        created_at=now,
        expires_at=None if days is None else now + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return made


def list_keys(session: Session, person_id: str | None = None) -> list[ApiKeyRow]:
    """Return the further keys of everybody or of one person, oldest first; the keys themselves are not known."""
    query = select(ApiKeyRow).order_by(col(ApiKeyRow.created_at), ApiKeyRow.id)
    if person_id is not None:
        query = query.where(ApiKeyRow.person_id == person_id)
    return list(session.exec(query))


def revoke_key(session: Session, key_id: str, *, now: datetime) -> None:
    """End a key; what was read with it stays in the log.

    Raises:
        InvalidInputError: `not-found` if there is no such key.
    """
    row = session.get(ApiKeyRow, key_id)
    if row is None:
        raise InvalidInputError(Code.NOT_FOUND, "There is no key of that id. `acinus-registry keys list` shows them.")
    row.revoked_at = row.revoked_at or now
    session.add(row)


def caller_by_key(session: Session, api_key: str, *, now: datetime) -> tuple[PersonRow, frozenset[Scope] | None] | None:
    """Return whose key that is and what it opens: None stands for all that the person may, as their own key does.

    A key that is revoked or expired, and a key of somebody who was removed, is nobody's.
    """
    person = person_by_key(session, api_key)
    if person is not None:
        return person, None
    query = (
        select(PersonRow, ApiKeyRow)
        .join(ApiKeyRow, col(ApiKeyRow.person_id) == PersonRow.id)
        .where(
            ApiKeyRow.key_sha256 == secret_sha256(api_key),
            col(ApiKeyRow.revoked_at).is_(None),
            col(PersonRow.disabled_at).is_(None),
        )
    )
    found = session.exec(query).first()
    if found is None or (found[1].expires_at is not None and found[1].expires_at <= now):
        return None
    return found[0], frozenset(Scope(scope) for scope in found[1].scopes.split(","))
