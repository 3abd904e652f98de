"""What matching must know of readers: credentials, agreements, privileges, shifts, and how much each holds. Few queries however many readers."""

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, select

from protocol.codes import Code
from protocol.errors import InvalidInputError, RefusedError
from protocol.reading import Priority
from protocol.shape import OpaqueId, SiteId, Thumbprint
from registry_api.database import lines, row_table
from registry_api.enrolment.tables import SiteRow
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.dossier import Dossier, dossiers
from registry_api.reading.groups import organisations
from registry_api.reading.matching import ReaderProfile
from registry_api.reading.own_row import own_row
from registry_api.reading.shifts import Declaration, Shift
from registry_api.reading.tables import ReaderKeyRow, ReaderRow, ShiftRow


def set_capacity(
    session: Session,
    reader_id: OpaqueId,
    *,
    home_site: SiteId | None = None,
    capacity: int | None = None,
    capacity_stat: int | None = None,
) -> ReaderRow:
    """Say how many reads the reader may hold at once and which hospital is the reader's own. None leaves a value, "" is no hospital.

    Raises:
        InvalidInputError: `not-found` if there is no such hospital.
    """
    if home_site and session.get(SiteRow, home_site) is None:
        raise InvalidInputError(Code.NOT_FOUND, f"There is no site {home_site}. `acinus-registry sites` lists them.")
    row = own_row(session, reader_id)
    row.home_site = row.home_site if home_site is None else home_site or None
    row.capacity = row.capacity if capacity is None else capacity
    row.capacity_stat = row.capacity_stat if capacity_stat is None else capacity_stat
    session.add(row)
    session.flush()
    return row


def remember_key(session: Session, reader_id: OpaqueId, *, site: SiteId, jkt: Thumbprint) -> None:
    """Keep which key the reader uses at `site`, so that the worklist need not ask for it again.

    One statement, since two reads of a reader at one hospital may renew their first grants at the same moment.
    """
    session.flush()  # the reader may be new too
    connection = session.connection()
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(ReaderKeyRow).values(reader_id=reader_id, site=site, jkt=jkt)
    connection.execute(statement.on_conflict_do_update(index_elements=["reader_id", "site"], set_={"jkt": jkt}))


def keys_of(session: Session, reader_id: OpaqueId) -> dict[SiteId, Thumbprint]:
    """Return the reader's key at each hospital, as far as it was used from the worklist."""
    rows = session.exec(select(ReaderKeyRow).where(ReaderKeyRow.reader_id == reader_id))
    return {row.site: row.jkt for row in rows}


def wait_turn(session: Session, reader_id: OpaqueId) -> None:
    """Make this reader's claims wait for one another, so that two at once cannot pass the capacity together.

    PostgreSQL locks the row; on SQLite a writing transaction is alone anyway.
    """
    if session.get_bind().dialect.name != "sqlite":
        session.exec(select(PersonRow.id).where(PersonRow.id == reader_id).with_for_update())


def profile(session: Session, reader_id: OpaqueId) -> ReaderProfile:
    """Return the reader as matching needs it.

    Raises:
        RefusedError: `forbidden` if the person is no reader.
    """
    found = profiles(session, reader_id)
    if not found:
        raise RefusedError(Code.FORBIDDEN, "You are not a reader of this network. The coordinator adds readers.")
    return found[0]


def profiles(session: Session, reader_id: OpaqueId | None = None) -> list[ReaderProfile]:
    """Return one reader (a list of one, or an empty one), or with None every reader of the network, by id."""
    values = {} if reader_id is None else {"reader_id": reader_id}
    rows = lines(session, _readers(reader_id is not None), **values)
    known = [(row.id, row if row.reader_id is not None else ReaderRow(reader_id=row.id)) for row in rows]
    files = dossiers(session, reader_id) if known else {}
    return [_profile(one, row, files[one]) for one, row in known]


@cache
def _readers(one: bool) -> Any:
    """Return the statement. It is made once: that costs as much as running it."""
    people, readers = row_table(PersonRow), row_table(ReaderRow)
    query = (
        sa.select(people.c.id, *readers.columns)
        .select_from(people)
        .outerjoin(readers, readers.c.reader_id == people.c.id)
        .where(people.c.role == Role.READER.value, people.c.disabled_at.is_(None))
    )
    query = query.where(people.c.id == bindparam("reader_id")) if one else query
    return query.order_by(people.c.id)


def _profile(reader_id: OpaqueId, row: Any, file: Dossier) -> ReaderProfile:
    agreed = file.agreements
    return ReaderProfile(
        reader_id=reader_id,
        licences=tuple(file.licences),
        languages=frozenset(file.languages),
        agreements=frozenset(agreed),
        privileges=frozenset(file.privileges),
        privilege_ends=file.privilege_ends,
        privilege_studies=file.privilege_studies,
        unverified=frozenset(file.unverified),
        trainings=tuple(file.trainings),
        agreement_ends={site: one.ends for site, one in agreed.items() if one.ends is not None},
        pools=frozenset(site for site, one in agreed.items() if one.pool),
        shifts=tuple(file.shifts),
        declared=declaration_of(row),
        home_site=row.home_site,
        conflicts=frozenset(file.conflicts),
        time_zone=row.time_zone,
        organisations=organisations(reader_id, row),
        held=sum(file.held.values()),
        held_stat=file.held.get(Priority.STAT, 0),
        capacity=row.capacity,
        capacity_stat=row.capacity_stat,
        restricted_until=row.restricted_until,
    )


def shift_of(row: ShiftRow) -> Shift:
    """Return the shift in a row."""
    return Shift(row.starts_at, row.ends_at, row.time_zone, row.rule, row.repeats_until, row.capacity)


def declaration_of(row: ReaderRow) -> Declaration | None:
    """Return what the reader declared, over or not."""
    if row.declared is None or row.declared_until is None:
        return None
    return Declaration(row.declared == AVAILABLE, row.declared_until)


AVAILABLE, AWAY = "available", "away"
"""What `readers.declared` may hold."""
