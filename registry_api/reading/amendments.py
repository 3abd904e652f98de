"""A signed report is opened again by its reader: for a while the claim is good for looks, a new version and its signature."""

from datetime import datetime

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.reading import AmendmentOpened, ClaimEnded, Priority
from protocol.shape import OpaqueId
from registry_api.reading.lifecycle import Event, State, advance, amend_until
from registry_api.reading.matching import may_go_on
from registry_api.reading.readers import profile
from registry_api.reading.slots import fenced, own_slot, record, tell
from registry_api.reading.tables import ReadRequestRow, SlotRow


def open_amendment(session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, fence: int, now: datetime) -> SlotRow:
    """Open the reader's signed report again and tell the hospital's node. What is signed counts until a new version is.

    Raises:
        ConflictError: `stale-fence`; `illegal-transition` if the hospital does not have the report yet.
        RefusedError: `forbidden` if licence, agreement or privilege have ended since.
    """
    slot, request = own_slot(session, claim_id, reader_id)
    fenced(slot, fence)
    advance(State(slot.state), Event.REOPENED)
    reader = profile(session, reader_id)
    if not may_go_on(reader, request.site, request.jurisdiction, now):
        raise RefusedError(
            Code.FORBIDDEN, "Your licence there, your agreement with the hospital or its privilege is no longer valid."
        )
    until = amend_until(Event.REOPENED, Priority(request.priority), now)
    if amending(slot, now):
        slot.amend_until = max(until, slot.amend_until or until)  # a question that is open keeps its time
    else:
        record(session, slot, Event.REOPENED, now=now)
        slot.amend_until = until
    session.add(slot)
    tell(session, request.site, AmendmentOpened(request_id=slot.request_id, claim_id=claim_id, fence=fence))
    return slot


def talk(session: Session, request: ReadRequestRow, slot: SlotRow, event: Event, *, now: datetime) -> None:
    """Note that the reader of a report that is open for an amendment asked something, or was answered. What is signed stays as it is.

    Raises:
        ConflictError: `illegal-transition` if the table does not allow the step; `stale-fence` if the amendment is over.
    """
    advance(State(slot.state), event)
    if not amending(slot, now):
        raise ConflictError(
            Code.STALE_FENCE, "The report is not open for an amendment any more. Its reader may open it again."
        )
    slot.amend_until = amend_until(event, Priority(request.priority), now)
    session.add(slot)
    record(session, slot, event, now=now)


def amending(slot: SlotRow, now: datetime) -> bool:
    """Say whether the slot's signed report is open for an amendment at `now`."""
    return slot.amend_until is not None and now < slot.amend_until


def end_amendment(session: Session, request: ReadRequestRow, slot: SlotRow) -> None:
    """Close a report that was opened again and not signed anew; the node lets nobody in under the claim any more."""
    slot.amend_until = None
    session.add(slot)
    tell(session, request.site, ClaimEnded(request_id=request.request_id, claim_id=slot.claim_id or ""))


def sweep_amendments(session: Session, *, now: datetime) -> int:
    """End every amendment whose time is over; return how many there were."""
    query = (
        select(SlotRow, ReadRequestRow)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == SlotRow.request_id)
        .where(col(SlotRow.amend_until) <= now)
        .with_for_update(of=SlotRow, skip_locked=True)
    )
    found = session.exec(query).all()
    for slot, request in found:
        end_amendment(session, request, slot)
    return len(found)
