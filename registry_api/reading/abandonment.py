"""What follows for a reader who claims reads and lets them lapse: for a while, one at a time."""

from datetime import datetime

from sqlmodel import Session, col, func, select

from protocol.shape import OpaqueId
from registry_api.reading.lifecycle import ABANDONED_AFTER, ABANDONED_SPAN, Event
from registry_api.reading.own_row import own_row
from registry_api.reading.tables import ClaimRow


def restrict_if_abandoned(session: Session, reader_id: OpaqueId, *, now: datetime) -> None:
    """After a lapse: reduce the reader's capacity if there were too many of them of late."""
    session.flush()
    lapses = session.exec(
        select(func.count()).where(
            ClaimRow.reader_id == reader_id,
            ClaimRow.ended_by == Event.LAPSED.value,
            col(ClaimRow.ended_at) > now - ABANDONED_SPAN,
        )
    ).one()
    if lapses >= ABANDONED_AFTER:
        row = own_row(session, reader_id)
        row.restricted_until = now + ABANDONED_SPAN
        session.add(row)
        session.flush()
