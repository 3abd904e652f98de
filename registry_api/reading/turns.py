"""The next case: what a reader reads unless they choose otherwise, and how often they may. Three skips in ten claims, each with a reason."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, func, select

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.shape import OpaqueId
from registry_api.reading import claims
from registry_api.reading.claims import Claim
from registry_api.reading.matching import ReaderProfile, Wanted, assigned_at, obstacles
from registry_api.reading.order import in_order
from registry_api.reading.queue import waiting
from registry_api.reading.readers import Desk, desk
from registry_api.reading.slots import request_of
from registry_api.reading.tables import ClaimRow, SkipRow

SKIPS_MAX = 3
WINDOW = 10
"""A reader may skip this often in this many claims."""


class SkipReason(StrEnum):
    """Why a reader leaves the next case to others."""

    OUTSIDE_EXPERTISE = "outside-expertise"
    CONFLICT = "conflict"
    NO_TIME = "no-time"
    TECHNICAL = "technical"
    CHOSE_ANOTHER = "chose-another"


SENTENCES: dict[SkipReason, str] = {
    SkipReason.OUTSIDE_EXPERTISE: "outside my expertise",
    SkipReason.CONFLICT: "a conflict of interest",
    SkipReason.NO_TIME: "no time for a case like this now",
    SkipReason.TECHNICAL: "the images do not open here",
    SkipReason.CHOSE_ANOTHER: "I would rather read another",
}
"""What a page says of each."""


def next_case(session: Session, reader_id: OpaqueId, *, now: datetime) -> Wanted | None:
    """Return what this reader is to read next: what was assigned to them, else the first in order; None if nothing waits for them."""
    at = desk(session, reader_id)
    return _first_for(at, _queue_of(session, at.reader), now)


def skip(session: Session, request_id: OpaqueId, reader_id: OpaqueId, *, reason: SkipReason, now: datetime) -> None:
    """Leave the next case to others; it is not offered to this reader as the next one again.

    Raises:
        InvalidInputError: `not-found` if there is no such request.
        ConflictError: `illegal-transition` if it is not (or no longer) the reader's next case.
        RefusedError: `forbidden` if the skips are used up.
    """
    request_of(session, request_id)
    claims.take_turn(session, reader_id, now=now)
    first = next_case(session, reader_id, now=now)
    if first is None or first.request_id != request_id:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "This is not your next case any more. Look at the worklist again.")
    _note_skip(session, first, reader_id, reason, now)


def take(
    session: Session,
    request_id: OpaqueId,
    reader_id: OpaqueId,
    *,
    now: datetime,
    reason: SkipReason = SkipReason.CHOSE_ANOTHER,
) -> Claim:
    """Claim a case by the reader's own choice. Another than the next one counts as a skip of that one.

    Raises:
        InvalidInputError, ConflictError: As `claims.claim`.
        RefusedError: `forbidden` as there, or if it is not the next case and the skips are used up.
    """
    claims.take_turn(session, reader_id, now=now)
    at = desk(session, reader_id)
    queue = _queue_of(session, at.reader)
    first = _first_for(at, queue, now)
    known = next((one for one in queue if one.request_id == request_id), None)
    made = claims.claim_for(session, request_id, at.reader, now=now, known=known)
    if first is not None and first.request_id != request_id:
        _note_skip(session, first, reader_id, reason, now)
    return made


def skips_left(session: Session, reader_id: OpaqueId) -> int:
    """Return how often the reader may still skip, until older claims and skips have passed out of the window."""
    tenth = (
        select(ClaimRow.made_at)
        .where(ClaimRow.reader_id == reader_id)
        .order_by(col(ClaimRow.made_at).desc())
        .offset(WINDOW - 1)
        .limit(1)
    )
    since = session.exec(tenth).first()
    counted = select(func.count()).select_from(SkipRow).where(SkipRow.reader_id == reader_id)
    if since is not None:
        counted = counted.where(col(SkipRow.at) > since)
    return max(0, SKIPS_MAX - session.exec(counted).one())


def _queue_of(session: Session, reader: ReaderProfile) -> list[Wanted]:
    """Return what waits at the hospitals that let the reader in: the others' requests do not change the order of theirs."""
    lets_in = reader.agreements & reader.privileges
    return [one for one in waiting(session, reader_id=reader.reader_id) if one.site in lets_in]


def _first_for(at: Desk, queue: Sequence[Wanted], now: datetime) -> Wanted | None:
    """Return the first request in order that the reader may claim and has not skipped; what was assigned to them goes before."""
    ordered = [one for one in in_order(queue, at.in_hand) if one.request_id not in at.skipped]
    mine = [one for one in ordered if at.reader.reader_id in assigned_at(one, now)]
    return next((one for one in (*mine, *ordered) if not obstacles(at.reader, one, now=now)), None)


def _note_skip(session: Session, skipped: Wanted, reader_id: OpaqueId, reason: SkipReason, now: datetime) -> None:
    if skips_left(session, reader_id) == 0:
        raise RefusedError(
            Code.FORBIDDEN,
            f"You have left {SKIPS_MAX} of your last {WINDOW} cases to others. Read your next case: GET /v1/reads/next.",
        )
    session.add(SkipRow(reader_id=reader_id, request_id=skipped.request_id, reason=reason.value, at=now))
    session.flush()
