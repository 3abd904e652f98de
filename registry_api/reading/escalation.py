"""What becomes of waiting: a slot escalates as its time goes, a delivery is given up on, an unacknowledged critical result alarms."""

from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from protocol.reading import AlarmReason, Priority, ReadAlarm
from registry_api.reading.lifecycle import (
    ESCALATE_AT,
    ESCALATIONS,
    UNACKNOWLEDGED,
    UNSIGNED,
    Event,
    State,
    advance,
)
from registry_api.reading.slots import clock_of, move, next_escalation, record, tell
from registry_api.reading.tables import ReadRequestRow, SlotRow

ALARMS: dict[Event, AlarmReason] = {
    Event.WARNED: AlarmReason.LATE,
    Event.BREACHED: AlarmReason.OVERDUE,
    Event.ALARMED: AlarmReason.CRITICAL,
}
"""Of what the hospital's node is told; widening the offer is no business of its."""


def escalate(session: Session, *, now: datetime) -> int:
    """Do everything that is due by now; return how many slots it was due for."""
    late = _due(session, SlotRow.escalate_at, now, UNSIGNED)
    for slot, request in late:
        _escalate_one(session, slot, request, now)
    undelivered = _due(session, SlotRow.deliver_by, now, {State.SIGNED})
    for slot, request in undelivered:
        move(session, slot, Event.DELIVERY_FAILED, priority=request.priority, now=now)
    critical = _due(session, SlotRow.alarm_at, now, UNACKNOWLEDGED)
    for slot, request in critical:
        slot.alarm_at = None
        _say(session, slot, request, Event.ALARMED, now)
    return len(late) + len(undelivered) + len(critical)


def _due(
    session: Session, column: Any, now: datetime, states: frozenset[State] | set[State]
) -> list[tuple[SlotRow, ReadRequestRow]]:
    """Return the slots whose time in `column` has come, locked; those that somebody else is at are left for the next look."""
    session.flush()
    query = (
        select(SlotRow, ReadRequestRow)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == SlotRow.request_id)
        .where(col(column) <= now, col(SlotRow.state).in_([state.value for state in states]))
        .order_by(col(column))
    )
    return list(session.exec(query.with_for_update(of=SlotRow, skip_locked=True)).all())


def _escalate_one(session: Session, slot: SlotRow, request: ReadRequestRow, now: datetime) -> None:
    """Take every step that is due; a registry that was down takes several at once."""
    spent = clock_of(slot, Priority(request.priority)).spent(now)
    while slot.escalation < len(ESCALATIONS) and spent >= ESCALATE_AT[slot.escalation]:
        event = ESCALATIONS[slot.escalation]
        slot.escalation += 1
        _say(session, slot, request, event, now)
    slot.escalate_at = next_escalation(slot, Priority(request.priority))
    session.add(slot)


def _say(session: Session, slot: SlotRow, request: ReadRequestRow, event: Event, now: datetime) -> None:
    """Log an event that changes neither state nor lease, and tell the hospital where it should know."""
    advance(State(slot.state), event)
    session.add(slot)
    record(session, slot, event, now=now)
    if event in ALARMS:
        tell(session, request.site, ReadAlarm(request_id=request.request_id, reason=ALARMS[event]))
