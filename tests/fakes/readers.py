"""Readers who may read: licence verified, agreement written down, privilege granted by the hospital's own word."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlmodel import Session

from protocol.reading import ReaderPrivilege, StudyKind
from registry_api.people.service import NewPerson, add_reader
from registry_api.reading.agreements import agree_with_reader
from registry_api.reading.credentials import Term, set_term
from registry_api.reading.privileges import accept_privilege

YEAR = timedelta(days=365)


def ready_reader(
    session: Session,
    name: str = "Reader",
    *,
    sites: Iterable[str] = ("northport",),
    jurisdiction: str = "XA",
    now: datetime,
) -> NewPerson:
    """Add a reader who may read for `sites`."""
    person = add_reader(session, name, jurisdiction=jurisdiction, language="en", now=now)
    session.flush()
    set_term(session, person.person_id, jurisdiction=jurisdiction, term=a_term(now))
    for site in sites:
        agree_with_reader(session, site=site, reader_id=person.person_id, now=now)
        privilege(session, person.person_id, site=site, now=now)
    return person


def a_term(now: datetime, *, until: datetime | None = None) -> Term:
    """A term from a year ago to `until` (a year ahead), whose verifier nobody asks about."""
    return Term(now - YEAR, until or now + YEAR, verified_by="c" * 32, verified_at=now, evidence="register:4711")


def privilege(
    session: Session,
    reader_id: str,
    *,
    now: datetime,
    site: str = "northport",
    granted: bool = True,
    version: int = 1,
    until: datetime | None = None,
    studies: tuple[StudyKind, ...] = tuple(StudyKind),
) -> None:
    """Let the hospital's word arrive."""
    end = until.strftime("%Y-%m-%dT%H:%M:%SZ") if until is not None else None
    word = ReaderPrivilege(reader_id=reader_id, granted=granted, version=version, valid_until=end, studies=studies)
    accept_privilege(session, site, word, now)
