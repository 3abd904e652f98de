"""Further API keys of a person: for one program each, limited in what they open and how long, ended one by one."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.database import lines, row_table
from registry_api.people.roles import Role, Scope
from registry_api.people.service import KEY_PREFIX, secret_sha256
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


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key that is, and what it opens: None stands for all that the person may, as their own key does."""

    id: str
    name: str
    role: str
    region: str | None
    site: str | None
    scopes: frozenset[Scope] | None


def caller_by_key(session: Session, api_key: str, *, now: datetime) -> Holder | None:
    """Return whose key that is. A key that is revoked or expired, and a key of somebody who was removed, is nobody's."""
    found = next(iter(lines(session, _holder(), sha256=secret_sha256(api_key))), None)
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        return None
    scopes = None if found.scopes is None else frozenset(Scope(scope) for scope in found.scopes.split(","))
    return Holder(found.id, found.name, found.role, found.region, found.site, scopes)


@cache
def _holder() -> Any:
    """Return the statement that finds the person of a key, their own or one of a program. It is made once: every request of a program asks it."""
    people, keys = row_table(PersonRow), row_table(ApiKeyRow)
    person, key = people.c, keys.c
    sought: Any = bindparam("sha256")
    whose = person.id, person.name, person.role, person.region, person.site
    never = person.disabled_at.label("expires_at")  # empty, and of the type that the column needs
    own = sa.select(*whose, sa.null().label("scopes"), never).where(
        person.key_sha256 == sought, person.disabled_at.is_(None)
    )
    of_program = (
        sa.select(*whose, key.scopes, key.expires_at)
        .join_from(people, keys, key.person_id == person.id)
        .where(key.key_sha256 == sought, key.revoked_at.is_(None), person.disabled_at.is_(None))
    )
    return sa.union_all(own, of_program)
