"""What readers say of themselves: where they work, their shifts, whether they are there now, and with whom they have a conflict."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, delete, select

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId, SiteId
from registry_api.enrolment.tables import SiteRow
from registry_api.reading.own_row import own_row
from registry_api.reading.readers import AVAILABLE, AWAY, declaration_of, shift_of
from registry_api.reading.shifts import Declaration, Presence, Shift, checked, current, presence, zone_of
from registry_api.reading.tables import ConflictRow, ReaderRow, ShiftRow

SHIFTS_MAX = 50
"""Of one reader; more are a mistake of a program."""

DECLARED_MAX = timedelta(days=366)
"""Nobody declares anything for longer."""


@dataclass(frozen=True, slots=True)
class Availability:
    """A reader's own settings, and what they come to at the time of asking. `until` is when the running shift ends."""

    time_zone: str
    shifts: tuple[tuple[int, Shift], ...]
    declared: Declaration | None
    conflicts: tuple[SiteId, ...]
    presence: Presence
    until: datetime | None


def availability(session: Session, reader_id: OpaqueId, *, now: datetime) -> Availability:
    """Return what the reader has said of themselves."""
    row = session.get(ReaderRow, reader_id) or ReaderRow(reader_id=reader_id)
    kept = session.exec(select(ShiftRow).where(ShiftRow.reader_id == reader_id).order_by(col(ShiftRow.id)))
    shifts = tuple((one.id or 0, shift_of(one)) for one in kept)
    conflicts = session.exec(select(ConflictRow.site).where(ConflictRow.reader_id == reader_id))
    declared = declaration_of(row)
    on = current([shift for _, shift in shifts], now)
    return Availability(
        time_zone=row.time_zone,
        shifts=shifts,
        declared=declared if declared is not None and now < declared.until else None,
        conflicts=tuple(sorted(conflicts)),
        presence=presence([shift for _, shift in shifts], declared, now),
        until=on[1] if on else None,
    )


def set_shifts(session: Session, reader_id: OpaqueId, *, time_zone: str, shifts: Sequence[Shift]) -> None:
    """Replace the reader's shifts, and say where the reader works.

    Raises:
        InvalidInputError: `bad-request` if a shift makes no sense or there are too many.
    """
    if len(shifts) > SHIFTS_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, f"Nobody has more than {SHIFTS_MAX} shifts. Let them repeat.")
    row = own_row(session, reader_id)
    row.time_zone = zone_of(time_zone).key
    session.exec(delete(ShiftRow).where(col(ShiftRow.reader_id) == reader_id))
    for shift in shifts:
        _keep(session, reader_id, shift)


def add_shift(session: Session, reader_id: OpaqueId, shift: Shift) -> None:
    """Add one shift; the reader works in its time zone from now on.

    Raises:
        InvalidInputError: `bad-request` if it makes no sense or there are too many.
    """
    held = session.exec(select(ShiftRow.id).where(ShiftRow.reader_id == reader_id)).all()
    if len(held) >= SHIFTS_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, f"Nobody has more than {SHIFTS_MAX} shifts. Remove one first.")
    _keep(session, reader_id, shift)
    own_row(session, reader_id).time_zone = shift.time_zone


def remove_shift(session: Session, reader_id: OpaqueId, shift_id: int) -> None:
    """Remove one shift of the reader's.

    Raises:
        InvalidInputError: `not-found` if the reader has no such shift.
    """
    row = session.get(ShiftRow, shift_id)
    if row is None or row.reader_id != reader_id:
        raise InvalidInputError(Code.NOT_FOUND, "You have no such shift. Load the page again.")
    session.delete(row)


def declare(session: Session, reader_id: OpaqueId, declared: Declaration | None, *, now: datetime) -> None:
    """Say that the reader is there, or away, until a time; None takes back what was said.

    Raises:
        InvalidInputError: `bad-request` if the time is past or too far off.
    """
    row = own_row(session, reader_id)
    if declared is None:
        row.declared = row.declared_until = None
        return
    if not now < declared.until <= now + DECLARED_MAX:
        raise InvalidInputError(Code.BAD_REQUEST, "Give a time that is still to come, within the next year.")
    row.declared, row.declared_until = AVAILABLE if declared.available else AWAY, declared.until


def set_conflict(session: Session, reader_id: OpaqueId, *, site: SiteId, holds: bool, now: datetime) -> None:
    """Declare a conflict of interest with a hospital, or take it back.

    Raises:
        InvalidInputError: `not-found` if there is no such hospital.
    """
    if session.get(SiteRow, site) is None:
        raise InvalidInputError(Code.NOT_FOUND, "There is no hospital of that name in the network.")
    known = session.get(ConflictRow, (reader_id, site))
    if holds and known is None:
        session.add(ConflictRow(reader_id=reader_id, site=site, declared_at=now))
    elif not holds and known is not None:
        session.delete(known)


def _keep(session: Session, reader_id: OpaqueId, shift: Shift) -> None:
    one = checked(shift)
    session.add(
        ShiftRow(
            reader_id=reader_id,
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            time_zone=one.time_zone,
            rule=one.rule,
            repeats_until=one.repeats_until,
            capacity=one.capacity,
        )
    )
