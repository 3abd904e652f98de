"""What the matcher set aside for whom. A reader still claims it; until then, and until its time is over, nobody else can."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import insert
from sqlmodel import Session, col, delete, func, select

from protocol.reading import Priority
from protocol.shape import OpaqueId
from registry_api.database import row_table
from registry_api.reading.lifecycle import TIMERS, Event
from registry_api.reading.matcher import Assignment, assign
from registry_api.reading.matching import ReaderProfile, Wanted, assigned_at
from registry_api.reading.order import effective_priority
from registry_api.reading.queue import in_hand, waiting
from registry_api.reading.readers import profiles
from registry_api.reading.solver import best_matching
from registry_api.reading.tables import AssignmentRow, ClaimRow
from registry_api.reading.worth import Batch

RECENT = timedelta(days=30)
"""How far back reads count against a reader beside the others."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What one run of the matcher came to."""

    made: tuple[Assignment, ...]
    waiting: int
    """Requests that wait and were set aside for nobody, by this run or an earlier one."""
    readers: int


def match(session: Session, *, now: datetime, keep: bool = True) -> Matched:
    """Set aside what waits for the readers who are there; what was set aside before and is not over stays.

    Args:
        session: Of a writing transaction if the result is kept.
        now: The time.
        keep: False only says what would be done.
    """
    with _uncollected():
        return _match(session, now, keep=keep)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the collector of cycles rest: half a million small objects are made, none in a cycle, and it walks them through again and again."""
    resting = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not resting:
            gc.enable()


def _match(session: Session, now: datetime, *, keep: bool) -> Matched:
    everything = waiting(session)
    free = [one for one in everything if not one.assigned or len(_set_aside_for(one, now)) < one.open_slots]
    readers = _with_assigned(profiles(session), everything, now)
    batch = Batch(
        waiting=[_without_assigned(one, now) for one in free],
        readers=readers,
        in_hand=in_hand(session),
        recent=_recent(session, now),
    )
    made = assign(batch, now=now, solve=best_matching)
    if keep:
        _keep(session, made, {one.request_id: one for one in free}, now)
    return Matched(tuple(made), len(free) - len(made), len(readers))


def _set_aside_for(wanted: Wanted, now: datetime) -> frozenset[OpaqueId]:
    """Return for whom open slots of the request are set aside."""
    return assigned_at(wanted, now) - wanted.earlier_readers


def _with_assigned(readers: list[ReaderProfile], everything: list[Wanted], now: datetime) -> list[ReaderProfile]:
    """Count what is set aside for a reader as held: there is so much less room."""
    held: Counter[OpaqueId] = Counter()
    held_stat: Counter[OpaqueId] = Counter()
    for one in (one for one in everything if one.assigned):
        readers_of_it = _set_aside_for(one, now)
        held.update(readers_of_it)
        held_stat.update(readers_of_it if one.priority is Priority.STAT else ())
    return [
        replace(one, held=one.held + held[one.reader_id], held_stat=one.held_stat + held_stat[one.reader_id])
        if one.reader_id in held
        else one
        for one in readers
    ]


def _without_assigned(wanted: Wanted, now: datetime) -> Wanted:
    """Keep the second slot of a request from those for whom the first one is set aside."""
    if not wanted.assigned:
        return wanted
    return replace(wanted, earlier_readers=wanted.earlier_readers | assigned_at(wanted, now), assigned=())


def _recent(session: Session, now: datetime) -> dict[OpaqueId, int]:
    query = (
        select(ClaimRow.reader_id, func.count())
        .where(ClaimRow.ended_by == Event.SIGNED.value, col(ClaimRow.ended_at) > now - RECENT)
        .group_by(col(ClaimRow.reader_id))
    )
    return dict(session.exec(query).all())


def _keep(session: Session, made: list[Assignment], wanted: dict[OpaqueId, Wanted], now: datetime) -> None:
    """Write the assignments down, each for as long as a claim may wait for the first look; forget those that are over."""
    session.exec(delete(AssignmentRow).where(col(AssignmentRow.until) <= now))
    rows = [
        {
            "request_id": one.request_id,
            "reader_id": one.reader_id,
            "made_at": now,
            "until": now + TIMERS[effective_priority(wanted[one.request_id])].open_within,
        }
        for one in made
    ]
    if rows:  # thousands: past the session's bookkeeping, which took a fifth of the whole match
        connection, statement = session.connection(), insert(row_table(AssignmentRow))
        # What comes back is not looked at: asked for it, SQLAlchemy sends PostgreSQL many rows in one statement instead of one each.
        if connection.dialect.name == "postgresql":
            statement = statement.returning(col(AssignmentRow.request_id))
        connection.execute(statement, rows)
