"""A reader asks the hospital something, and the hospital answers. The words pass between those two; here only that it happened."""

from datetime import datetime

from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.reading import InfoAnswered, InfoAsked
from protocol.shape import SiteId
from registry_api.reading.amendments import talk
from registry_api.reading.lifecycle import AMENDABLE, Event, State
from registry_api.reading.service import claimed
from registry_api.reading.slots import fenced, move
from registry_api.reading.tables import ClaimRow, ReadRequestRow, SlotRow


def accept_asked(session: Session, site: SiteId, parcel: InfoAsked, now: datetime) -> None:
    """Note that the reader waits for the hospital; the slot's clock stands still. An amendment stays open for the answer.

    Raises:
        ConflictError: `stale-fence` if the claim has moved on or the amendment is over; `illegal-transition` if the reader has not
            looked yet, or has signed.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    claim = session.get_one(ClaimRow, parcel.claim_id)
    if parcel.question <= claim.questions:
        return
    _step(session, request, fenced(slot, parcel.fence), Event.ASKED, now)
    claim.questions = parcel.question
    session.add(claim)


def accept_answered(session: Session, site: SiteId, parcel: InfoAnswered, now: datetime) -> None:
    """Note that the hospital has answered; the reader reads on.

    Raises:
        ConflictError: `stale-fence` if the claim or the amendment has ended since; `illegal-transition` if nothing was asked.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    claim = session.get_one(ClaimRow, parcel.claim_id)
    if parcel.question <= claim.answers:
        return
    if parcel.question > claim.questions:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "The reader has asked nothing of that number.")
    _step(session, request, fenced(slot, parcel.fence), Event.ANSWERED, now)
    claim.answers = parcel.question
    session.add(claim)


def _step(session: Session, request: ReadRequestRow, slot: SlotRow, event: Event, now: datetime) -> None:
    if State(slot.state) in AMENDABLE:
        talk(session, request, slot, event, now=now)
    else:
        move(session, slot, event, priority=request.priority, now=now)
