"""The coordinator takes a read from its reader and gives it to another, or back to everybody."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError
from protocol.shape import OpaqueId, SiteId
from registry_api.reading import claims
from registry_api.reading.claims import Claim
from registry_api.reading.lifecycle import HELD, Event, State
from registry_api.reading.queue import forget_assignments
from registry_api.reading.slots import end_claim, request_of, slots_of


def reassign(
    session: Session,
    request_id: OpaqueId,
    number: int,
    *,
    reader_id: OpaqueId | None,
    now: datetime,
    sites: Collection[SiteId] | None = None,
) -> Claim | None:
    """Free a held slot and, where a reader is named, claim it for them. An open slot can be given out in the same way.

    A reader gets by the coordinator's hand nothing that the reader could not claim. `sites` are those of the coordinator's place.

    Raises:
        InvalidInputError: `not-found` if there is no such slot, or it is not of these sites.
        RefusedError: `forbidden` if the reader is not eligible; the present one keeps the read then.
        ConflictError: `illegal-transition` if the slot is signed, or open and nobody is named.
    """
    request = request_of(session, request_id, sites=sites)
    slot = next((one for one in slots_of(session, request_id) if one.number == number), None)
    if slot is None:
        raise InvalidInputError(Code.NOT_FOUND, "This request has no slot of that number.")
    if State(slot.state) in HELD:
        end_claim(session, request, slot, Event.REASSIGNED, now=now)
        session.flush()
    elif State(slot.state) is not State.OPEN or reader_id is None:
        raise ConflictError(
            Code.ILLEGAL_TRANSITION,
            f"A slot that is {slot.state} cannot be taken from anybody. Name who shall read it.",
        )
    forget_assignments(session, request_id)
    return claims.claim(session, request_id, reader_id, now=now, number=number) if reader_id is not None else None
