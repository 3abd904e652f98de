"""Adding people, finding them by what they show, and their page sessions."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.enrolment.tables import SiteRow
from registry_api.people.roles import Role
from registry_api.people.tables import CredentialRow, PageSessionRow, PersonRow
from registry_api.units.service import ensure_unit, read_tree

KEY_PREFIX = "acn_"
SESSION_HOURS = 8
_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person just added. `api_key` exists here and nowhere else."""

    person_id: str
    api_key: str


@dataclass(frozen=True, slots=True)
class PageSession:
    """A log-in on the pages: `cookie` goes to the browser, `csrf` into every form."""

    cookie: str
    csrf: str


def secret_sha256(secret: str) -> str:
    """Return the hash a secret is kept as. Our secrets hold 256 random bits, so a plain hash cannot be searched backwards."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_person(
    session: Session, name: str, *, role: Role, now: datetime, region: str | None = None, site: str | None = None
) -> NewPerson:
    """Add a person or program and return the key it will call with.

    Raises:
        InvalidInputError: `bad-request` if the name is empty or too long, a ministry has no region, the role is `service`, or a site
            is given to any role but `hospital`, which needs one; `not-found` if there is no such site.
    """
    if not name.strip() or len(name) > _NAME_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, f"Give a name of 1 to {_NAME_MAX} characters.")
    check_person(session, role, region=region, site=site)
    added = NewPerson(person_id=secrets.token_hex(16), api_key=KEY_PREFIX + secrets.token_urlsafe(32))
    row = PersonRow(
        id=added.person_id,
        name=name.strip(),
        role=role.value,
        region=region,
        site=site,
        key_sha256=secret_sha256(added.api_key),
        created_at=now,
    )
    session.add(row)
    session.flush()
    return added


def check_person(session: Session, role: Role, *, region: str | None, site: str | None) -> None:
    """Hold role, place and hospital of a person against one another.

    Raises:
        InvalidInputError: `bad-request` if a ministry has no region, the role is `service`, or a site is given to any role but
            `hospital`, which needs one; `not-found` if there is no such site.
    """
    if role is Role.SERVICE:
        raise InvalidInputError(Code.BAD_REQUEST, "The service role is the centre's own token; no person can have it.")
    if role is Role.MINISTRY and region is None:
        raise InvalidInputError(
            Code.BAD_REQUEST, "A ministry needs --region: the country or region whose counts it sees."
        )
    if (site is not None) != (role is Role.HOSPITAL):
        raise InvalidInputError(Code.BAD_REQUEST, "Role hospital needs --site, and no other role has one.")
    if site is not None:
        _require_site(session, site)
    if region is not None:
        _require_published(session, region)


def _require_site(session: Session, site: str) -> None:
    if session.get(SiteRow, site) is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {site}. `acinus-registry sites` lists them.")


def _require_published(session: Session, region: str) -> None:
    """Refuse a place of which no counts are published; who belonged there would see nothing."""
    ensure_unit(session, region)
    place = read_tree(session).place_of(region)
    if place != region:
        raise InvalidInputError(
            Code.BAD_REQUEST, f"Counts are published of countries and their regions. {region} is counted in {place}."
        )


def add_reader(session: Session, name: str, *, jurisdiction: str, language: str, now: datetime) -> NewPerson:
    """Add a reader with a licence for `jurisdiction` who reports in `language`."""
    added = add_person(session, name, role=Role.READER, region=None, now=now)
    session.add(CredentialRow(reader_id=added.person_id, jurisdiction=jurisdiction, language=language))
    return added


def disable_person(session: Session, person_id: str, *, now: datetime) -> None:
    """Take a person's key and log-ins away; what they did stays theirs.

    Raises:
        InvalidInputError: `not-found` if there is nobody of that id.
    """
    row = session.get(PersonRow, person_id)
    if row is None:
        raise InvalidInputError(Code.NOT_FOUND, "There is nobody of that id. `acinus-registry people list` shows them.")
    row.disabled_at = now
    session.add(row)
    session.exec(delete(PageSessionRow).where(col(PageSessionRow.person_id) == person_id))


def list_people(session: Session) -> list[PersonRow]:
    """Return everybody, in the order they were added."""
    return list(session.exec(select(PersonRow).order_by(col(PersonRow.created_at), PersonRow.id)))


def person_by_key(session: Session, api_key: str) -> PersonRow | None:
    """Return who has that key, unless they are disabled."""
    found: PersonRow | None = session.execute(_by_key(), {"sha256": secret_sha256(api_key)}).scalar()
    return found


@cache
def _by_key() -> Any:
    """Return the statement. It is made once: every request of a program asks it."""
    return select(PersonRow).where(PersonRow.key_sha256 == bindparam("sha256"), col(PersonRow.disabled_at).is_(None))


def open_page_session(session: Session, person_id: str, *, now: datetime) -> PageSession:
    """Log a person in on the pages, and forget sessions that have expired."""
    session.exec(delete(PageSessionRow).where(col(PageSessionRow.expires_at) <= now))
    opened = PageSession(cookie=secrets.token_urlsafe(32), csrf=secrets.token_urlsafe(32))
    row = PageSessionRow(
        cookie_sha256=secret_sha256(opened.cookie),
        person_id=person_id,
        csrf=opened.csrf,
        expires_at=now + timedelta(hours=SESSION_HOURS),
    )
    session.add(row)
    return opened


def person_by_cookie(session: Session, cookie: str, *, now: datetime) -> tuple[PersonRow, str] | None:
    """Return who is logged in with that cookie and their form token, unless it expired or they are disabled."""
    query = (
        select(PersonRow, PageSessionRow.csrf)
        .join(PageSessionRow, col(PageSessionRow.person_id) == PersonRow.id)
        .where(
            PageSessionRow.cookie_sha256 == secret_sha256(cookie),
            col(PageSessionRow.expires_at) > now,
            col(PersonRow.disabled_at).is_(None),
        )
    )
    return session.exec(query).first()


def close_page_session(session: Session, cookie: str) -> None:
    """Log out: the cookie is worth nothing any more."""
    session.exec(delete(PageSessionRow).where(col(PageSessionRow.cookie_sha256) == secret_sha256(cookie)))
