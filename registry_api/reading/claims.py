"""What readers do with reads: claim, release, sign. A claim is a lease with a fence; a stale fence changes nothing."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, insert
from sqlalchemy.orm.util import identity_key
from sqlmodel import Session, col, select

from protocol.codes import Code
from protocol.errors import ConflictError, InvalidInputError, RefusedError
from protocol.reading import ClaimMade, ReadExpired, ReportSigned
from protocol.shape import OpaqueId, Sha256
from registry_api.database import UtcDateTime, ask, row_table, unasked
from registry_api.people.tables import PersonRow
from registry_api.reading.adjudication import settle
from registry_api.reading.amendments import amending, end_amendment, open_amendment, sweep_amendments
from registry_api.reading.lifecycle import ACKNOWLEDGE_WITHIN, COUNTED, HELD, Event, State, advance, lease_until
from registry_api.reading.matching import REASONS, Obstacle, ReaderProfile, Wanted, may_go_on, obstacles
from registry_api.reading.queue import wanted
from registry_api.reading.readers import profile
from registry_api.reading.slots import (
    Step,
    close_claim,
    end_claim,
    fenced,
    latest_receipt,
    move,
    own_slot,
    request_of,
    tell,
    write_step,
)
from registry_api.reading.tables import ClaimRow, ReadRequestRow, SlotRow


@dataclass(frozen=True, slots=True)
class Claim:
    """A reader's hold on a slot, as the reader needs to know it."""

    claim_id: OpaqueId
    request_id: OpaqueId
    number: int
    fence: int
    state: State
    lease_until: datetime | None


def claim(
    session: Session, request_id: OpaqueId, reader_id: OpaqueId, *, now: datetime, number: int | None = None
) -> Claim:
    """Give an open slot of the request to the reader: the first, or that of this number. Of any number of readers, one wins.

    Raises:
        InvalidInputError: `not-found` if there is no such request.
        RefusedError: `forbidden` if the reader is not eligible; the message gives the reasons.
        ConflictError: `illegal-transition` if no slot is open any more.
    """
    take_turn(session, reader_id, now=now)
    return claim_for(session, request_id, profile(session, reader_id), now=now, number=number)


def claim_for(
    session: Session,
    request_id: OpaqueId,
    reader: ReaderProfile,
    *,
    now: datetime,
    number: int | None = None,
    known: Wanted | None = None,
) -> Claim:
    """Claim for a reader who waited for their turn and was looked up since; leases were looked at before.

    Args:
        session: A writing one.
        request_id: Which request.
        reader: For whom.
        now: The time.
        number: Of the slot; None is the first one that is open.
        known: The request as it waits in this transaction, where that was looked up before.

    Raises:
        InvalidInputError, RefusedError, ConflictError: As `claim`.
    """
    reader_id = reader.reader_id
    one = known or wanted(session, request_of(session, request_id), number)
    _refuse_unless_eligible(one, reader, now)
    claim_id = secrets.token_hex(16)
    lease = lease_until(State.CLAIMED, one.posted_as or one.priority, now)
    taking = {"new_claim_id": claim_id, "new_reader_id": reader_id, "new_lease_until": lease}
    taken, fence = _take_slot(session, one, number, taking)
    values = {
        "claim_id": claim_id,
        "request_id": request_id,
        "number": taken,
        "reader_id": reader_id,
        "fence": fence,
        "made_at": now,
    }
    ask(session, _CLAIM, **values)
    write_step(session, Step(request_id, taken, Event.CLAIMED, State.CLAIMED, claim_id), now=now)
    tell(session, one.site, ClaimMade(request_id=request_id, claim_id=claim_id, reader_id=reader_id, fence=fence))
    return Claim(claim_id, request_id, taken, fence, State.CLAIMED, lease)


_CLAIM = unasked(insert(row_table(ClaimRow)))
"""Made once."""


def amend(session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, fence: int, now: datetime) -> Claim:
    """Open the reader's own signed report again, for a new version.

    Raises:
        ConflictError: `stale-fence`; `illegal-transition` if the hospital does not have the report yet.
        RefusedError: `forbidden` if licence or agreement have ended since.
    """
    sweep(session, now=now)
    return held_claim(open_amendment(session, claim_id, reader_id, fence=fence, now=now), now=now)


def held_claim(slot: SlotRow, *, now: datetime) -> Claim:
    """Return the slot's claim as its holder needs to know it."""
    until = slot.amend_until if amending(slot, now) else slot.lease_until
    return Claim(slot.claim_id or "", slot.request_id, slot.number, slot.fence, State(slot.state), until)


def release(session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, fence: int, now: datetime) -> None:
    """Give the slot back; a signed report that was opened again is closed as it was.

    Raises:
        ConflictError: `stale-fence` if the claim has ended or `fence` is not its fence.
    """
    slot, request = held_slot(session, claim_id, reader_id, now=now)
    fenced(slot, fence)
    if amending(slot, now):
        end_amendment(session, request, slot)
    else:
        end_claim(session, request, slot, Event.RELEASED, now=now)


def sign(
    session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, fence: int, report_sha256: Sha256, now: datetime
) -> State:
    """Sign the report with this hash: only the claim's holder can, and only the version that the hospital holds last.

    A report that was opened again is thereby amended. Signing the same report again changes nothing.

    Raises:
        ConflictError: `stale-fence`, or `illegal-transition` if there is no report to sign yet.
        RefusedError: `forbidden` if licence or privilege have ended; `signature-invalid` if the hospital holds another report.
    """
    sweep(session, now=now)
    slot, request = own_slot(session, claim_id, reader_id)
    fenced(slot, fence)
    receipt = latest_receipt(session, claim_id)
    if receipt is not None and receipt.signed_at is not None and receipt.report_sha256 == report_sha256:
        return State(slot.state)
    event = Event.AMENDED if amending(slot, now) else Event.SIGNED
    advance(State(slot.state), event)
    if not may_go_on(profile(session, reader_id), request.site, request.jurisdiction, now):
        raise RefusedError(
            Code.FORBIDDEN,
            "Your licence in the patient's jurisdiction or your privilege at the hospital is no longer valid: you cannot sign.",
        )
    if receipt is None or receipt.report_sha256 != report_sha256:
        raise RefusedError(
            Code.SIGNATURE_INVALID, "The hospital holds another report than the one with this hash. Read it again."
        )
    receipt.signed_at = now
    session.add(receipt)
    close_claim(session, claim_id, Event.SIGNED.value, now=now)
    state = move(session, slot, event, priority=request.priority, now=now)
    slot.amend_until = None
    slot.alarm_at = now + ACKNOWLEDGE_WITHIN if receipt.critical else None
    settle(session, request, now=now, first=event is Event.SIGNED)
    notice = ReportSigned(request_id=slot.request_id, claim_id=claim_id, fence=fence, report_sha256=report_sha256)
    tell(session, request.site, notice)
    return state


def sweep(session: Session, *, now: datetime) -> int:
    """Take back every slot whose lease has run out, give up what nobody claimed in time; return how many were moved.

    Every claim sweeps, and nearly always nothing is due: one question says so.
    """
    return _sweep(session, now) if ask(session, _look(), now=now).scalar() else 0


def take_turn(session: Session, reader_id: OpaqueId, *, now: datetime) -> None:
    """Make this reader's claims wait for one another, so that two at once cannot pass the capacity together, and sweep.

    PostgreSQL locks the person's row, by the statement that asks what is due; on SQLite a writing transaction is alone anyway.
    """
    if ask(session, _turn(), reader_id=reader_id, now=now).scalar():
        _sweep(session, now)


def _sweep(session: Session, now: datetime) -> int:
    leases = select(SlotRow, ReadRequestRow).join(ReadRequestRow, col(ReadRequestRow.request_id) == SlotRow.request_id)
    lapsed = leases.where(col(SlotRow.state).in_([s.value for s in HELD]), col(SlotRow.lease_until) <= now)
    moved = sweep_amendments(session, now=now)
    for slot, request in session.exec(lapsed.with_for_update(of=SlotRow, skip_locked=True)).all():
        end_claim(session, request, slot, Event.LAPSED, now=now)
        moved += 1
    session.flush()
    overdue = leases.where(SlotRow.state == State.OPEN.value, col(SlotRow.expires_at) <= now)
    for slot, request in session.exec(overdue.with_for_update(of=SlotRow, skip_locked=True)).all():
        move(session, slot, Event.EXPIRED, priority=request.priority, now=now)
        if slot.purpose in COUNTED:
            tell(session, request.site, ReadExpired(request_id=request.request_id, number=slot.number))
        moved += 1
    return moved


@cache
def _look() -> Any:
    """Return the statement that says whether anything is due. It is made once."""
    return sa.select(anything_due())


@cache
def _turn() -> Any:
    """Return the statement that locks a reader and says whether anything is due. SQLite, where a writing transaction is alone, locks nothing."""
    people = row_table(PersonRow)
    query = sa.select(anything_due()).select_from(people).where(people.c.id == bindparam("reader_id"))
    return query.with_for_update(of=people, key_share=True)


def anything_due() -> Any:
    """Return, as part of a statement, whether an amendment, a lease or a wait is over at `:now`."""
    now, slot = bindparam("now", type_=UtcDateTime), row_table(SlotRow).alias("due").c
    return sa.or_(
        sa.exists().where(slot.amend_until <= now),
        *(sa.exists().where(slot.state == state, slot.lease_until <= now) for state in sorted(HELD)),
        sa.exists().where(slot.state == State.OPEN.value, slot.expires_at <= now),
    )


def held_slot(
    session: Session, claim_id: OpaqueId, reader_id: OpaqueId, *, now: datetime
) -> tuple[SlotRow, ReadRequestRow]:
    """Return the slot that this reader holds by this claim now, or whose signed report this reader has opened again.

    Raises:
        ConflictError: `stale-fence` if the claim has ended.
        InvalidInputError: `not-found` if the claim is not this reader's.
    """
    sweep(session, now=now)
    slot, request = own_slot(session, claim_id, reader_id)
    if State(slot.state) not in HELD and not amending(slot, now):
        raise ConflictError(Code.STALE_FENCE, "This claim has ended: its report is signed or the read was withdrawn.")
    return slot, request


def _refuse_unless_eligible(one: Wanted, reader: ReaderProfile, now: datetime) -> None:
    found = obstacles(reader, one, now=now)
    if Obstacle.NO_AGREEMENT in found:
        raise InvalidInputError(Code.NOT_FOUND, "There is no read request with this id that you may claim.")
    if found:
        raise RefusedError(Code.FORBIDDEN, " ".join(REASONS[one] for one in found))


def _take_slot(session: Session, one: Wanted, number: int | None, taking: dict[str, Any]) -> tuple[int, int]:
    """Take the open slot of this number, or the lowest one, by one statement and return its number and fence.

    Whoever comes second finds `state = 'open'` no longer true: on PostgreSQL after waiting for the row, on SQLite for the file. With two
    slots the second one may have waited for the slot that went and must look again.
    """
    taking = {**taking, "id": one.request_id, **({} if number is None else {"of_number": number})}
    for _ in range(one.open_slots + 1):
        won = ask(session, _taking(number is None), **taking).first()
        if won is not None:
            _forget(session, (one.request_id, won.number))
            return won.number, won.fence
    raise ConflictError(Code.ILLEGAL_TRANSITION, "No slot of this read is open any more: another reader was first.")


def _forget(session: Session, key: tuple[OpaqueId, int]) -> None:
    """Let the session read a slot anew that a statement has changed beside it."""
    kept = session.identity_map.get(identity_key(SlotRow, key))
    if kept is not None:
        session.expire(kept)


@cache
def _taking(lowest: bool) -> Any:
    """Return the statement that takes a slot. It is made once: that costs as much as running it."""
    slots = row_table(SlotRow)
    table, other = slots.c, slots.alias().c
    first = sa.select(sa.func.min(other.number)).where(
        other.request_id == bindparam("id"), other.state == State.OPEN.value
    )
    return (
        sa.update(slots)
        .where(
            table.request_id == bindparam("id"),
            table.number == (first.scalar_subquery() if lowest else bindparam("of_number")),
            table.state == State.OPEN.value,
        )
        .values(
            state=advance(State.OPEN, Event.CLAIMED).value,
            fence=table.fence + 1,
            claim_id=bindparam("new_claim_id"),
            reader_id=bindparam("new_reader_id"),
            lease_until=bindparam("new_lease_until"),
        )
        .returning(table.number, table.fence)
    )
