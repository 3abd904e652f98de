"""What matching must know of readers: credentials, agreements, privileges, shifts, and how much each holds. Few queries however many readers."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
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
from registry_api.reading.dossier import Dossier, dossiers, facts_of_one
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

    One statement, since two reads of a reader at one hospital may get their first grants at the same moment.
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


@dataclass(frozen=True, slots=True)
class Desk:
    """A reader, and what else decides which case comes next for them.

    `skipped` they left to others, and it still waits. `in_hand` counts the reads of each hospital that lets them in which anybody holds.
    """

    reader: ReaderProfile
    skipped: AbstractSet[OpaqueId]
    in_hand: Mapping[SiteId, int]


def profile(session: Session, reader_id: OpaqueId) -> ReaderProfile:
    """Return the reader as matching needs it.

    Raises:
        RefusedError: `forbidden` if the person is no reader.
    """
    found = find_profile(session, reader_id)
    if found is None:
        raise _no_reader()
    return found


def find_profile(session: Session, reader_id: OpaqueId) -> ReaderProfile | None:
    """Return the reader as matching needs it, or None if the person is no reader."""
    found = _look_up(session, reader_id, desk=False)
    return found[0] if found is not None else None


def desk(session: Session, reader_id: OpaqueId) -> Desk:
    """Return the reader and what else decides which case comes next.

    Raises:
        RefusedError: `forbidden` if the person is no reader.
    """
    found = _look_up(session, reader_id, desk=True)
    if found is None:
        raise _no_reader()
    reader, file = found
    return Desk(reader, file.skipped, file.in_hand)


def profiles(session: Session) -> list[ReaderProfile]:
    """Return every reader of the network, by id."""
    rows = lines(session, _readers())
    files = dossiers(session) if rows else {}
    return [_profile(row.id, _own(row), files[row.id]) for row in rows]


def _look_up(session: Session, reader_id: OpaqueId, *, desk: bool) -> tuple[ReaderProfile, Dossier] | None:
    rows = lines(session, _reader(desk), reader_id=reader_id)
    if not rows:
        return None
    file = Dossier()
    for row in rows:
        if row.kind is not None:
            file.add(row)
    return _profile(reader_id, _own(rows[0]), file), file


def _no_reader() -> RefusedError:
    return RefusedError(Code.FORBIDDEN, "You are not a reader of this network. The coordinator adds readers.")


def _own(row: Any) -> Any:
    return row if row.reader_id is not None else ReaderRow(reader_id=row.id)


@cache
def _readers() -> Any:
    """Return the statement. It is made once: that costs as much as running it."""
    people, readers = row_table(PersonRow), row_table(ReaderRow)
    return (
        sa.select(people.c.id, *readers.columns)
        .select_from(people)
        .outerjoin(readers, readers.c.reader_id == people.c.id)
        .where(people.c.role == Role.READER.value, people.c.disabled_at.is_(None))
        .order_by(people.c.id)
    )


@cache
def _reader(desk: bool) -> Any:
    """Return the statement for one reader, who stands in each row beside a fact: one statement more would cost more than that."""
    people, readers, facts = row_table(PersonRow), row_table(ReaderRow), facts_of_one(desk=desk)
    return (
        sa.select(people.c.id, *readers.columns, *(one for one in facts.c if one.name != "reader_id"))
        .select_from(people)
        .outerjoin(readers, readers.c.reader_id == people.c.id)
        .outerjoin(facts, sa.true())  # they are of nobody else
        .where(people.c.id == bindparam("reader_id"))
        .where(people.c.role == Role.READER.value, people.c.disabled_at.is_(None))
    )


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
