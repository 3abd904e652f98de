"""What matching must know of a reader: licences with their terms, agreements with hospitals, and how much the reader holds."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.reading import Priority
from protocol.shape import OpaqueId, SiteId, Thumbprint
from registry_api.people.roles import Role
from registry_api.people.tables import AgreementRow, CredentialRow, PersonRow
from registry_api.reading.groups import organisations
from registry_api.reading.lifecycle import HELD
from registry_api.reading.matching import Licence, ReaderProfile
from registry_api.reading.tables import CredentialTermRow, ReaderKeyRow, ReaderRow, ReadRequestRow, SlotRow

_ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Term:
    """From when until when (half-open) a licence holds, and who saw the evidence."""

    valid_from: datetime
    valid_until: datetime
    verified_by: OpaqueId
    verified_at: datetime


def set_term(session: Session, reader_id: OpaqueId, *, jurisdiction: str, term: Term) -> None:
    """Say from when until when the reader's licence in `jurisdiction` holds; an earlier term is replaced.

    Raises:
        InvalidInputError: `not-found` if the reader has no licence there.
    """
    query = select(CredentialRow).where(
        CredentialRow.reader_id == reader_id, CredentialRow.jurisdiction == jurisdiction
    )
    rows = session.exec(query).all()
    if not rows:
        raise InvalidInputError(Code.NOT_FOUND, "This reader has no licence in that jurisdiction. Add it first.")
    for row in rows:
        session.merge(
            CredentialTermRow(
                credential_id=row.id or 0,
                valid_from=term.valid_from,
                valid_until=term.valid_until,
                verified_by=term.verified_by,
                verified_at=term.verified_at,
            )
        )


def set_capacity(
    session: Session, reader_id: OpaqueId, *, home_site: SiteId | None = None, capacity: int = 5, capacity_stat: int = 2
) -> None:
    """Say how many reads the reader may hold at once, and which hospital is the reader's own."""
    row = session.get(ReaderRow, reader_id) or ReaderRow(reader_id=reader_id)
    row.home_site, row.capacity, row.capacity_stat = home_site, capacity, capacity_stat
    session.add(row)
    session.flush()


def remember_key(session: Session, reader_id: OpaqueId, *, site: SiteId, jkt: Thumbprint) -> None:
    """Keep which key the reader uses at `site`, so that the worklist need not ask for it again."""
    session.merge(ReaderKeyRow(reader_id=reader_id, site=site, jkt=jkt))
    session.flush()


def keys_of(session: Session, reader_id: OpaqueId) -> dict[SiteId, Thumbprint]:
    """Return the reader's key at each hospital, as far as it was used from the worklist."""
    rows = session.exec(select(ReaderKeyRow).where(ReaderKeyRow.reader_id == reader_id))
    return {row.site: row.jkt for row in rows}


def wait_turn(session: Session, reader_id: OpaqueId) -> None:
    """Make this reader's claims wait for one another, so that two at once cannot pass the capacity together.

    PostgreSQL locks the row; on SQLite a writing transaction is alone anyway.
    """
    session.exec(select(PersonRow.id).where(PersonRow.id == reader_id).with_for_update())


def profile(session: Session, reader_id: OpaqueId) -> ReaderProfile:
    """Return the reader as matching needs it.

    Raises:
        RefusedError: `forbidden` if the person is no reader.
    """
    person = session.get(PersonRow, reader_id)
    if person is None or person.role != Role.READER.value or person.disabled_at is not None:
        raise RefusedError(Code.FORBIDDEN, "You are not a reader of this network. The coordinator adds readers.")
    row = session.get(ReaderRow, reader_id) or ReaderRow(reader_id=reader_id)
    held, held_stat = _held(session, reader_id)
    licences, languages = _credentials(session, reader_id)
    return ReaderProfile(
        reader_id=reader_id,
        licences=licences,
        languages=languages,
        agreements=_agreements(session, reader_id),
        home_site=row.home_site,
        held=held,
        held_stat=held_stat,
        capacity=row.capacity,
        capacity_stat=row.capacity_stat,
        organisations=organisations(reader_id, row),
    )


def _credentials(session: Session, reader_id: OpaqueId) -> tuple[tuple[Licence, ...], frozenset[str]]:
    """Return the licences with their terms, and the languages."""
    rows = session.exec(select(CredentialRow).where(CredentialRow.reader_id == reader_id)).all()
    query = select(CredentialTermRow).where(col(CredentialTermRow.credential_id).in_([row.id for row in rows]))
    spans = {term.credential_id: (term.valid_from, term.valid_until) for term in session.exec(query)}
    licences = tuple(Licence(row.jurisdiction, *spans.get(row.id or 0, _ALWAYS)) for row in rows)
    return licences, frozenset(row.language for row in rows)


def _agreements(session: Session, reader_id: OpaqueId) -> frozenset[SiteId]:
    return frozenset(session.exec(select(AgreementRow.site).where(AgreementRow.reader_id == reader_id)))


def _held(session: Session, reader_id: OpaqueId) -> tuple[int, int]:
    """Count the slots that the reader holds: all, and those that are stat."""
    query = (
        select(ReadRequestRow.priority, func.count())
        .join(SlotRow, col(SlotRow.request_id) == ReadRequestRow.request_id)
        .where(SlotRow.reader_id == reader_id, col(SlotRow.state).in_([state.value for state in HELD]))
        .group_by(ReadRequestRow.priority)
    )
    counts = dict(session.exec(query).all())
    return sum(counts.values()), counts.get(Priority.STAT.value, 0)
