"""What matching must know of readers: credentials, agreements, privileges, shifts, and how much each holds. Few queries however many readers."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, TypeVar

from sqlalchemy import bindparam
from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import RefusedError
from protocol.reading import Priority, Subspecialty
from protocol.shape import OpaqueId, SiteId, Thumbprint
from registry_api.people.roles import Role
from registry_api.people.tables import AgreementRow, CredentialRow, PersonRow
from registry_api.reading.groups import organisations
from registry_api.reading.lifecycle import HELD
from registry_api.reading.matching import Licence, ReaderProfile, Training
from registry_api.reading.shifts import Declaration, Shift
from registry_api.reading.tables import (
    ConflictRow,
    CredentialTermRow,
    PrivilegeRow,
    ReaderKeyRow,
    ReaderRow,
    ReadRequestRow,
    ShiftRow,
    SlotRow,
    TrainingRow,
)

T = TypeVar("T")
Grouped = defaultdict[OpaqueId, list[T]]


def set_capacity(
    session: Session,
    reader_id: OpaqueId,
    *,
    home_site: SiteId | None = None,
    capacity: int | None = None,
    capacity_stat: int | None = None,
) -> ReaderRow:
    """Say how many reads the reader may hold at once and which hospital is the reader's own. None leaves a value, "" is no hospital."""
    row = session.get(ReaderRow, reader_id) or ReaderRow(reader_id=reader_id)
    row.home_site = row.home_site if home_site is None else home_site or None
    row.capacity = row.capacity if capacity is None else capacity
    row.capacity_stat = row.capacity_stat if capacity_stat is None else capacity_stat
    session.add(row)
    session.flush()
    return row


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
    found = profiles(session, reader_id)
    if not found:
        raise RefusedError(Code.FORBIDDEN, "You are not a reader of this network. The coordinator adds readers.")
    return found[0]


def profiles(session: Session, reader_id: OpaqueId | None = None) -> list[ReaderProfile]:
    """Return one reader (a list of one, or an empty one), or with None every reader of the network, by id."""
    query: Any = (
        select(PersonRow.id, ReaderRow)
        .join(ReaderRow, col(ReaderRow.reader_id) == PersonRow.id, isouter=True)
        .where(PersonRow.role == Role.READER.value, col(PersonRow.disabled_at).is_(None))
    )
    query = query if reader_id is None else query.where(PersonRow.id == reader_id)
    rows = session.exec(query.order_by(col(PersonRow.id)))
    known = [(one, row or ReaderRow(reader_id=one)) for one, row in rows]
    return _Files(session, reader_id).profiles(known) if known else []


class _Files:
    """All that is on file of one reader, or of everybody, each table asked once."""

    def __init__(self, session: Session, reader_id: OpaqueId | None) -> None:
        self._session = session
        self._only = reader_id

    def profiles(self, readers: Iterable[tuple[OpaqueId, ReaderRow]]) -> list[ReaderProfile]:
        """Return the profiles of these readers, each given with its row."""
        licences, unverified, languages = self._credentials()
        trainings = self._by_reader(TrainingRow, _training)
        agreements = self._by_reader(AgreementRow, lambda row: row)
        privileges = self._by_reader(PrivilegeRow, lambda row: row.site if row.granted else None)
        conflicts = self._by_reader(ConflictRow, lambda row: row.site)
        shifts = self._by_reader(ShiftRow, shift_of)
        held = self._held()
        made = []
        for one, row in readers:
            made.append(
                ReaderProfile(
                    reader_id=one,
                    licences=tuple(licences[one]),
                    languages=frozenset(languages[one]),
                    agreements=frozenset(row.site for row in agreements[one]),
                    privileges=frozenset(site for site in privileges[one] if site is not None),
                    unverified=frozenset(unverified[one]),
                    trainings=tuple(trainings[one]),
                    agreement_ends={row.site: row.expires_at for row in agreements[one] if row.expires_at is not None},
                    pools=frozenset(row.site for row in agreements[one] if row.pool),
                    shifts=tuple(shifts[one]),
                    declared=declaration_of(row),
                    home_site=row.home_site,
                    conflicts=frozenset(conflicts[one]),
                    time_zone=row.time_zone,
                    organisations=organisations(one, row),
                    held=sum(held[one].values()),
                    held_stat=held[one].get(Priority.STAT.value, 0),
                    capacity=row.capacity,
                    capacity_stat=row.capacity_stat,
                    restricted_until=row.restricted_until,
                )
            )
        return made

    def _rows(self, made: Callable[[bool], Any]) -> Any:
        """Return what a statement finds, of the one reader or of everybody."""
        values = None if self._only is None else {"reader_id": self._only}
        return self._session.exec(made(self._only is not None), params=values)

    def _by_reader(self, table: Any, made: Callable[[Any], T]) -> Grouped[T]:
        found: Grouped[T] = defaultdict(list)
        for row in self._rows(partial(_all_of, table)):
            found[row.reader_id].append(made(row))
        return found

    def _credentials(self) -> tuple[Grouped[Licence], Grouped[str], Grouped[str]]:
        """Return verified licences with their terms, jurisdictions of unverified ones, and the languages."""
        licences: Grouped[Licence] = defaultdict(list)
        unverified: Grouped[str] = defaultdict(list)
        languages: Grouped[str] = defaultdict(list)
        for row, term in self._rows(_all_credentials):
            languages[row.reader_id].append(row.language)
            if term is None:
                unverified[row.reader_id].append(row.jurisdiction)
            else:
                licences[row.reader_id].append(Licence(row.jurisdiction, term.valid_from, term.valid_until))
        return licences, unverified, languages

    def _held(self) -> defaultdict[OpaqueId, dict[str, int]]:
        """Count the slots that each reader holds, by priority."""
        found: defaultdict[OpaqueId, dict[str, int]] = defaultdict(dict)
        for reader_id, priority, count in self._rows(_all_held):
            found[reader_id or ""][priority] = count
        return found


# Each statement is made once: making one costs as much as running it, and a claim asks for all of them.


@cache
def _all_of(table: Any, one: bool) -> Any:
    return _of_one(select(table), table, one=one)


@cache
def _all_credentials(one: bool) -> Any:
    query = select(CredentialRow, CredentialTermRow).join(
        CredentialTermRow, col(CredentialTermRow.credential_id) == CredentialRow.id, isouter=True
    )
    return _of_one(query, CredentialRow, one=one)


@cache
def _all_held(one: bool) -> Any:
    query = (
        select(SlotRow.reader_id, ReadRequestRow.priority, func.count())
        .join(ReadRequestRow, col(SlotRow.request_id) == ReadRequestRow.request_id)
        .where(col(SlotRow.state).in_([state.value for state in HELD]))
        .group_by(col(SlotRow.reader_id), col(ReadRequestRow.priority))
    )
    return _of_one(query, SlotRow, one=one)


def _of_one(query: Any, table: Any, *, one: bool) -> Any:
    return query.where(table.reader_id == bindparam("reader_id")) if one else query


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


def _training(row: TrainingRow) -> Training:
    return Training(Subspecialty(row.subspecialty), row.valid_from, row.valid_until)
