"""A reader asks the hospital something, and the hospital answers. The words pass between those two; here only that it happened."""

from datetime import datetime

from sqlmodel import Session

from protocol.reading import InfoAnswered, InfoAsked
from protocol.shape import SiteId
from registry_api.reading.lifecycle import Event
from registry_api.reading.service import claimed
from registry_api.reading.slots import fenced, move
from registry_api.reading.tables import ClaimRow


def accept_asked(session: Session, site: SiteId, parcel: InfoAsked, now: datetime) -> None:
    """Note that the reader waits for the hospital; the slot's clock stands still.

    Raises:
        ConflictError: `stale-fence` if the claim has moved on; `illegal-transition` if the reader has not looked yet.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    claim = session.get_one(ClaimRow, parcel.claim_id)
    if parcel.question <= claim.questions:
        return
    move(session, fenced(slot, parcel.fence), Event.ASKED, priority=request.priority, now=now)
    claim.questions = parcel.question
    session.add(claim)


def accept_answered(session: Session, site: SiteId, parcel: InfoAnswered, now: datetime) -> None:
    """Note that the hospital has answered; the reader reads on.

    Raises:
        ConflictError: `stale-fence` if the claim has ended since; `illegal-transition` if nothing was asked.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    claim = session.get_one(ClaimRow, parcel.claim_id)
    if parcel.question <= claim.answers:
        return
    move(session, fenced(slot, parcel.fence), Event.ANSWERED, priority=request.priority, now=now)
    claim.answers = parcel.question
    session.add(claim)
