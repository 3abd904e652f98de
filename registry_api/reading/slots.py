"""Finding slots and moving them along the table of `lifecycle`, each step with its line in the log of events."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert
from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.parcel import Notice
from protocol.reading import ClaimEnded, Priority
from protocol.shape import OpaqueId, SiteId
from registry_api.database import ask, row_table, unasked
from registry_api.link.outbox import send_notice
from registry_api.reading.abandonment import restrict_if_abandoned
from registry_api.reading.agreements import running, signed_within
from registry_api.reading.clocks import SlaClock, pause_max
from registry_api.reading.lifecycle import (
    COUNTED,
    DELIVER_WITHIN,
    ESCALATE_AT,
    HELD,
    REVIEW_WITHIN,
    UNACKNOWLEDGED,
    UNSIGNED,
    Event,
    Purpose,
    State,
    advance,
    expires_at,
    lease_until,
)
from registry_api.reading.tables import ClaimRow, ReadEventRow, ReadRequestRow, ReceiptRow, SlotRow

UNANSWERED = "unanswered"
"""How a claim ends that lapsed because the hospital did not answer: no fault of its reader."""


def request_of(
    session: Session, request_id: OpaqueId, *, site: SiteId | None = None, sites: Collection[SiteId] | None = None
) -> ReadRequestRow:
    """Return the request, if it is `site`'s, or of one of `sites` (when given).

    Raises:
        InvalidInputError: `not-found` if there is none, or it is another hospital's: foreign requests look absent.
    """
    row = session.get(ReadRequestRow, request_id)
    if row is None or site not in {None, row.site} or (sites is not None and row.site not in sites):
        raise InvalidInputError(Code.NOT_FOUND, "There is no read request with this id.")
    return row


def slots_of(session: Session, request_id: OpaqueId) -> list[SlotRow]:
    """Return the slots of a request in order, locked against other writers."""
    query = select(SlotRow).where(SlotRow.request_id == request_id).order_by(col(SlotRow.number))
    return list(session.exec(query.with_for_update()))


def slot_of(session: Session, claim_id: OpaqueId) -> SlotRow:
    """Return the slot that the claim holds or held last, locked against other writers.

    Raises:
        ConflictError: `stale-fence` if somebody else has claimed the slot since, or the claim lapsed.
        InvalidInputError: `not-found` if there never was such a claim.
    """
    slot = session.exec(select(SlotRow).where(SlotRow.claim_id == claim_id).with_for_update()).first()
    if slot is not None:
        return slot
    if session.get(ClaimRow, claim_id) is None:
        raise InvalidInputError(Code.NOT_FOUND, "There is no claim with this id.")
    raise ConflictError(
        Code.STALE_FENCE, "This claim has ended: it lapsed, was released or withdrawn. Claim the read anew."
    )


def latest_receipt(session: Session, claim_id: OpaqueId, *, signed: bool = False) -> ReceiptRow | None:
    """Return the receipt of the last version that the hospital holds under this claim, or the last `signed` one."""
    query = select(ReceiptRow).where(ReceiptRow.claim_id == claim_id).order_by(col(ReceiptRow.version).desc())
    return session.exec(query.where(col(ReceiptRow.signed_at).is_not(None)) if signed else query).first()


def open_slot(session: Session, request: ReadRequestRow, purpose: Purpose, *, now: datetime) -> SlotRow:
    """Add an open slot to the request, with the time that the hospital agreed. The request is due with its last slot.

    Nobody waits for a peer review: it has a long time of its own, and neither the request nor any alarm depends on it.
    """
    priority = Priority(request.priority)
    due, end = _times_of(session, request, purpose, now)
    highest = session.exec(select(func.max(SlotRow.number)).where(SlotRow.request_id == request.request_id)).one()
    slot = SlotRow(
        request_id=request.request_id,
        number=(highest or 0) + 1,
        site=request.site,
        purpose=purpose.value,
        state=advance(State.DRAFT, Event.POSTED).value,
        opened_at=now,
        due_at=due,
        expires_at=end,
    )
    slot.escalate_at = next_escalation(slot, priority)
    _wait_for(request, slot)
    session.add(slot)
    session.flush()
    record(session, slot, Event.POSTED, now=now)
    return slot


def _times_of(session: Session, request: ReadRequestRow, purpose: Purpose, now: datetime) -> tuple[datetime, datetime]:
    """Return when a slot that opens now is due and when it is given up."""
    if purpose is Purpose.REVIEW:
        return now + REVIEW_WITHIN, now + REVIEW_WITHIN
    priority = Priority(request.priority)
    due = now + signed_within(running(session, request.site, now=now), priority)
    return due, expires_at(priority, due)


def own_slot(session: Session, claim_id: OpaqueId, reader_id: OpaqueId) -> tuple[SlotRow, ReadRequestRow]:
    """Return the claim's slot and request, if the claim is this reader's; a stranger's claim looks absent.

    Raises:
        ConflictError: `stale-fence` if somebody else has claimed the slot since, or the claim lapsed.
        InvalidInputError: `not-found` if it is not this reader's.
    """
    row = session.get(ClaimRow, claim_id)
    if row is None or row.reader_id != reader_id:
        raise InvalidInputError(Code.NOT_FOUND, "There is no claim with this id.")
    slot = slot_of(session, claim_id)
    return slot, request_of(session, slot.request_id)


def fenced(slot: SlotRow, fence: int) -> SlotRow:
    """Return `slot` if `fence` is the fence of its present claim.

    Raises:
        ConflictError: `stale-fence` if it is not.
    """
    if slot.fence != fence:
        raise ConflictError(Code.STALE_FENCE)
    return slot


def move(session: Session, slot: SlotRow, event: Event, *, priority: str, now: datetime) -> State:
    """Take one step of the table and return the new state; a slot that falls back to open, or is withdrawn, loses its claim.

    Raises:
        ConflictError: `illegal-transition` if the table does not allow the step.
    """
    before, claim_id = State(slot.state), slot.claim_id
    state = advance(before, event)
    if State.NEEDS_INFO in {before, state}:
        _pause_or_go_on(session, slot, state, now)
    slot.state = state.value
    _set_timers(slot, state, now)
    slot.lease_until = lease_until(state, Priority(priority), now)
    if state in {State.OPEN, State.WITHDRAWN}:
        slot.claim_id = slot.reader_id = None
    session.add(slot)
    record(session, slot, event, now=now, claim_id=claim_id)
    return state


def _set_timers(slot: SlotRow, state: State, now: datetime) -> None:
    """Start and stop what runs beside the lease."""
    if state not in UNSIGNED:
        slot.escalate_at = None
    slot.deliver_by = now + DELIVER_WITHIN if state is State.SIGNED else None
    if state not in UNACKNOWLEDGED:
        slot.alarm_at = None


def next_escalation(slot: SlotRow, priority: Priority) -> datetime | None:
    """Return when the slot escalates next; None after the last time, and for a peer review."""
    left = ESCALATE_AT[slot.escalation :] if slot.purpose in COUNTED else ()
    return clock_of(slot, priority).moment(left[0]) if left else None


def clock_of(slot: SlotRow, priority: Priority) -> SlaClock:
    """Return the slot's clock."""
    return SlaClock(
        opened_at=slot.opened_at,
        due_at=slot.due_at,
        pause_max=pause_max(priority),
        paused=timedelta(seconds=slot.paused_seconds),
        paused_at=slot.paused_at,
    )


def _pause_or_go_on(session: Session, slot: SlotRow, state: State, now: datetime) -> None:
    """Stop the slot's clock when the hospital is asked; afterwards slot and request are due later by the time that it stood still."""
    request = session.get_one(ReadRequestRow, slot.request_id)
    priority = Priority(request.priority)
    if state is State.NEEDS_INFO:
        slot.paused_at = now
        slot.escalate_at = next_escalation(slot, priority)
        return
    clock = clock_of(slot, priority)
    seconds = int((clock.due_by(now) - slot.due_at).total_seconds())
    slot.due_at, slot.expires_at = (moment + timedelta(seconds=seconds) for moment in (slot.due_at, slot.expires_at))
    slot.paused_at, slot.paused_seconds = None, slot.paused_seconds + seconds
    slot.escalate_at = next_escalation(slot, priority)
    session.refresh(request, with_for_update=True)  # two slots of a request may go on at once, and the later one counts
    _wait_for(request, slot)
    session.add(request)


def _wait_for(request: ReadRequestRow, slot: SlotRow) -> None:
    """Make the request due no sooner than a slot that its result waits for."""
    if slot.purpose in COUNTED:
        request.due_at, request.expires_at = max(request.due_at, slot.due_at), max(request.expires_at, slot.expires_at)


def record(session: Session, slot: SlotRow, event: Event, *, now: datetime, claim_id: OpaqueId | None = None) -> None:
    """Write one line into the log of events: the state that the slot is in now, and its claim, or the one that has just ended."""
    step = Step(slot.request_id, slot.number, event, State(slot.state), claim_id or slot.claim_id)
    write_step(session, step, now=now)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the log of events: what happened to which slot, what it led to, and under which claim."""

    request_id: OpaqueId
    number: int
    event: Event
    state: State
    claim_id: OpaqueId | None


def write_step(session: Session, step: Step, *, now: datetime) -> None:
    """Write one line into the log of events, at once."""
    values = {
        "request_id": step.request_id,
        "number": step.number,
        "event": step.event.value,
        "state": step.state.value,
        "claim_id": step.claim_id,
        "at": now,
    }
    ask(session, _STEP, **values)


_STEP = unasked(insert(row_table(ReadEventRow)).inline())
"""Made once; and nobody asks which number the line got."""


def end_claim(session: Session, request: ReadRequestRow, slot: SlotRow, event: Event, *, now: datetime) -> None:
    """Take a held slot from its reader and tell the node, for whom every grant under the claim is void."""
    claim_id, reader_id, before = slot.claim_id or "", slot.reader_id or "", State(slot.state)
    move(session, slot, event, priority=request.priority, now=now)
    if before in HELD:
        unanswered = event is Event.LAPSED and before is State.NEEDS_INFO
        close_claim(session, claim_id, UNANSWERED if unanswered else event.value, now=now)
        if event is Event.LAPSED and not unanswered:
            restrict_if_abandoned(session, reader_id, now=now)
        tell(session, request.site, ClaimEnded(request_id=request.request_id, claim_id=claim_id))


def close_claim(session: Session, claim_id: OpaqueId, ended_by: str, *, now: datetime) -> None:
    """Note when and by what a claim ended."""
    claim = session.get(ClaimRow, claim_id)
    if claim is not None:
        claim.ended_at, claim.ended_by = now, ended_by
        session.add(claim)


def tell(session: Session, site: SiteId, notice: Notice) -> None:
    """Queue a notice for the node, in the same transaction as the step that it tells of."""
    send_notice(session, site, notice)
