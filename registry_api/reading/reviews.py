"""Peer review: a random share of results is looked at once more by somebody who does not know whose they are, and scored as RADPEER does."""

import secrets
from datetime import datetime

from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.reading import ClaimEnded, DiscrepancyOpened
from protocol.shape import OpaqueId
from registry_api.reading.adjudication import conclude, counted_slots
from registry_api.reading.claims import held_slot
from registry_api.reading.lifecycle import Event, Purpose
from registry_api.reading.matching import may_go_on
from registry_api.reading.readers import profile
from registry_api.reading.slots import close_claim, fenced, move, open_slot, tell
from registry_api.reading.tables import PeerReviewRow, ReadRequestRow

SCORES = (1, 2, 3, 4)
"""RADPEER: 1 agrees, 2 an understandable miss, 3 should be made most of the time, 4 almost every time."""

DISCREPANT_FROM = 3
"""From this score on the hospital hears of it."""


def draw(session: Session, *, percent: int, now: datetime) -> int:
    """Decide once for every new result whether it is reviewed, by the operating system's randomness; return how many are."""
    query = select(ReadRequestRow).where(col(ReadRequestRow.undrawn_since).is_not(None))
    chosen = 0
    for request in session.exec(query.with_for_update(skip_locked=True, key_share=True)).all():
        request.undrawn_since = None
        session.add(request)
        if secrets.randbelow(100) < percent:
            open_slot(session, request, Purpose.REVIEW, now=now)
            chosen += 1
    return chosen


def review(
    session: Session, claim_id: OpaqueId, reviewer_id: OpaqueId, *, fence: int, score: int, now: datetime
) -> PeerReviewRow:
    """Score the result of a request after looking at the study; a discrepancy is told to the hospital.

    Raises:
        ConflictError: `stale-fence`; `illegal-transition` if the claim is of no peer review, or the study was not looked at.
        RefusedError: `forbidden` if the reviewer's licence or privilege has ended.
    """
    slot, request = held_slot(session, claim_id, reviewer_id, now=now)
    fenced(slot, fence)
    result = conclude(session, counted_slots(session, request))
    if slot.purpose != Purpose.REVIEW.value or result is None or result.slot.claim_id is None:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "Only a peer review is scored; a read ends with a report.")
    if not may_go_on(profile(session, reviewer_id), request.site, request.jurisdiction, now):
        raise RefusedError(
            Code.FORBIDDEN,
            "Your licence in the patient's jurisdiction or your privilege at the hospital is no longer valid.",
        )
    move(session, slot, Event.REVIEWED, priority=request.priority, now=now)
    close_claim(session, claim_id, Event.REVIEWED.value, now=now)
    tell(session, request.site, ClaimEnded(request_id=request.request_id, claim_id=claim_id))
    row = PeerReviewRow(
        claim_id=claim_id,
        request_id=request.request_id,
        reviewed_claim_id=result.slot.claim_id,
        score=score,
        reviewed_at=now,
    )
    session.add(row)
    if score >= DISCREPANT_FROM:
        notice = DiscrepancyOpened(request_id=request.request_id, claim_id=row.reviewed_claim_id, score=score)
        tell(session, request.site, notice)
    return row
