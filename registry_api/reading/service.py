"""What the hospital's node says of its reads. Each parcel may arrive twice; the second time changes nothing."""

import secrets
from datetime import datetime

from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import ConflictError, RefusedError
from protocol.reading import (
    ReadAcknowledged,
    ReadDelivered,
    ReadOpened,
    ReadPost,
    ReadReposted,
    ReadWithdrawn,
    ReportNoted,
    ReportReceipt,
    SecondReadAdded,
)
from protocol.shape import SiteId
from registry_api.reading.adjudication import counted_slots, settle
from registry_api.reading.agreements import doubled_percent, running, signed_within
from registry_api.reading.amendments import amending
from registry_api.reading.claims import sweep
from registry_api.reading.lifecycle import (
    COUNTED,
    FINAL,
    GIVEN_UP,
    HELD,
    SIGNED_AND_AFTER,
    Event,
    Purpose,
    State,
    advance,
    expires_at,
)
from registry_api.reading.slots import (
    end_claim,
    fenced,
    latest_receipt,
    move,
    open_slot,
    record,
    request_of,
    slot_of,
    slots_of,
    tell,
)
from registry_api.reading.tables import ReadRequestRow, ReceiptRow, SlotRow


def accept_post(session: Session, site: SiteId, parcel: ReadPost, now: datetime) -> None:
    """Open a request with one slot per read that it needs; by the hospital's agreements it may need one more.

    Raises:
        ConflictError: `already-exists` if the id is in use by another request.
    """
    existing = session.get(ReadRequestRow, parcel.request_id)
    if existing is not None:
        if existing.site != site:
            raise ConflictError(Code.ALREADY_EXISTS, "A read request with this id exists already. Post under a new id.")
        return
    agreed = running(session, site, now=now)
    due = now + signed_within(agreed, parcel.priority)
    content = parcel.model_dump(mode="json", exclude={"kind"})
    request = ReadRequestRow(
        **content, site=site, posted_at=now, due_at=due, expires_at=expires_at(parcel.priority, due)
    )
    if request.reads_required == 1 and secrets.randbelow(100) < doubled_percent(agreed):
        request.reads_required = 2
        tell(session, site, SecondReadAdded(request_id=parcel.request_id))
    session.add(request)
    session.flush()
    for _ in range(request.reads_required):
        open_slot(session, request, Purpose.READ, now=now)


def accept_opened(session: Session, site: SiteId, parcel: ReadOpened, now: datetime) -> None:
    """Note the reader's first look: from now on the slot is being read.

    Raises:
        ConflictError: `stale-fence` if the claim has moved on.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    fenced(slot, parcel.fence)
    if State(slot.state) is State.CLAIMED:
        move(session, slot, Event.OPENED, priority=request.priority, now=now)


def accept_receipt(session: Session, site: SiteId, parcel: ReportReceipt, now: datetime) -> None:
    """Note hash and codes of a report that the hospital holds. Of one that was opened again the signed version counts on.

    Raises:
        ConflictError: `stale-fence` or `illegal-transition`; `already-exists` if this version came with another hash.
    """
    known = session.get(ReceiptRow, (parcel.claim_id, parcel.version))
    if known is not None:
        if known.report_sha256 != parcel.report_sha256:
            raise ConflictError(Code.ALREADY_EXISTS, "This version of the report has another hash already.")
        return
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    fenced(slot, parcel.fence)
    if slot.purpose == Purpose.REVIEW.value:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "A peer review ends with a score; no report comes of it.")
    if not amending(slot, now):
        move(session, slot, Event.SUBMITTED, priority=request.priority, now=now)
    session.add(
        ReceiptRow(
            claim_id=parcel.claim_id,
            version=parcel.version,
            status=parcel.status.value,
            report_sha256=parcel.report_sha256,
            received_at=now,
            **parcel.coded.model_dump(mode="json"),
        )
    )


def accept_delivered(session: Session, site: SiteId, parcel: ReadDelivered, now: datetime) -> None:
    """Note that the hospital has the signed report.

    Raises:
        RefusedError: `signature-invalid` if what was delivered is not what was signed.
        ConflictError: `illegal-transition` if nothing was signed.
    """
    request, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    receipt = latest_receipt(session, parcel.claim_id, signed=True)
    if receipt is None or receipt.report_sha256 != parcel.report_sha256:
        raise RefusedError(Code.SIGNATURE_INVALID, "What the node delivered is not the report that was signed.")
    if State(slot.state) not in {State.DELIVERED, State.CLOSED}:
        move(session, slot, Event.DELIVERED, priority=request.priority, now=now)


def accept_acknowledged(session: Session, site: SiteId, parcel: ReadAcknowledged, now: datetime) -> None:
    """Close the slots whose signed report the hospital has taken note of. What was given up is left as it is.

    Raises:
        ConflictError: `illegal-transition` if a report is still to come.
    """
    request = request_of(session, parcel.request_id, site=site)
    for slot in slots_of(session, parcel.request_id):
        if slot.purpose in COUNTED and State(slot.state) not in FINAL and _is_named(session, slot, parcel):
            move(session, slot, Event.ACKNOWLEDGED, priority=request.priority, now=now)
    _settle_with_less(session, request, now)


def accept_noted(session: Session, site: SiteId, parcel: ReportNoted, now: datetime) -> None:
    """Let a signed report alarm no more: the hospital has taken note of it.

    Its slot stays as it is. Were it closed, and the other read of the request never came, the hospital would seem to be content with this one.

    Raises:
        ConflictError: `illegal-transition` if nothing was delivered under this claim.
    """
    _, slot = claimed(session, site, parcel.request_id, parcel.claim_id, now)
    receipt = latest_receipt(session, parcel.claim_id, signed=True)
    amended = receipt is not None and receipt.report_sha256 != parcel.report_sha256
    if amended or State(slot.state) is State.CLOSED:  # an amendment asks to be taken note of itself
        return
    advance(State(slot.state), Event.NOTED)
    slot.alarm_at = None
    session.add(slot)
    record(session, slot, Event.NOTED, now=now)


def _settle_with_less(session: Session, request: ReadRequestRow, now: datetime) -> None:
    """Where a read of a request was given up, the hospital may just have said that what is signed is enough."""
    if any(State(slot.state) in GIVEN_UP for slot in counted_slots(session, request)):
        settle(session, request, now=now, first=False)


def _is_named(session: Session, slot: SlotRow, parcel: ReadAcknowledged) -> bool:
    """Say whether the slot's signed report is among those that were taken note of."""
    if not parcel.reports:
        return True
    receipt = latest_receipt(session, slot.claim_id, signed=True) if slot.claim_id is not None else None
    return receipt is not None and receipt.report_sha256 in parcel.reports


def accept_withdrawn(session: Session, site: SiteId, parcel: ReadWithdrawn, now: datetime) -> None:
    """Take the request back. What is signed already stays and is delivered.

    Raises:
        ConflictError: `illegal-transition` if every read is signed.
    """
    request = request_of(session, parcel.request_id, site=site)
    slots = slots_of(session, parcel.request_id)
    unsigned = [slot for slot in slots if slot.purpose in COUNTED and State(slot.state) not in SIGNED_AND_AFTER]
    if not unsigned:
        raise ConflictError(
            Code.ILLEGAL_TRANSITION, "Every read of this request is signed; it cannot be withdrawn any more."
        )
    for slot in unsigned:
        if State(slot.state) in HELD | {State.DRAFT, State.OPEN}:
            end_claim(session, request, slot, Event.WITHDRAWN, now=now)
    _settle_with_less(session, request, now)


def accept_reposted(session: Session, site: SiteId, parcel: ReadReposted, now: datetime) -> None:
    """Open a slot more in the place of one that nobody claimed in time, with the whole time of the request's priority.

    Raises:
        ConflictError: `illegal-transition` if the request has no such slot, or it has not expired.
    """
    request = request_of(session, parcel.request_id, site=site)
    slot = next((one for one in slots_of(session, parcel.request_id) if one.number == parcel.number), None)
    if slot is None or slot.purpose not in COUNTED or State(slot.state) is not State.EXPIRED:
        raise ConflictError(Code.ILLEGAL_TRANSITION, "Only a read that nobody claimed in time is asked for anew.")
    open_slot(session, request, Purpose(slot.purpose), now=now)


def claimed(
    session: Session, site: SiteId, request_id: str, claim_id: str, now: datetime
) -> tuple[ReadRequestRow, SlotRow]:
    """Return the site's own request and the slot that the claim holds.

    Raises:
        InvalidInputError: `not-found` if either is not the site's.
        ConflictError: `stale-fence` if the claim has ended.
    """
    sweep(session, now=now)
    request = request_of(session, request_id, site=site)
    slot = slot_of(session, claim_id)
    if slot.request_id != request_id:
        raise ConflictError(Code.STALE_FENCE)
    return request, slot
