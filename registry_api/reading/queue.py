"""The requests that wait for a reader, as matching needs them: three queries, however many wait."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, func, select

from protocol.reading import Priority, Subspecialty
from protocol.shape import OpaqueId, SiteId
from registry_api.reading.groups import organisations, organisations_of
from registry_api.reading.lifecycle import HELD, Purpose, State
from registry_api.reading.matching import Wanted
from registry_api.reading.tables import AssignmentRow, ReaderRow, ReadRequestRow, SlotRow

_COLUMNS = (
    col(ReadRequestRow.request_id),
    col(ReadRequestRow.site),
    col(ReadRequestRow.jurisdiction),
    col(ReadRequestRow.language),
    col(ReadRequestRow.priority),
    col(ReadRequestRow.posted_at),
    col(ReadRequestRow.due_at),
    col(ReadRequestRow.subspecialty),
    col(ReadRequestRow.ggo_percent),
    col(ReadRequestRow.uncertainty_percent),
)
"""Plain columns: making rows into objects costs ten times as much, and this is asked for at every claim."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """What matching asks of a slot."""

    purpose: Purpose
    due_at: datetime
    escalation: int


def waiting(session: Session, *, sites: Collection[SiteId] | None = None) -> list[Wanted]:
    """Return every request (of these hospitals) with an open slot as its first open slot waits, in no order of their own."""
    values = {} if sites is None else {"sites": list(sites)}
    rows = session.execute(_first_open_slots(sites is not None), values).all()
    earlier, assigned = _earlier_readers(session), assignments(session)
    deciding = [one.request_id for one in rows if one.purpose != Purpose.READ.value]
    members = _members(session, frozenset().union(*(earlier.get(one, frozenset()) for one in deciding)))
    excluded = {
        one: frozenset().union(*(members[reader_id] for reader_id in earlier.get(one, frozenset()))) for one in deciding
    }
    return [
        wanted_of(
            one,
            _Slot(Purpose(one.purpose), one.slot_due_at, one.escalation),
            earlier_readers=earlier.get(one.request_id, frozenset()),
            excluded=excluded.get(one.request_id, frozenset()),
            open_slots=one.open_slots,
            assigned=assigned.get(one.request_id, ()),
        )
        for one in rows
    ]


@cache
def _first_open_slots(some_sites: bool) -> Any:
    """Return the statement that finds the first open slot of each request. It is made once: that costs as much as running it."""
    first = (
        select(
            col(SlotRow.request_id).label("request_id"),
            func.min(SlotRow.number).label("number"),
            func.count().label("open_slots"),
        )
        .where(SlotRow.state == State.OPEN.value)
        .group_by(col(SlotRow.request_id))
        .subquery()
    )
    query = (
        sa.select(
            *_COLUMNS,
            col(SlotRow.purpose),
            col(SlotRow.escalation),
            col(SlotRow.due_at).label("slot_due_at"),
            first.c.open_slots,
        )
        .select_from(ReadRequestRow)
        .join(SlotRow, col(SlotRow.request_id) == ReadRequestRow.request_id)
        .join(first, (first.c.request_id == SlotRow.request_id) & (first.c.number == SlotRow.number))
    )
    return query.where(col(ReadRequestRow.site).in_(bindparam("sites", expanding=True))) if some_sites else query


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
    return dict(session.exec(_held_by_site()).all())


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
        priority=Priority.ROUTINE if review else Priority(row.priority),
        posted_at=row.posted_at,
        due_at=slot.due_at if review else row.due_at,
        subspecialty=Subspecialty(row.subspecialty) if row.subspecialty else None,
        ggo_percent=0 if review else row.ggo_percent,
        uncertainty_percent=0 if review else row.uncertainty_percent,
        widened=slot.escalation > 0,
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


def _earlier_readers(session: Session) -> dict[OpaqueId, frozenset[OpaqueId]]:
    """Return who holds or finished a slot of each request that has another slot open."""
    found: defaultdict[OpaqueId, set[OpaqueId]] = defaultdict(set)
    for request_id, reader_id in session.exec(_readers_of_open()):
        found[request_id].add(reader_id or "")
    return {one: frozenset(readers) for one, readers in found.items()}


@cache
def _readers_of_open() -> Any:
    open_ids = select(SlotRow.request_id).where(SlotRow.state == State.OPEN.value)
    return select(SlotRow.request_id, SlotRow.reader_id).where(
        col(SlotRow.reader_id).is_not(None), col(SlotRow.request_id).in_(open_ids)
    )


@cache
def _held_by_site() -> Any:
    return (
        select(ReadRequestRow.site, func.count())
        .join(SlotRow, col(SlotRow.request_id) == ReadRequestRow.request_id)
        .where(col(SlotRow.state).in_([state.value for state in HELD]))
        .group_by(col(ReadRequestRow.site))
    )
