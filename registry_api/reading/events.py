"""The log of events as a caller may follow it: in order, from a cursor on, each exactly once. Nothing of a report is in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, and_, col, or_, select

from protocol.reading import Priority
from protocol.shape import OpaqueId, SiteId
from registry_api.enrolment.sites import sites_within
from registry_api.people.roles import Role
from registry_api.people.tables import PersonRow
from registry_api.reading.lifecycle import Event, Purpose, State
from registry_api.reading.tables import (
    AgreementRow,
    ClaimRow,
    GroupAgreementRow,
    ReaderRow,
    ReadEventRow,
    ReadRequestRow,
    SlotRow,
)

BATCH = 500

SETTLE = timedelta(seconds=10)
"""A number that is missing may belong to a transaction that is not over: what comes after it waits so long for it."""

LATE = (Event.WARNED, Event.BREACHED)
"""What the lead of a group hears of reads that others of the group hold, or that nobody holds and the group may read."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who follows the events: a coordinator, of a place or of the network, a reader, or a person of a hospital."""

    person_id: OpaqueId
    role: Role
    site: SiteId | None = None
    region: str | None = None

    def is_still(self, person: PersonRow) -> bool:
        """Say whether the person has the role and the place that they had: who logs in at a provider gets them anew each time."""
        return (self.role.value, self.site, self.region) == (person.role, person.site, person.region)


class ReadEvent(BaseModel):
    """One step in the life of a slot. `claim_id` is for the claim's own reader and the coordinator."""

    model_config = ConfigDict(frozen=True)

    id: int
    at: datetime
    event: Event
    state: State
    request_id: OpaqueId
    number: int
    purpose: Purpose
    priority: Priority
    site: SiteId
    claim_id: OpaqueId | None = None


def events_after(session: Session, viewer: Viewer, cursor: int, *, now: datetime) -> tuple[list[ReadEvent], int]:
    """Return the next events that the viewer may see, and the cursor after which to ask for more.

    The cursor also passes what the viewer may not see; it never passes an event that is still to come.
    """
    until = settled(session, cursor, now=now)
    if until == cursor:
        return [], cursor
    query = (
        select(ReadEventRow, ReadRequestRow, SlotRow.purpose, ClaimRow.reader_id)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == ReadEventRow.request_id)
        .join(
            SlotRow,
            and_(col(SlotRow.request_id) == ReadEventRow.request_id, col(SlotRow.number) == ReadEventRow.number),
        )
        .join(ClaimRow, col(ClaimRow.claim_id) == ReadEventRow.claim_id, isouter=True)
        .where(col(ReadEventRow.id) > cursor, col(ReadEventRow.id) <= until, *_visible(session, viewer))
        .order_by(col(ReadEventRow.id))
    )
    return [_event(viewer, *row) for row in session.exec(query)], until


def settled(session: Session, cursor: int, *, now: datetime) -> int:
    """Return up to which number the log is complete.

    PostgreSQL gives numbers out before transactions end, and not in the order in which they end: the second may be there before the
    first. So nothing after a gap is read until it is old enough that the gap can only be a transaction that was undone.
    """
    query = select(ReadEventRow.id, ReadEventRow.at).where(col(ReadEventRow.id) > cursor)
    last = cursor
    for number, at in session.exec(query.order_by(col(ReadEventRow.id)).limit(BATCH)):
        if number is None or (number > last + 1 and at > now - SETTLE):
            break
        last = number
    return last


def _visible(session: Session, viewer: Viewer) -> Sequence[Any]:
    """Return the conditions under which the viewer may see an event."""
    if viewer.role is Role.COORDINATOR:
        within = sites_within(session, viewer.region)
        return () if within is None else (col(ReadRequestRow.site).in_(within),)
    if viewer.role is Role.HOSPITAL:
        return (ReadRequestRow.site == viewer.site,)
    own = ClaimRow.reader_id == viewer.person_id
    row = session.get(ReaderRow, viewer.person_id)
    if row is None or not row.leads or row.reading_group is None:
        return (own,)
    members = select(ReaderRow.reader_id).where(ReaderRow.reading_group == row.reading_group)
    theirs = select(AgreementRow.site).where(col(AgreementRow.reader_id).in_(members))
    sites = theirs.union(select(GroupAgreementRow.site).where(GroupAgreementRow.reading_group == row.reading_group))
    late = and_(
        col(ReadEventRow.event).in_([event.value for event in LATE]),
        or_(
            col(ClaimRow.reader_id).in_(members),
            and_(col(ReadEventRow.claim_id).is_(None), col(ReadRequestRow.site).in_(sites)),
        ),
    )
    return (or_(own, late),)


def _event(
    viewer: Viewer, row: ReadEventRow, request: ReadRequestRow, purpose: str, reader_id: OpaqueId | None
) -> ReadEvent:
    own = viewer.role is Role.COORDINATOR or reader_id == viewer.person_id
    return ReadEvent(
        id=row.id or 0,
        at=row.at,
        event=Event(row.event),
        state=State(row.state),
        request_id=row.request_id,
        number=row.number,
        purpose=Purpose(purpose),
        priority=Priority(request.priority),
        site=request.site,
        claim_id=row.claim_id if own else None,
    )
