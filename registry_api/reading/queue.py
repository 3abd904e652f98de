"""The requests that wait for a reader, as matching needs them: few queries, however many wait."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, select

from protocol.case import AgeBand
from protocol.reading import Priority, Subspecialty, kinds_of
from protocol.shape import OpaqueId, SiteId
from registry_api.database import among, ask, lines, row_table
from registry_api.reading.groups import organisations, organisations_of
from registry_api.reading.lifecycle import HELD, Purpose, State
from registry_api.reading.matching import Wanted
from registry_api.reading.tables import AssignmentRow, PrivilegeRow, ReaderRow, ReadRequestRow, SlotRow

_REQUESTS, _SLOTS = row_table(ReadRequestRow).c, row_table(SlotRow).c
_ASSIGNMENTS = row_table(AssignmentRow)

_COLUMNS = (
    _REQUESTS.request_id,
    _REQUESTS.site,
    _REQUESTS.jurisdiction,
    _REQUESTS.language,
    _REQUESTS.priority,
    _REQUESTS.posted_at,
    _REQUESTS.due_at,
    _REQUESTS.subspecialty,
    _REQUESTS.ggo_percent,
    _REQUESTS.age_band,
    _REQUESTS.uncertainty_percent,
)
"""Plain columns: making rows into objects costs ten times as much, and this is asked for at every claim."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """What matching asks of a slot."""

    purpose: Purpose
    due_at: datetime
    escalation: int


def waiting(session: Session, *, reader_id: OpaqueId | None = None) -> list[Wanted]:
    """Return every request with an open slot as its first open slot waits, in no order of their own.

    Args:
        session: The transaction.
        reader_id: Who asks; then only requests of hospitals that grant this reader a privilege, over or not, are looked up.
    """
    values = {} if reader_id is None else {"reader_id": reader_id}
    rows = lines(session, _open_slots(reader_id is not None), **values)
    requests = [list(of_one) for _, of_one in groupby(rows, key=attrgetter("request_id"))]
    deciding = [_earlier(one) for one in requests if one[0].purpose != _READ]
    members = _members(session, frozenset().union(*deciding))
    return [_wanted(one, members) for one in requests]


def _wanted(rows: list[Any], members: Mapping[OpaqueId, frozenset[str]]) -> Wanted:
    """Return a request of the rows that there are of it: each of its open slots with each reader of another slot and each assignment.

    Args:
        rows: Of one request, the first open slot first.
        members: The organisations of who read what is to be decided on.
    """
    first = rows[0]
    alone = len(rows) == 1 and first.earlier is None and first.assigned is None
    earlier = _NOBODY if alone else _earlier(rows)
    decides = first.purpose != _READ
    return wanted_of(
        first,
        _Slot(_PURPOSES[first.purpose], first.slot_due_at, first.escalation),
        earlier_readers=earlier,
        excluded=_NOBODY.union(*(members[one] for one in earlier)) if decides else _NOBODY,
        open_slots=1 if alone else len({row.number for row in rows}),
        assigned=() if alone else tuple({row.assigned: row.until for row in rows if row.assigned is not None}.items()),
    )


_NOBODY: frozenset[str] = frozenset()
_READ = Purpose.READ.value
_PURPOSES = {one.value: one for one in Purpose}
_PRIORITIES = {one.value: one for one in Priority}
_KINDS = {one.value: kinds_of(one) for one in AgeBand}
"""Looked up for every request that waits, at every claim."""


def _earlier(rows: Iterable[Any]) -> frozenset[OpaqueId]:
    return frozenset(row.earlier for row in rows if row.earlier is not None)


@cache
def _open_slots(of_reader: bool) -> Any:
    """Return the statement that finds the open slots and what else is known of their requests, in order.

    It is made once: that costs as much as running it.
    """
    other = row_table(SlotRow).alias()
    query = (
        sa.select(
            *_COLUMNS,
            _SLOTS.number,
            _SLOTS.purpose,
            _SLOTS.escalation,
            _SLOTS.due_at.label("slot_due_at"),
            other.c.reader_id.label("earlier"),
            _ASSIGNMENTS.c.reader_id.label("assigned"),
            _ASSIGNMENTS.c.until,
        )
        .select_from(row_table(SlotRow))
        .join(row_table(ReadRequestRow), _REQUESTS.request_id == _SLOTS.request_id)
        .outerjoin(other, (other.c.request_id == _SLOTS.request_id) & other.c.reader_id.is_not(None))
        .outerjoin(_ASSIGNMENTS, _ASSIGNMENTS.c.request_id == _SLOTS.request_id)
        .where(_SLOTS.state == State.OPEN.value)
        .order_by(_SLOTS.request_id, _SLOTS.number)
    )
    if not of_reader:
        return query
    privileges = row_table(PrivilegeRow).c
    lets_in = sa.select(privileges.site).where(privileges.reader_id == bindparam("reader_id"), privileges.granted)
    return query.where(_SLOTS.site.in_(lets_in))


def wanted(session: Session, request: ReadRequestRow, number: int | None = None) -> Wanted:
    """Return one request as matching needs it: as what its first open slot, or the open slot of this number, waits for."""
    slots = slots_of_all(session, [request.request_id])[request.request_id]
    earlier = frozenset(slot.reader_id for slot in slots if slot.reader_id)
    open_slots = [slot for slot in slots if State(slot.state) is State.OPEN]
    slot = next((one for one in open_slots if number in {None, one.number}), None)
    as_read = _Slot(Purpose.READ, request.due_at, 0)
    meant = _Slot(Purpose(slot.purpose), slot.due_at, slot.escalation) if slot is not None else as_read
    return wanted_of(
        request,
        meant,
        earlier_readers=earlier,
        excluded=organisations_of(session, earlier) if meant.purpose is not Purpose.READ else frozenset(),
        open_slots=max(1, len(open_slots)),
        assigned=assignments(session, request.request_id).get(request.request_id, ()),
    )


def assignments(
    session: Session, request_id: OpaqueId | None = None
) -> dict[OpaqueId, tuple[tuple[OpaqueId, datetime], ...]]:
    """Return for whom requests (or one) are set aside and until when, over or not."""
    query = select(AssignmentRow.request_id, AssignmentRow.reader_id, AssignmentRow.until)
    query = query if request_id is None else query.where(AssignmentRow.request_id == request_id)
    found: defaultdict[OpaqueId, list[tuple[OpaqueId, datetime]]] = defaultdict(list)
    for one, reader_id, until in session.exec(query):
        found[one].append((reader_id, until))
    return {one: tuple(pairs) for one, pairs in found.items()}


def in_hand(session: Session) -> dict[SiteId, int]:
    """Return how many reads of each hospital readers hold now."""
    return {row[0]: row[1] for row in ask(session, _held_by_site())}


def forget_assignments(session: Session, request_id: OpaqueId) -> None:
    """Set a request aside for nobody any more."""
    session.exec(delete(AssignmentRow).where(col(AssignmentRow.request_id) == request_id))


def wanted_of(row: Any, slot: _Slot, **others: Any) -> Wanted:
    """Return a request as matching needs it. A peer review has a clock of its own and is nobody's emergency.

    Args:
        row: A `ReadRequestRow`, or the columns of one that matching asks for.
        slot: Of its slots the one that is meant.
        others: What all of its slots together say of it; fields of `Wanted`.
    """
    review = slot.purpose is Purpose.REVIEW
    return Wanted(
        request_id=row.request_id,
        site=row.site,
        jurisdiction=row.jurisdiction,
        language=row.language,
        priority=Priority.ROUTINE if review else _PRIORITIES[row.priority],
        posted_as=_PRIORITIES[row.priority],
        posted_at=row.posted_at,
        due_at=slot.due_at if review else row.due_at,
        subspecialty=Subspecialty(row.subspecialty) if row.subspecialty else None,
        ggo_percent=0 if review else row.ggo_percent,
        uncertainty_percent=0 if review else row.uncertainty_percent,
        widened=slot.escalation > 0,
        kinds=_KINDS[row.age_band],
        **others,
    )


def slots_of_all(session: Session, request_ids: Collection[OpaqueId]) -> dict[OpaqueId, list[SlotRow]]:
    """Return the slots of these requests, in order, by one query."""
    found: defaultdict[OpaqueId, list[SlotRow]] = defaultdict(list)
    query = select(SlotRow).where(col(SlotRow.request_id).in_(request_ids)).order_by(col(SlotRow.number))
    for slot in session.exec(query):
        found[slot.request_id].append(slot)
    return found


def _members(session: Session, reader_ids: Collection[OpaqueId]) -> dict[OpaqueId, frozenset[str]]:
    """Return the organisations of each of these readers."""
    if not reader_ids:
        return {}
    query = select(ReaderRow).where(col(ReaderRow.reader_id).in_(reader_ids))
    rows = {row.reader_id: row for row in session.exec(query)}
    return {one: organisations(one, rows.get(one)) for one in reader_ids}


@cache
def _held_by_site() -> Any:
    return sa.select(_SLOTS.site, sa.func.count()).where(among(_SLOTS.state, HELD)).group_by(_SLOTS.site)
