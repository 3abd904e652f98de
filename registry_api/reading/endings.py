"""What ends a reader's work for a hospital: no agreement any more, or no privilege. What the reader holds of it goes back."""

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from protocol.shape import OpaqueId, SiteId
from registry_api.reading.agreements import Agreement, found, members_of
from registry_api.reading.amendments import end_amendment
from registry_api.reading.groups import set_group
from registry_api.reading.lifecycle import HELD, Event
from registry_api.reading.readers import find_profile
from registry_api.reading.slots import end_claim
from registry_api.reading.tables import AgreementRow, ReadRequestRow, SlotRow


def end_agreement(session: Session, agreement: Agreement | None, *, now: datetime) -> None:
    """End an agreement: the hospital's reads are offered no more, and whoever has no other agreement gives back what they hold of them.

    Raises:
        InvalidInputError: `not-found` if there is no agreement.
    """
    row = found(agreement)
    concerned = [row.reader_id] if isinstance(row, AgreementRow) else members_of(session, row.reading_group)
    session.delete(row)
    session.flush()
    for reader_id in concerned:
        give_back_unagreed(session, reader_id, now=now)


def change_group(
    session: Session, reader_id: OpaqueId, *, group: str | None, leads: bool = False, now: datetime
) -> None:
    """Say which group the reader reads with. What was claimed under an agreement of the group before goes back.

    Raises:
        InvalidInputError: As `groups.set_group`.
    """
    set_group(session, reader_id, group=group, leads=leads)
    give_back_unagreed(session, reader_id, now=now)


def give_back_unagreed(session: Session, reader_id: OpaqueId, *, now: datetime) -> None:
    """Release what the reader holds of hospitals that have no agreement with them or their group."""
    query = select(SlotRow.site).where(SlotRow.reader_id == reader_id, _in_hand()).distinct()
    reader = find_profile(session, reader_id)
    for site in set(session.exec(query)) - (reader.agreements if reader is not None else frozenset()):
        give_back(session, site, reader_id, now=now)


def give_back(session: Session, site: SiteId, reader_id: OpaqueId, *, now: datetime) -> None:
    """Release every slot of this hospital that the reader holds or amends; its node hears that the claims have ended."""
    query = (
        select(SlotRow, ReadRequestRow)
        .join(ReadRequestRow, col(ReadRequestRow.request_id) == SlotRow.request_id)
        .where(SlotRow.site == site, SlotRow.reader_id == reader_id, _in_hand())
        .with_for_update(of=SlotRow)
    )
    for slot, request in session.exec(query).all():
        if slot.amend_until is not None:
            end_amendment(session, request, slot)
        else:
            end_claim(session, request, slot, Event.RELEASED, now=now)


def _in_hand() -> ColumnElement[bool]:
    """Return the condition that a slot is held, or its signed report open for an amendment."""
    return or_(col(SlotRow.state).in_([state.value for state in HELD]), col(SlotRow.amend_until).is_not(None))
